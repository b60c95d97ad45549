import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import { createRedisStore, type RedisStore } from '../../adapters/redis.ts'
import type { ChatDelta } from '../../src/types.ts'
import { all } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { nodeRedis, type OpenLink } from './links.ts'
import { type RedisProxy, startProxy } from './proxy.ts'
import { type RedisServer, startRedis } from './server.ts'

const leaseMs = 1000
const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 1 }
const text: ChatDelta = { type: 'text', text: 'hello' }

describeRedis('a producer that is not heard of for longer than its lease', () => {
  let redis: RedisServer
  let proxy: RedisProxy
  let links: readonly OpenLink[]
  let writer: RedisStore
  let reader: RedisStore
  let id = ''
  let count = 0
  beforeAll(async () => {
    redis = await startRedis()
  })
  beforeEach(async () => {
    proxy = await startProxy(redis)
    links = await Promise.all([nodeRedis(proxy.url), nodeRedis(redis.url)])
    const [writing, reading] = links.map(({ link }) => createRedisStore(link, { leaseMs }))
    writer = writing!
    reader = reading!
    id = `r${count++}`
    await writer.create(id, { start })
  })
  afterEach(async () => {
    writer.close()
    reader.close()
    await Promise.all(links.map(({ close }) => close()))
    await proxy.close()
  })
  afterAll(() => redis.stop())

  const signal = new AbortController().signal
  const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

  function typesOf(batches: readonly (readonly ChatDelta[])[]): string[] {
    return batches.flat().map((delta) => ('code' in delta ? delta.code : delta.type))
  }

  test('its own readers begin with the start, like all others, when it had said nothing yet', async () => {
    const here = all(writer.read(id, { after: 0, signal }))
    proxy.hold(true)

    const there = all(reader.read(id, { after: 0, signal }))
    expect(typesOf(await there)).toEqual(['start', 'producer-lost'])
    proxy.hold(false)

    expect(typesOf(await here)).toEqual(['start', 'producer-lost'])
    expect(await reader.state(id)).toMatchObject({ length: 2, sealed: true })
  })

  test('is taken for lost within its lease and a second', async () => {
    await writer.append(id, [start, text])
    await expect.poll(() => reader.state(id)).toMatchObject({ length: 2 })
    proxy.hold(true)
    const since = stopwatch()

    expect(typesOf(await all(reader.read(id, { after: 0, signal })))).toEqual([
      'start',
      'text',
      'producer-lost',
    ])

    expect(since()).toBeLessThan(leaseMs + 1000 + 500)
  })

  test('is not, when it was Redis that was away: it has a moment to say that it is alive', async () => {
    await writer.append(id, [start, text])
    await expect.poll(() => reader.state(id)).toMatchObject({ length: 2 })
    redis.pause()
    const looked = reader.state(id)
    await sleep(leaseMs + 300)
    redis.resume()

    expect(await looked).toMatchObject({ sealed: false })
    await sleep(2 * leaseMs)
    expect(await reader.state(id)).toMatchObject({ sealed: false, length: 2 })
    expect(await writer.append(id, [{ type: 'finish', reason: 'stop' }])).toBeUndefined()
    expect(typesOf(await all(reader.read(id, { after: 0, signal })))).toEqual(['start', 'text', 'finish'])
  })
})
