import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import type { EndedReply, FinishedReply } from '../../src/finished.ts'
import { createHandler, type HandlerOptions } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { Handler, StreamStore, Upstream, UpstreamDelta } from '../../src/types.ts'
import { hel, http, lo, script, type Step, stop, textOf } from './kit.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const usage: UpstreamDelta = { type: 'usage', inputTokens: 3, outputTokens: 2 }
const refusal = new ChatError('upstream-auth', 'No.', { cause: new Error('the whole cause') })
const cut = new ChatError('upstream-truncated', 'Cut.')

interface Told {
  readonly handler: Handler
  readonly finished: FinishedReply[]
  readonly ended: EndedReply[]
}

function telling(upstream: Upstream, options: Partial<HandlerOptions> = {}): Told {
  const finished: FinishedReply[] = []
  const ended: EndedReply[] = []
  let number = 0
  const handler = createHandler({
    upstream,
    model: 'm',
    createId: () => `r${++number}`,
    retries: 0,
    onFinish: (reply) => void finished.push(reply),
    onEnd: (reply) => void ended.push(reply),
    ...options,
  })
  return { handler, finished, ended }
}

const ask = (more: object = {}) => http('/chat', { body: { prompt: 'hi', ...more } })

function failing(store: StreamStore): StreamStore {
  let appended = 0
  return {
    ...store,
    append(id, deltas) {
      if (++appended === 3) throw new Error('the store is gone')
      return store.append(id, deltas)
    },
  }
}

/** How a reply can end: what happens, and what is told of it. */
const endings: readonly [
  string,
  readonly Step[],
  Partial<HandlerOptions>,
  (handler: Handler) => Promise<unknown>,
  Partial<FinishedReply>,
][] = [
  ['is whole', [hel, lo, usage, stop], {}, read, { status: 'finished' }],
  [
    'is whole, as one document',
    [hel, lo, stop],
    {},
    (handler) => handler(ask({ stream: false })),
    { status: 'finished' },
  ],
  ['is refused before it begins', [refusal], {}, read, { status: 'failed', error: refusal }],
  ['breaks off', [hel, cut], {}, read, { status: 'failed', error: cut }],
  ['is stopped', [hel, 'wait', stop], {}, stopIt, { status: 'cancelled', error: undefined }],
  ['is stopped before its first word', ['wait'], {}, stopIt, { status: 'cancelled' }],
  ['is left, and nobody comes back', [hel, 'wait', stop], { lingerMs: 50 }, leave, { status: 'cancelled' }],
  ['is left, and ends all the same', [hel, lo, stop], {}, leave, { status: 'finished' }],
  ['takes too long', [hel, 'wait'], { totalTimeoutMs: 20 }, read, { status: 'failed' }],
  ['grows too large', [hel, lo, stop], { maxReplyBytes: 4 }, read, { status: 'failed' }],
  [
    'is lost by its store',
    [hel, lo, stop],
    { store: failing(createMemoryStore()) },
    read,
    { status: 'failed' },
  ],
]

async function read(handler: Handler): Promise<void> {
  const reply = handler(ask())
  await vi.advanceTimersByTimeAsync(30)
  await textOf(await reply)
}

async function stopIt(handler: Handler): Promise<void> {
  const reply = handler(ask())
  await vi.advanceTimersByTimeAsync(10)
  await handler(http('/chat/r1', { method: 'DELETE' }))
  await textOf(await reply)
}

async function leave(handler: Handler): Promise<void> {
  const { body } = await handler(ask())
  if (typeof body === 'string') return expect.fail('it is no stream')
  await body.next()
  await body.return?.()
  await vi.advanceTimersByTimeAsync(60)
}

