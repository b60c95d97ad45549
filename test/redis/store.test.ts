import { afterAll, beforeAll, expect, test } from 'vitest'
import { createRedisStore, type RedisStore, type RedisStoreOptions } from '../../adapters/redis.ts'
import type { StreamStore } from '../../src/types.ts'
import { describeStore } from '../store-contract.ts'
import { describeRedis } from './gate.ts'
import { ioRedis, nodeRedis, type OpenLink } from './links.ts'
import { type RedisServer, startRedis } from './server.ts'

describeRedis('replies in Redis', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  interface Opened {
    readonly store: RedisStore
    close(): Promise<void>
  }

  async function open(link: Promise<OpenLink>, options: RedisStoreOptions = {}): Promise<Opened> {
    const { link: opened, close } = await link
    const store = createRedisStore(opened, options)
    return {
      store,
      async close() {
        store.close()
        await close()
      },
    }
  }

  /** Writes on one instance and reads on another. */
  async function twoInstances(link: () => Promise<OpenLink>) {
    const [writing, reading] = await Promise.all([open(link()), open(link())])
    const { create, append, discard } = writing.store
    const store: StreamStore = { ...reading.store, create, append, discard }
    return {
      store,
      close: async () => void (await Promise.all([writing.close(), reading.close()])),
      lose: async (id: string) =>
        void (await redis.command(['DEL', `deltarelay:{${id}}:log`, `deltarelay:{${id}}:meta`])),
    }
  }

  describeStore('in Redis', () => open(nodeRedis(redis.url)))
  describeStore('in Redis, which hears nothing', () => open(nodeRedis(redis.url, { subscribes: false })))
  describeStore('in Redis, by the command function of ioredis', () => open(ioRedis(redis.url)))
  describeStore(
    'in Redis, written and read on two instances',
    () => twoInstances(() => nodeRedis(redis.url)),
    {
      loses: true,
    },
  )
  describeStore(
    'in Redis, written and read on two instances by ioredis',
    () => twoInstances(() => ioRedis(redis.url)),
    { loses: true },
  )

  test('leaves nothing in Redis that does not expire', async () => {
    const keys = (await redis.command(['KEYS', '*'])) as string[]
    const lives = await Promise.all(keys.map((key) => redis.command(['PTTL', key])))

    expect(keys.length).toBeGreaterThan(100)
    expect(keys.filter((_, index) => Number(lives[index]) < 0)).toEqual([])
  })
})
