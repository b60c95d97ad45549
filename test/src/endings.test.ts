import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import type { FinishedReply } from '../../src/finished.ts'
import { createHandler, type HandlerOptions } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import { type ChatDelta, isTerminal, type StreamStore, type Upstream } from '../../src/types.ts'
import { deltasIn, hel, http, lo, script, type Step, stop, textOf, until } from './kit.ts'

const post = http('/chat', { body: { prompt: 'hi' } })
const sameClient = { headers: { 'x-client-secret': 'the-secret-of-the-test-client' } }
const chat = (id = 'c') =>
  http('/api/chat', {
    ...sameClient,
    body: { id, messages: [{ id: 'u', role: 'user', parts: [{ type: 'text', text: 'Hi' }] }] },
  })

function serve(upstream: Upstream, options: Partial<HandlerOptions> = {}) {
  const store = options.store ?? createMemoryStore()
  const finished: FinishedReply[] = []
  let number = 0
  const handler = createHandler({
    upstream,
    model: 'm',
    store,
    retries: 0,
    createId: () => `r${++number}`,
    onFinish: (reply) => void finished.push(reply),
    ...options,
  })
  return { handler, store, finished }
}

/** A store that takes its time for ends, or for everything. */
function slow(store: StreamStore, ms: (delta: ChatDelta | undefined) => number): StreamStore {
  return {
    ...store,
    async append(id, deltas) {
      await pause(ms(deltas.at(-1)))
      return store.append(id, deltas)
    },
  }
}

/** A store that fails the first time that an end is to be written. */
function failingOnce(store: StreamStore): StreamStore {
  let failed = false
  return {
    ...store,
    append(id, deltas) {
      if (failed || !deltas.some(isTerminal)) return store.append(id, deltas)
      failed = true
      throw new Error('the store is away')
    },
  }
}

/** Says a word every millisecond. */
const talking: Upstream = async function* (_, { signal }) {
  for (;;) {
    await pause(1)
    if (signal.aborted) throw signal.reason
    yield hel
  }
}

