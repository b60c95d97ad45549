import { afterEach, beforeEach, expect, test } from 'vitest'
import { type ChatHandler, createHandler } from '../../src/handler.ts'
import type { Upstream } from '../../src/types.ts'
import { describeRedis } from '../redis/gate.ts'
import { type Instance, openInstance } from '../redis/lab.ts'
import { type RedisServer, startRedis } from '../redis/server.ts'
import { idOf } from '../sites.ts'
import { type Asking, deltasIn, http, textOf } from '../src/kit.ts'
import { size } from './size.ts'

const MAX_MEMORY = size(4, 32) * 1024 * 1024
const leaseMs = 2000

/** Says what the prompt says, so many times as it says: `10 x`. */
const upstream: Upstream = async function* ({ messages }) {
  const [times = '1', word = ''] = String(messages.at(-1)?.content).split(' ')
  for (let time = 0; time < Number(times); time++) yield { type: 'text', text: word }
  yield { type: 'finish', reason: 'stop' }
}

describeRedis('a caller that fills Redis', { timeout: size(60_000, 300_000) }, () => {
  let redis: RedisServer
  let instances: Instance[]
  let handlers: ChatHandler[]

  beforeEach(async () => {
    redis = await startRedis({ maxmemory: String(MAX_MEMORY), policy: 'noeviction' })
    instances = await Promise.all([
      openInstance(redis.url, { leaseMs }),
      openInstance(redis.url, { leaseMs }),
    ])
    handlers = instances.map(({ store }) => createHandler({ upstream, model: 'm', store, retries: 0 }))
  })
  afterEach(async () => {
    await Promise.all(instances.map(({ close }) => close()))
    await redis.stop()
  })

  async function ask(who: Who, prompt: string, headers: Record<string, string> = {}, at = 0) {
    const reply = await handlers[at]!({ ...http('/chat', { body: { prompt }, headers }), ...who })
    const body = await textOf(reply)
    await reply.settled
    return { status: reply.status, id: idOf(reply), body }
  }

  async function get(who: Who, path: string, at = 0, asking: Asking = {}) {
    const reply = await handlers[at]!({ ...http(path, asking), ...who })
    return { status: reply.status, body: await textOf(reply) }
  }

  /** Several at a time, as an attacker would. */
  async function attack(count: number, one: (number: number) => Promise<unknown>): Promise<void> {
    let next = 0
    const line = async (): Promise<void> => {
      while (next < count) await one(next++)
    }
    await Promise.all(Array.from({ length: 20 }, line))
  }

  async function usedMemory(): Promise<number> {
    return Number(/^used_memory:(\d+)/m.exec(String(await redis.command(['INFO', 'memory'])))![1])
  }

  /** Another principal is answered, can come back on another instance, and the instances are ready. */
  async function expectService(): Promise<void> {
    const bob = { principal: 'bob' }
    const { status, id, body } = await ask(bob, '3 word')
    const again = await get(bob, `/chat/${id}`, 1)
    const ready = await Promise.all([get({}, '/readyz'), get({}, '/readyz', 1)])

    expect(status).toBe(200)
    expect(deltasIn(body).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(again.status).toBe(200)
    expect(deltasIn(again.body)).toEqual(deltasIn(body))
    expect(ready.map((each) => each.status)).toEqual([200, 200])
  }

  test('with tiny requests under new keys does not refuse others, or itself', async () => {
    const mallory = { principal: 'mallory' }
    const before = await ask({ principal: 'bob' }, '2 early')
    const refused: number[] = []
    const count = size(1200, 6200)
    const empty = await usedMemory()

    await attack(count, async (number) => {
      const { status } = await ask(mallory, '1 x', { 'idempotency-key': `key-${number}` })
      if (status !== 200) refused.push(status)
    })

    expect(refused).toEqual([])
    await expectService()
    expect((await get({ principal: 'bob' }, `/chat/${before.id}`, 1)).status).toBe(200)
    const used = (await usedMemory()) - empty
    console.info(`${count} tiny keyed requests: ${(used / 1024).toFixed(0)} KiB of Redis' memory are used`)
    expect(used).toBeLessThan(MAX_MEMORY / 4)
  })

  test.each<[string, (number: number) => Who]>([
    ['a principal', () => ({ principal: 'mallory' })],
    ['an address', () => ({ address: '192.0.2.66' })],
    ['the addresses of an IPv6 network', (number) => ({ address: `2001:db8:1:2::${number.toString(16)}` })],
    ['who is unknown', () => ({})],
  ])('with large answers, as %s, loses its own oldest ones', async (_, who) => {
    const ids: string[] = []
    const count = size(100, 400)
    const bob = await ask({ principal: 'bob' }, '2 early')

    await attack(count, async (number) => {
      // 30 KiB of characters, 90 KiB as UTF-8: of three bytes each.
      const { status, id } = await ask(who(number), `100 ${'字'.repeat(size(150, 300))}`, {}, number % 2)
      expect(status).toBe(200)
      ids.push(id)
    })

    await expectService()
    expect((await get({ principal: 'bob' }, `/chat/${bob.id}`, 1)).status).toBe(200)
    const owner = who(0)
    expect((await get(owner, `/chat/${ids[0]!}`)).status).toBe(404)
    await expect
      .poll(() => get(owner, `/chat/${ids.at(-1)!}`, 1), { timeout: 10_000 })
      .toMatchObject({ status: 200 })
  })

  test('loses the names with the replies: a repeated request is a new one', async () => {
    const mallory = { principal: 'mallory' }
    const key = { 'idempotency-key': 'first' }
    const first = await ask(mallory, '1 x', key)
    expect((await ask(mallory, '1 x', key, 1)).id).toBe(first.id)

    await attack(size(60, 300), () => ask(mallory, `100 ${'x'.repeat(500)}`))

    const again = await ask(mallory, '1 x', key, 1)
    expect(again.status).toBe(200)
    expect(again.id).not.toBe(first.id)
    expect(await redis.command(['EXISTS', `deltarelay:{${first.id}}:log`])).toBe(0)
  })
})

const named = { body: { prompt: '2 kept' }, headers: { 'idempotency-key': 'kept' } }

interface Who {
  readonly principal?: string
  readonly address?: string
}

describeRedis('a Redis that is full all the same', { timeout: 60_000 }, () => {
  let redis: RedisServer
  let instance: Instance
  let handler: ChatHandler
  let id: string

  beforeEach(async () => {
    redis = await startRedis({ maxmemory: '4mb', policy: 'noeviction' })
    instance = await openInstance(redis.url, { leaseMs })
    handler = createHandler({ upstream, model: 'm', store: instance.store, retries: 0 })
    const reply = await handler(http('/chat', named))
    await textOf(reply)
    id = idOf(reply)
    for (let filled: unknown = 'OK', i = 0; filled === 'OK'; i++) {
      filled = await redis.command(['SET', `fill:${i}`, 'x'.repeat(50_000)]).catch(() => 'full')
    }
    await redis.command(['CONFIG', 'SET', 'maxmemory', '3mb'])
  })
  afterEach(async () => {
    await instance.close()
    await redis.stop()
  })

  test('refuses new replies with 503 and Retry-After, serves those that are there, and is ready', async () => {
    const fresh = await handler(http('/chat', { body: { prompt: '1 new' } }))
    const kept = await handler(http(`/chat/${id}`))
    const repeated = await handler(http('/chat', named))
    const ready = await handler(http('/readyz'))

    expect([fresh.status, fresh.headers['retry-after']]).toEqual([503, '1'])
    expect(await textOf(fresh)).toContain('store-unavailable')
    expect(kept.status).toBe(200)
    expect(await textOf(kept)).toContain('kept')
    expect([repeated.status, idOf(repeated)]).toEqual([200, id])
    expect(await textOf(repeated)).toContain('kept')
    expect(ready.status).toBe(200)
  })

  test('answers without a log where that is allowed', async () => {
    const other = await openInstance(redis.url, { leaseMs, down: 'degrade' })
    const degraded = createHandler({ upstream, model: 'm', store: other.store, retries: 0 })

    const reply = await degraded(http('/chat', { body: { prompt: '1 new' } }))
    const body = await textOf(reply)
    await other.close()

    expect([reply.status, reply.headers['x-reply-resumable']]).toEqual([200, 'no'])
    expect(deltasIn(body).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
  })

  test('asks Redis once for any number of health checks at once, and writes nothing', async () => {
    await redis.command(['CONFIG', 'RESETSTAT'])

    const replies = await Promise.all(Array.from({ length: 200 }, () => handler(http('/readyz'))))

    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]))
    const stats = String(await redis.command(['INFO', 'commandstats']))
    expect(stats).toMatch(/^cmdstat_get:calls=1,/m)
    expect(stats).not.toContain('cmdstat_set:')
  })
})
