import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type ChatHandler, createHandler } from '../../src/handler.ts'
import type { HttpReply } from '../../src/types.ts'
import { describeRedis } from '../redis/gate.ts'
import { finish, type Instance, openInstance, start, text, texts } from '../redis/lab.ts'
import { type RedisProxy, startProxy } from '../redis/proxy.ts'
import { type RedisServer, startRedis } from '../redis/server.ts'
import { type Asking, http, script, soon, textOf } from '../src/kit.ts'
import { size } from './size.ts'

const leaseMs = 6000
/** Requests for one reply at the same time. */
const N = size(100, 500)

/** Replies are produced on one instance; the requests come to another one, whose commands are counted. */
describeRedis('requests for a reply of another instance', { timeout: 60_000 }, () => {
  let redis: RedisServer
  let proxy: RedisProxy
  let producer: Instance
  let instance: Instance
  let handler: ChatHandler
  let leaving: AbortController

  beforeEach(async () => {
    redis = await startRedis()
    proxy = await startProxy(redis)
    producer = await openInstance(redis.url, { leaseMs })
    instance = await openInstance(proxy.url, { leaseMs })
    handler = createHandler({ upstream: script([]).upstream, model: 'm', store: instance.store })
    leaving = new AbortController()
    setMaxListeners(0, leaving.signal) // one signal for all requests
  })
  afterEach(async () => {
    leaving.abort()
    await Promise.all([producer.close(), instance.close()])
    await proxy.close()
    await redis.stop()
  })

  /** A reply that runs, of `length` deltas. */
  async function running(length = 3): Promise<void> {
    await producer.store.create('r', { start })
    await producer.store.append('r', [start, ...texts(length - 1)])
    await expect.poll(() => producer.store.state('r'), { timeout: 10_000 }).toMatchObject({ length })
  }

  async function finished(length: number): Promise<void> {
    await running(length - 1)
    await producer.store.append('r', [finish])
  }

  function request(path: string, asking: Asking = {}): Promise<HttpReply> {
    return handler({ ...http(path, asking), signal: leaving.signal })
  }

  /** How often Redis was sent a command so far, by all; of those that read or write a reply. */
  async function commands(): Promise<number> {
    const stats = String(await redis.command(['INFO', 'commandstats']))
    const counts = [...stats.matchAll(/^cmdstat_(?:evalsha|get|xrange):calls=(\d+)/gm)]
    return counts.reduce((sum, [, calls]) => sum + Number(calls), 0)
  }

  /** Commands within a time, without those that the producer's lease takes. */
  async function commandsWithin(ms: number): Promise<number> {
    const before = await commands()
    await sleep(ms)
    return (await commands()) - before
  }

  const beyond = { headers: { 'last-event-id': '1000' } }

  test('that name an event beyond its end share one poller, and leave none behind', async () => {
    await running()
    const before = await commands()
    const held = Array.from({ length: N }, () => request('/chat/r', beyond))
    await expect.poll(async () => (await commands()) - before, { timeout: 10_000 }).toBeGreaterThanOrEqual(N)

    const rate = (await commandsWithin(2000)) / 2
    leaving.abort()
    const statuses = (await soon(Promise.all(held))).map(({ status }) => status)
    const after = (await commandsWithin(1000)) / 1

    console.info(`${N} held requests: ${rate} commands/s; after they left: ${after} commands/s`)
    // One look in 250 ms, the producer's lease, and room for a late one; each of them for itself: 4 N.
    expect(rate).toBeLessThan(25)
    expect(after).toBeLessThan(10)
    expect(new Set(statuses)).toEqual(new Set([409]))
  })

  test('that wait for what the log does not have yet all get it', async () => {
    await running()
    const held = Array.from({ length: N }, () => request('/chat/r', { headers: { 'last-event-id': '5' } }))
    await sleep(300)

    await producer.store.append('r', [text('4'), text('5'), text('6')])
    const replies = await soon(Promise.all(held))
    await producer.store.append('r', [finish])
    const bodies = await soon(Promise.all(replies.map((reply) => textOf(reply))))

    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]))
    expect(new Set(bodies).size).toBe(1)
    expect(bodies[0]).toMatch(/id: 6\n[^]*id: 7\n/)
  })

  test.each<[string, string, string]>([
    ['DELETE', '/chat/r', 'our own'],
    ['POST', '/api/chat/r/stop', 'the AI SDK'],
  ])('that stop it wait for its end together: %s %s', async (method, path) => {
    // A producer that does not obey: each stop waits for a second, and looks.
    await producer.store.create('r', { start })
    const before = await commands()

    const replies = await soon(
      Promise.all(Array.from({ length: N }, () => request(path, { method }))),
      10_000,
    )

    const sent = (await commands()) - before
    console.info(`${N} stops: ${sent} commands`)
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]))
    // What each needs to find the reply and its owner, and what one stop takes.
    expect(sent).toBeLessThan((path.startsWith('/api') ? 5 : 2) * N + 50)
  })

  test('that begin at as many different events share a few mirrors', async () => {
    await running(N + 10)
    const held = await Promise.all(
      Array.from({ length: N }, (_, at) =>
        request('/chat/r', { headers: { 'last-event-id': String(N + 5 - at) } }),
      ),
    )
    const bodies = held.map((reply) => textOf(reply))
    await sleep(500)
    const before = await commands()

    const words = 20
    for (const delta of texts(words)) {
      await producer.store.append('r', [delta])
      await sleep(20)
    }
    const sent = (await commands()) - before
    await producer.store.append('r', [finish])
    const read = await soon(Promise.all(bodies), 10_000)

    console.info(`${N} readers of ${words} deltas: ${sent} commands`)
    expect(sent).toBeLessThan(words * 8 + 60)
    expect(read.every((body, at) => body.split('\ndata: ').length - 1 === words + 5 + at + 1)).toBe(true)
  })

  test.each([
    ['finished', -1],
    ['finished', 4000],
    ['running', -1],
  ])('that name a chunk of a %s one, %i, do not replay the log', async (state, startIndex) => {
    const length = size(5000, 50_000)
    await (state === 'finished' ? finished(length) : running(length))
    const path = `/api/chat/r/stream?startIndex=${startIndex < 0 ? startIndex : length - 1000}`
    async function first(): Promise<string> {
      const reply = await request(path)
      if (typeof reply.body === 'string') return reply.body
      const { value } = await reply.body.next()
      await reply.body.return?.()
      return String(value)
    }
    const whole = proxy.bytes.toClient
    const counted = await first()
    const once = proxy.bytes.toClient - whole
    const before = proxy.bytes.toClient

    const rounds = 20
    const again: string[] = []
    for (let round = 0; round < rounds; round++) again.push(await first())

    const each = (proxy.bytes.toClient - before) / rounds
    console.info(`startIndex=${startIndex}: first ${once} bytes of Redis, then ${each.toFixed(0)} each`)
    expect(counted).toContain('data: ')
    expect(new Set(again)).toEqual(new Set([counted]))
    expect(each).toBeLessThan(once / 3)
  })

  test('that name a chunk at once count the log once', async () => {
    const length = size(5000, 50_000)
    await finished(length)
    const before = proxy.bytes.toClient
    const one = await request('/api/chat/r/stream?startIndex=999999')
    const once = proxy.bytes.toClient - before

    const others = createHandler({ upstream: script([]).upstream, model: 'm', store: instance.store })
    const from = proxy.bytes.toClient
    const replies = await Promise.all(
      Array.from({ length: N }, () => others(http('/api/chat/r/stream?startIndex=999999'))),
    )

    expect(one.status).toBe(204)
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([204]))
    expect(proxy.bytes.toClient - from).toBeLessThan(once * 2 + N * 1000)
  })

  test('of another principal neither wait nor count', async () => {
    await producer.store.create('r', { start, owner: 'ann' })
    await producer.store.append('r', [start, ...texts(2000)])
    await expect.poll(() => producer.store.state('r'), { timeout: 10_000 }).toMatchObject({ length: 2001 })
    const before = proxy.bytes.toClient

    const replies = await Promise.all([
      request('/chat/r', { headers: { 'last-event-id': '99999' } }),
      request('/api/chat/r/stream?startIndex=-1'),
      request('/chat/r', { method: 'DELETE' }),
    ])

    expect(replies.map(({ status }) => status)).toEqual([404, 404, 404])
    expect(proxy.bytes.toClient - before).toBeLessThan(5000)
  })
})