describe('with a store that takes its time', () => {
  test('a stop is a stop for everybody, and settled means that it is in the log', async () => {
    const { handler, store, finished } = serve(talking, {
      store: slow(createMemoryStore(), (delta) => (delta && isTerminal(delta) ? 60 : 2)),
    })
    const reply = await handler(post)
    const text = textOf(reply)

    await handler(http('/chat/r1', { method: 'DELETE' }))
    await reply.settled

    expect(await store.state('r1')).toMatchObject({ sealed: true })
    expect(finished.map(({ status, error }) => [status, error])).toEqual([['cancelled', undefined]])
    expect(deltasIn(await text).at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
  })

  test('a deadline that comes while the end is written changes nothing', async () => {
    const onError: unknown[] = []
    const { handler, finished } = serve(script([hel, stop]).upstream, {
      store: slow(createMemoryStore(), (delta) => (delta && isTerminal(delta) ? 1200 : 0)),
      totalTimeoutMs: 600,
      onError: (error) => void onError.push(error),
    })

    const reply = await handler(post)
    const deltas = deltasIn(await textOf(reply))
    await reply.settled

    expect(deltas.at(-1)).toEqual(stop)
    expect(finished.map(({ status, error }) => [status, error])).toEqual([['finished', undefined]])
    expect(onError).toEqual([])
  })
})

test('a reply that another instance stopped is one that was cancelled', async () => {
  const scripted = script([hel, 'wait', lo, stop])
  const { handler, store, finished } = serve(scripted.upstream)
  const reply = await handler(post)
  const text = textOf(reply)
  await until(() => scripted.open() === 1)

  await store.append('r1', [{ type: 'finish', reason: 'cancelled' }])
  scripted.release()
  await text
  await reply.settled

  expect(finished.map(({ status, error }) => [status, error])).toEqual([['cancelled', undefined]])
})

describe('when the end cannot be written at first', () => {
  const shutdown = new AbortController()
  const ways: readonly (readonly [
    string,
    Partial<HandlerOptions>,
    (ask: ReturnType<typeof serve>['handler']) => unknown,
  ])[] = [
    ['a stop', {}, (ask) => ask(http('/chat/r1', { method: 'DELETE' }))],
    ['the deadline', { totalTimeoutMs: 30 }, () => undefined],
    [
      'a shutdown',
      { signal: shutdown.signal },
      () => shutdown.abort(new ChatError('server-shutdown', 'Bye.')),
    ],
  ]

  test.each(ways)('%s still ends the log, and its readers', async (_, options, happen) => {
    const { handler, store, finished } = serve(script([hel, 'wait', stop]).upstream, {
      store: failingOnce(createMemoryStore()),
      ...options,
    })
    const reply = await handler(post)
    const text = textOf(reply)

    await happen(handler)
    await reply.settled

    expect(await store.state('r1')).toMatchObject({ sealed: true })
    expect(deltasIn(await text).at(-1)?.type).toBe('error')
    expect(finished.map(({ status }) => status)).toEqual(['failed'])
  })
})

test('a store that cannot be read gives up the reply that nobody will see', async () => {
  const scripted = script([hel, 'wait', stop])
  const store = createMemoryStore()
  const { handler, finished } = serve(scripted.upstream, {
    lingerMs: 10,
    store: {
      ...store,
      read: () => {
        throw new Error('the store is away')
      },
    },
  })

  const reply = await handler(post)
  await until(() => finished.length === 1)

  expect(reply.status).toBe(500)
  expect(scripted.open()).toBe(0)
})

test('a shutdown while a reply is being opened is told too', async () => {
  const shutdown = new AbortController()
  const store = createMemoryStore()
  const { handler, finished } = serve(script([hel, stop]).upstream, {
    signal: shutdown.signal,
    store: {
      ...store,
      async create(id) {
        shutdown.abort(new ChatError('server-shutdown', 'Bye.'))
        return store.create(id)
      },
    },
  })

  const reply = await handler(post)

  expect(reply.status).toBe(503)
  expect(finished.map(({ status, error }) => [status, error?.code])).toEqual([['failed', 'server-shutdown']])
})

describe('what one answer may be', () => {
  const large: readonly (readonly [string, (i: number) => Step])[] = [
    ['sources', (i) => ({ type: 'source', url: `https://a.example/${i}/${'x'.repeat(80)}` })],
    [
      'names of calls',
      (i) => ({ type: 'tool-call', index: i, id: `c${i}`, name: 'x'.repeat(80), arguments: '' }),
    ],
    ['log probabilities', () => ({ type: 'text', text: 'a', logprobs: [{ token: 'x'.repeat(80) }] })],
    [
      'what a vendor adds',
      (i) => ({
        type: 'tool-call',
        index: i,
        id: `c${i}`,
        name: 'f',
        arguments: '',
        extra: { a: 'x'.repeat(80) },
      }),
    ],
  ]

  test.each(large)('counts its %s', async (_, make) => {
    const { handler } = serve(script([...Array.from({ length: 40 }, (__, i) => make(i)), stop]).upstream, {
      maxReplyBytes: 1000,
    })

    const deltas = deltasIn(await textOf(await handler(post)))

    expect(deltas.at(-1)).toMatchObject({ type: 'error', code: 'reply-too-large' })
    expect(deltas.length).toBeLessThan(20)
  })
})

describe('the next question of a conversation', () => {
  test('gets the place of the answer that everybody has left', async () => {
    const scripted = script([hel, 'wait', lo, stop])
    const { handler } = serve(scripted.upstream, { maxReplies: 1 })
    const { body } = await handler(chat())
    if (typeof body === 'string') return expect.fail('it is no stream')
    await body.next()
    await body.return?.()

    const next = await handler(chat())

    expect(next.status).toBe(200)
    scripted.release()
    expect(await textOf(next)).toContain('"finishReason":"stop"')
  })

  test('ends the answer before as soon as its last reader leaves it', async () => {
    const scripted = script([hel, 'wait', lo, stop])
    const { handler } = serve(scripted.upstream)
    const { body } = await handler(chat())
    const second = textOf(await handler(chat()))
    if (typeof body === 'string') return expect.fail('it is no stream')
    expect(scripted.open()).toBe(2)

    await body.next()
    await body.return?.()

    await until(() => scripted.open() === 1)
    scripted.release()
    expect(await second).toContain('"finishReason":"stop"')
  })

  test('does not hide an older answer that goes on after it', async () => {
    const scripted = script([hel, 'wait', lo, stop], [stop])
    const { handler } = serve(scripted.upstream)
    const first = textOf(await handler(chat()))
    await textOf(await handler(chat()))

    const again = await handler(http('/api/chat/c/stream', sameClient))

    expect(again.status).toBe(200)
    scripted.release()
    expect(await Promise.all([first, textOf(again)])).toEqual([
      expect.stringContaining('"finishReason":"stop"'),
      expect.stringContaining('"messageId":"r1"'),
    ])
  })
})

describe('a reply whose tool has run', () => {
  const steps: readonly (readonly Step[])[] = [
    [
      { type: 'tool-call', index: 0, id: 'c', name: 'send', arguments: '{}' },
      { type: 'usage', inputTokens: 7, outputTokens: 3 },
      { type: 'finish', reason: 'tool-calls' },
    ],
    [hel, 'wait', stop],
  ]
  const tools = [{ name: 'send', schema: { type: 'object' }, execute: () => 'sent' }]
  const spent = { type: 'usage', inputTokens: 7, outputTokens: 3 }

  test('and that then takes too long must not be asked again by itself, and says what it cost', async () => {
    const { handler, finished } = serve(script(...steps).upstream, { tools, totalTimeoutMs: 600 })

    const reply = await handler(post)
    const deltas = deltasIn(await textOf(reply))
    await reply.settled

    expect(deltas.slice(-2)).toEqual([spent, expect.objectContaining({ code: 'deadline', retryable: false })])
    expect(finished[0]).toMatchObject({
      usage: { inputTokens: 7, outputTokens: 3 },
      error: { retryable: false },
    })
  })

  test('and that is stopped says what it cost', async () => {
    const scripted = script(...steps)
    const { handler } = serve(scripted.upstream, { tools })
    const reply = await handler(post)
    const text = textOf(reply)
    await until(() => scripted.asked.length === 2)

    await handler(http('/chat/r1', { method: 'DELETE' }))

    expect(deltasIn(await text).slice(-2)).toEqual([spent, { type: 'finish', reason: 'cancelled' }])
  })
})

test('a number of steps that is none is refused at once', () => {
  expect(() => serve(talking, { maxSteps: Number.NaN })).toThrow('`maxSteps`')
})