describe('onFinish', () => {
  test.each(endings)('is told once when a reply %s', async (_, steps, options, happen, expected) => {
    const { handler, finished, ended } = telling(script(steps).upstream, options)

    await happen(handler)
    await vi.advanceTimersByTimeAsync(1000)

    expect(finished).toHaveLength(1)
    expect(finished[0]).toMatchObject({ id: 'r1', ...expected })
    const { answer, ...rest } = finished[0]!
    expect(ended).toEqual([rest])
    expect(rest.finishReason).toBe(answer.finishReason)
  })

  test('has the answer, what was asked, the usage and the times', async () => {
    const scripted = script([hel, 'wait', lo, usage, stop])
    const { handler, finished } = telling(scripted.upstream)
    const startedAt = Date.now()
    const reply = await handler(ask({ temperature: 1 }))
    const text = textOf(reply)
    await vi.advanceTimersByTimeAsync(40)
    scripted.release()
    await text
    await reply.settled

    expect(finished).toEqual([
      {
        id: 'r1',
        status: 'finished',
        request: expect.objectContaining({ model: 'm', temperature: 1 }) as unknown,
        answer: {
          id: 'r1',
          model: 'm',
          createdAt: startedAt,
          text: 'Hello',
          usage: { inputTokens: 3, outputTokens: 2 },
          finishReason: 'stop',
        },
        finishReason: 'stop',
        usage: { inputTokens: 3, outputTokens: 2 },
        error: undefined,
        upstream: undefined,
        chatId: undefined,
        timings: { startedAt, acceptedMs: undefined, firstDeltaMs: 0, durationMs: 40 },
      },
    ])
  })

  test('counts the wait for the server that answers, not for its later steps', async () => {
    let step = 0
    async function* upstream(
      _: unknown,
      { onAccept }: { onAccept?: (() => void) | undefined },
    ): AsyncGenerator<UpstreamDelta> {
      await new Promise((resolve) => setTimeout(resolve, 10))
      onAccept?.()
      if (step++ > 0) {
        yield stop
        return
      }
      yield { type: 'tool-call', index: 0, id: 'c', name: 'f', arguments: '{}' }
      yield { type: 'finish', reason: 'tool-calls' }
    }
    const tools = [{ name: 'f', schema: { type: 'object' }, execute: () => 1 }]
    const { handler, finished } = telling(upstream, { tools })

    await read(handler)

    expect(finished[0]?.timings).toMatchObject({ acceptedMs: 10, firstDeltaMs: 10, durationMs: 20 })
  })

  test('has what came of an answer that broke off', async () => {
    const { handler, finished } = telling(script([hel, cut]).upstream)

    await read(handler)

    expect(finished[0]?.answer).toEqual({
      id: 'r1',
      model: 'm',
      createdAt: expect.any(Number) as unknown,
      text: 'Hel',
    })
  })

  test('is not told of a request that never became a reply', async () => {
    const { handler, finished } = telling(script([hel, stop]).upstream, { maxReplies: 0 })

    const reply = await handler(ask())

    expect(reply.status).toBe(503)
    expect(finished).toEqual([])
  })
})

describe.each(['onFinish', 'onEnd'] as const)('%s', (hook) => {
  test('is waited for before the reply is settled, because a platform may freeze then', async () => {
    let done = false
    const { handler } = telling(script([hel, stop]).upstream, {
      [hook]: () => new Promise<void>((resolve) => setTimeout(() => resolve(void (done = true)), 100)),
    })
    const reply = await handler(ask())
    await textOf(reply)
    const settled = reply.settled.then(() => done)

    await vi.advanceTimersByTimeAsync(200)

    expect(await settled).toBe(true)
  })

  test.each([
    [
      'throws',
      () => {
        throw new Error('mine')
      },
    ],
    ['rejects', () => Promise.reject(new Error('mine'))],
  ])('that %s disturbs nothing and is reported', async (_, broken) => {
    const onError = vi.fn()
    const { handler } = telling(script([hel, stop]).upstream, { [hook]: broken, onError })

    const reply = await handler(ask())
    const text = await textOf(reply)
    await reply.settled

    expect(text).toContain('"finish"')
    expect(onError.mock.calls.map(([error]) => (error as ChatError).cause)).toEqual([new Error('mine')])
  })

  test('is told where there is no other hook', async () => {
    const told = vi.fn()
    const { handler } = telling(script([hel, stop]).upstream, {
      onFinish: undefined,
      onEnd: undefined,
      [hook]: told,
    })

    const reply = await handler(ask())
    await textOf(reply)
    await reply.settled

    expect(told).toHaveBeenCalledWith(expect.objectContaining({ id: 'r1', status: 'finished' }))
  })

  test('is told where the other hook is broken', async () => {
    const told = vi.fn()
    const broken = {
      onFinish: () => Promise.reject(new Error('mine')),
      onEnd: () => Promise.reject(new Error('mine')),
    }
    const { handler } = telling(script([hel, stop]).upstream, { ...broken, [hook]: told })

    const reply = await handler(ask())
    await textOf(reply)
    await reply.settled

    expect(told).toHaveBeenCalledTimes(1)
  })
})

describe('onError', () => {
  test('is told once of a failure, whole, with its cause, the reply and the upstream', async () => {
    const onError = vi.fn()
    async function* upstream(_: unknown, { onAccept }: { onAccept?: ((name: string) => void) | undefined }) {
      onAccept?.('second')
      yield hel
      throw refusal
    }
    const { handler } = telling(upstream, { onError })

    await read(handler)

    expect(onError.mock.calls).toEqual([[refusal, { replyId: 'r1', upstream: 'second' }]])
  })
})

test('the upstream that answers is named in a header, where there are several', async () => {
  async function* upstream(_: unknown, { onAccept }: { onAccept?: ((name: string) => void) | undefined }) {
    onAccept?.('first')
    onAccept?.('second')
    yield hel
    yield stop
  }
  const { handler, finished } = telling(upstream)

  const replies = [await handler(ask()), await handler(ask({ stream: false }))]
  await Promise.all(replies.map(textOf))

  expect(replies.map(({ headers }) => headers['x-upstream'])).toEqual(['second', 'second'])
  expect(finished.map(({ upstream: name }) => name)).toEqual(['second', 'second'])
})
