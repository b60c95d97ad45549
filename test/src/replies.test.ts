import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import { createHandler, type HandlerOptions } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { Handler, HttpReply } from '../../src/types.ts'
import { deltasIn, hel, http, lo, script, type Script, type Step, stop, textOf } from './kit.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const endless: Step[] = [hel, 'wait', lo, stop]
const cancelled = { type: 'finish', reason: 'cancelled' }

function handlerOf(scripted: Script, options: Partial<HandlerOptions> = {}): Handler {
  let number = 0
  return createHandler({
    upstream: scripted.upstream,
    model: 'm',
    createId: () => `r${++number}`,
    retries: 0,
    ...options,
  })
}

const post = http('/chat', { body: { prompt: 'hi' } })

function passed(ms: number): Promise<unknown> {
  return vi.advanceTimersByTimeAsync(ms)
}

/** Reads the first frame and leaves. */
async function readAndLeave({ body }: HttpReply): Promise<void> {
  if (typeof body === 'string') return expect.fail('it is no stream')
  await body.next()
  await body.return?.()
}

async function jsonOf(reply: Promise<HttpReply>): Promise<unknown> {
  return JSON.parse(await textOf(await reply)) as unknown
}

describe('a stop', () => {
  test.each<[string, string]>([
    ['DELETE', '/chat/r1'],
    ['POST', '/chat/r1/stop'],
  ])('by %s %s ends the answer, its readers and the upstream, and can be repeated', async (method, url) => {
    const scripted = script(endless)
    const handler = handlerOf(scripted)
    const reply = await handler(post)
    const other = await handler(http('/chat/r1'))
    const bodies = [textOf(reply), textOf(other)]
    await passed(10)

    const first = await jsonOf(handler(http(url, { method })))
    const again = await jsonOf(handler(http(url, { method })))
    await reply.settled

    for (const body of bodies) expect(deltasIn(await body).slice(1)).toEqual([hel, cancelled])
    expect([first, again]).toEqual([
      { id: 'r1', status: 'stopped' },
      { id: 'r1', status: 'ended' },
    ])
    expect(scripted.open()).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('before the first word is an answer that was cancelled', async () => {
    const handler = handlerOf(script(['wait']))
    const answering = handler(post)
    await passed(10)
    await handler(http('/chat/r1', { method: 'DELETE' }))

    const reply = await answering

    expect(reply.status).toBe(200)
    expect(deltasIn(await textOf(reply)).map(({ type }) => type)).toEqual(['start', 'finish'])
  })

  test('of a reply that nobody knows is answered 404, of one that is over with its end', async () => {
    const handler = handlerOf(script([hel, stop]))
    await textOf(await handler(post))

    expect((await handler(http('/chat/r9', { method: 'DELETE' }))).status).toBe(404)
    expect(await jsonOf(handler(http('/chat/r1', { method: 'DELETE' })))).toEqual({
      id: 'r1',
      status: 'ended',
    })
  })
})

describe('without readers', () => {
  test('an answer goes on for a while, then it is stopped', async () => {
    const scripted = script(endless)
    const handler = handlerOf(scripted, { lingerMs: 1000 })
    await readAndLeave(await handler(post))

    await passed(999)
    expect(scripted.open()).toBe(1)
    await passed(1)

    expect(scripted.open()).toBe(0)
    expect(deltasIn(await textOf(await handler(http('/chat/r1')))).at(-1)).toEqual({
      ...cancelled,
      raw: 'abandoned',
    })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('an answer ends at once when it is told not to wait', async () => {
    const scripted = script(endless)
    await readAndLeave(await handlerOf(scripted, { lingerMs: 0 })(post))

    await passed(0)

    expect(scripted.open()).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('an answer goes on when one of them comes back in time', async () => {
    const scripted = script(endless)
    const handler = handlerOf(scripted, { lingerMs: 1000 })
    await readAndLeave(await handler(post))
    await passed(900)

    const reading = textOf(await handler(http('/chat/r1', { headers: { 'last-event-id': '2' } })))
    await passed(10_000)
    scripted.release()

    // Comments kept the connection alive meanwhile.
    expect(deltasIn(await reading)).toEqual([lo, stop])
  })

  test('the wait begins when the last of them leaves', async () => {
    const scripted = script(endless)
    const handler = handlerOf(scripted, { lingerMs: 1000 })
    const [first, second] = [await handler(post), await handler(http('/chat/r1'))]
    await readAndLeave(first)
    await passed(5000)
    expect(scripted.open()).toBe(1)

    await readAndLeave(second)
    await passed(1000)

    expect(scripted.open()).toBe(0)
  })

  test.each(['in a stream', 'in a document'])(
    'a client that leaves before the answer began ends it at once: %s',
    async (how) => {
      const scripted = script(['wait', hel, stop])
      const leaving = new AbortController()
      const body = { prompt: 'hi', stream: how === 'in a stream' }
      const answering = handlerOf(scripted)(http('/chat', { body, signal: leaving.signal }))
      await passed(10)

      leaving.abort()
      const reply = await answering
      await textOf(reply)
      await reply.settled

      expect(scripted.open()).toBe(0)
      expect(vi.getTimerCount()).toBe(0)
    },
  )

  test('a reader whose signal aborts is let go at once, the answer is not', async () => {
    const scripted = script(endless)
    const leaving = new AbortController()
    const reply = await handlerOf(scripted)(http('/chat', { body: { prompt: 'hi' }, signal: leaving.signal }))
    const reading = textOf(reply)
    await passed(10)

    leaving.abort()
    await reading

    expect(scripted.open()).toBe(1)
    await passed(30_000)
    expect(scripted.open()).toBe(0)
  })
})

describe('a slow beginning', () => {
  test('is waited for before the head leaves: a late failure has its status', async () => {
    const failure = new ChatError('upstream-auth', 'No.')
    const scripted = script(['wait', failure])
    const answering = handlerOf(scripted)(post)
    await passed(4900)
    scripted.release()

    expect((await answering).status).toBe(502)
  })

  test('is not waited for longer than that: then a failure is an event', async () => {
    const scripted = script(['wait', new ChatError('upstream-auth', 'No.')])
    const answering = handlerOf(scripted)(post)
    await passed(5000)

    const reply = await answering
    const reading = textOf(reply)
    scripted.release()

    expect(reply.status).toBe(200)
    expect(deltasIn(await reading).map((delta) => ('code' in delta ? delta.code : delta.type))).toEqual([
      'start',
      'upstream-auth',
    ])
    await reply.settled
    expect(vi.getTimerCount()).toBe(0)
  })

  test('has comments in its silence, and they change nothing of the rest', async () => {
    const scripted = script(['wait', hel, stop])
    const answering = handlerOf(scripted, { heartbeatMs: 1000 })(post)
    await passed(5000)
    const reading = textOf(await answering)
    await passed(3500)
    scripted.release()

    const body = await reading
    expect(body.match(/^:/gm)).toHaveLength(3)
    expect(deltasIn(body).slice(1)).toEqual([hel, stop])
  })
})

describe('limits', () => {
  test('so many answers at once, and no more: the next is refused until one is over', async () => {
    const scripted = script(endless)
    const handler = handlerOf(scripted, { maxReplies: 2 })
    const running = [await handler(post), await handler(post)]

    const refused = await handler(post)
    expect([refused.status, refused.headers['retry-after']]).toEqual([503, '1'])
    await handler(http('/chat/r1', { method: 'DELETE' }))
    await running[0]!.settled

    expect((await handler(post)).status).toBe(200)
    expect(scripted.asked).toHaveLength(3)
  })

  test('so many answers at once, however many ask in the same moment', async () => {
    const scripted = script(endless)
    const handler = handlerOf(scripted, { maxReplies: 3 })
    const requests = Array.from({ length: 60 }, async (_, i) => {
      for (let turn = 0; turn < i % 20; turn++) await Promise.resolve()
      return handler(i % 2 === 0 ? post : http('/stream?prompt=hi'))
    })

    const statuses = (await Promise.all(requests)).map(({ status }) => status)

    expect(statuses.filter((status) => status === 200)).toHaveLength(3)
    expect(scripted.asked).toHaveLength(3)
  })

  test('a refusal gives its place back', async () => {
    const handler = handlerOf(script([new ChatError('upstream-auth', 'No.')]), { maxReplies: 1 })

    for (let i = 0; i < 5; i++) {
      const { status, settled } = await handler(post)
      expect(status).toBe(502)
      await settled
    }
  })

  test.each<[string, Partial<HandlerOptions>, number | undefined]>([
    ['by the service', { totalTimeoutMs: 1000 }, undefined],
    ['by the platform', {}, 1000],
  ])('so long, and no longer: set %s', async (_, options, remainingMs) => {
    const scripted = script(endless)
    const handler = handlerOf(scripted, options)
    const reply = await handler({ ...post, remainingMs })
    const reading = textOf(reply)

    await passed(1000)

    expect(deltasIn(await reading).at(-1)).toMatchObject({ code: 'deadline', retryable: true })
    await reply.settled
    expect(scripted.open()).toBe(0)
  })

  test('a time of 30 days is no time of nothing', async () => {
    const scripted = script(endless)
    const days = 30 * 24 * 3600 * 1000
    const options = { totalTimeoutMs: days, lingerMs: days, acceptWaitMs: days, heartbeatMs: days }
    const reading = textOf(await handlerOf(scripted, options)(post))

    await passed(1000)
    scripted.release()

    expect(deltasIn(await reading).at(-1)).toEqual(stop)
  })
})

describe('a shutdown', () => {
  const reason = new ChatError('server-shutdown', 'Down.')

  test('tells every reader, ends every upstream, and refuses what comes', async () => {
    const scripted = script(endless)
    const down = new AbortController()
    const handler = handlerOf(scripted, { signal: down.signal })
    const replies = [await handler(post), await handler(post)]
    const bodies = replies.map((reply) => textOf(reply))

    down.abort(reason)
    await Promise.all(replies.map(({ settled }) => settled))

    for (const body of bodies) expect(deltasIn(await body).at(-1)).toMatchObject({ code: 'server-shutdown' })
    expect(scripted.open()).toBe(0)
    expect((await handler(post)).status).toBe(503)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('in the moment between the request and its answer ends that answer too', async () => {
    const scripted = script(endless)
    const down = new AbortController()
    const memory = createMemoryStore()
    const store = {
      ...memory,
      async create(id: string) {
        const kept = await memory.create(id)
        down.abort(reason)
        return kept
      },
    }
    const answering = handlerOf(scripted, { signal: down.signal, store })(post)
    await passed(100)

    expect((await answering).status).toBe(503)
    expect(scripted.open()).toBe(0)
  })
})

test('an answer that is kept for no time at all can still be read to its end', async () => {
  const handler = handlerOf(script([hel, stop]), { store: createMemoryStore({ ttlMs: 0 }) })

  const reply = await handler(post)

  expect(deltasIn(await textOf(reply)).at(-1)).toEqual(stop)
})
