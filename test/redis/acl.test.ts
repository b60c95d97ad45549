import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createRedisStore, type RedisStore } from '../../adapters/redis.ts'
import type { ChatDelta } from '../../src/types.ts'
import { all, soon } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { nodeRedis, type OpenLink } from './links.ts'
import { type RedisServer, startRedis } from './server.ts'

const docs = readFileSync(new URL('../../docs/deploy.md', import.meta.url), 'utf8')
/** `ACL SETUSER …`, as the documentation has it. */
const rule = /^(ACL SETUSER deltarelay .+)$/m.exec(docs)![1]!.split(' ')

const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 0 }
const finish: ChatDelta = { type: 'finish', reason: 'stop' }
const signal = new AbortController().signal

describeRedis('the user of the documentation', () => {
  let redis: RedisServer
  const links: OpenLink[] = []
  const stores: RedisStore[] = []
  beforeAll(async () => {
    redis = await startRedis()
    await redis.command(rule.map((word) => (word.startsWith('>') ? '>secret' : word)))
  })
  afterAll(async () => {
    for (const store of stores) store.close()
    await Promise.all(links.map(({ close }) => close()))
    await redis.stop()
  })

  async function open(maxBytesPerCaller?: number): Promise<RedisStore> {
    const link = await nodeRedis(`redis://deltarelay:secret@127.0.0.1:${redis.port}`)
    const store = createRedisStore(link.link, { leaseMs: 1000, maxBytesPerCaller })
    links.push(link)
    stores.push(store)
    return store
  }

  /** Every verb, on two instances, with scripts that Redis knows and that it does not. */
  async function doEverything(): Promise<void> {
    const [one, two] = [await open(1), await open()]
    const asked: string[] = []
    await one.create('r', { start, onAsk: (ask) => asked.push(ask) })
    await redis.command(['SCRIPT', 'FLUSH'])
    await one.append('r', [start, { type: 'text', text: 'a' }])
    const reading = all(two.read('r', { after: 0, signal }))
    await two.claim('name', { id: 'r' })
    await two.find('name')
    await two.release('name', 'r')
    await two.ask('r', 'supersede')
    await expect.poll(() => asked.includes('supersede')).toBe(true)
    await one.readAgoMs!('r')
    await one.append('r', [finish])
    expect((await soon(reading)).flat().length).toBe(3)
    // Takes the place of the first one.
    await one.create('next')
    await one.append('next', [start, finish])
    await expect.poll(() => one.state('r'), { timeout: 10_000 }).toBeUndefined()
    // Its quota is a part of the server's memory.
    await two.create('other', { caller: 'ann' })
    await two.append('other', [start, finish])
    await expect.poll(() => redis.command(['KEYS', 'deltarelay:of:*']), { timeout: 10_000 }).toHaveLength(2)
    await one.create('gone')
    await one.discard('gone')
    // Its producer does not obey: it is ended for it.
    await one.create('stopped', { start })
    expect(await two.ask('stopped', 'stop')).toMatchObject({ sealed: true })
    expect(await two.ready!()).toBe(true)
  }

  test('may do all that the store does, and nothing of it is refused', async () => {
    await doEverything()

    expect(await redis.command(['ACL', 'LOG'])).toEqual([])
  })

  test('may do nothing that the store does not do', async () => {
    const allowed = rule.filter((word) => word.startsWith('+')).map((word) => word.slice(1))

    const stats = String(await redis.command(['INFO', 'commandstats']))

    const used = new Set([...stats.matchAll(/^cmdstat_([^:]+):/gm)].map(([, name]) => name))
    expect(allowed.filter((name) => !used.has(name))).toEqual([])
  })

  test('reaches neither keys nor channels of others', async () => {
    const link = await nodeRedis(`redis://deltarelay:secret@127.0.0.1:${redis.port}`)
    links.push(link)

    await expect(link.link.command(['GET', 'other:key'])).rejects.toThrow(/^NOPERM/)
    await expect(link.link.subscribe!('other:channel', () => {})).rejects.toThrow(/^NOPERM/)
    await expect(link.link.command(['FLUSHALL'])).rejects.toThrow(/^NOPERM/)
  })
})
