import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { createBudget } from '../../src/budget.ts'
import { createHandler, type HandlerOptions } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { ChatDelta, HttpReply, StreamStore, Upstream, UpstreamDelta } from '../../src/types.ts'
import { createScript } from '../adapters/script.ts'
import { deltasIn, http, script, soon, stop, textIn, textOf, until } from './kit.ts'

const KB = 1024

function serve(upstream: Upstream, maxBytes: number, more: Partial<HandlerOptions> = {}) {
  let time = 0
  const budget = createBudget({ maxBytes, now: () => time })
  const store = createMemoryStore({ budget, ttlMs: 60_000, now: () => time })
  const handler = createHandler({ upstream, model: 'm', store, lingerMs: 0, retries: 0, ...more })
  const ask = (body: object = { prompt: 'hi' }, headers: Record<string, string> = {}): Promise<HttpReply> =>
    handler(http('/chat', { body, headers }))
  return { budget, store, handler, ask, pass: (ms: number) => (time += ms) }
}

describe('running replies beyond the budget', () => {
  test('the largest ends with an error that can be retried, the others are whole', async () => {
    const { upstream, asked } = createScript()
    const { budget, ask } = serve(upstream, 1000 * KB)
    const replies = ['small', 'large'].map((prompt) => begin(ask({ prompt })))
    await until(() => asked.length === 2)

    for (let n = 0; n < 60; n++) {
      asked[0]!.say('a'.repeat(KB))
      asked[1]!.say('b'.repeat(16 * KB))
      await new Promise((resolve) => setImmediate(resolve))
    }
    asked[0]!.finish()
    asked[1]!.finish()

    const [first, second] = (await soon(Promise.all(replies))).map((text) => deltasIn(text))
    expect(textIn(first!)).toBe('a'.repeat(60 * KB))
    expect(first!.at(-1)).toEqual(stop)
    expect(second!.at(-1)).toMatchObject({ type: 'error', code: 'overloaded', retryable: true })
    expect(asked[1]!.signal.aborted).toBe(true)
    expect(budget.used).toBeLessThan(1000 * KB)
  })

  test('a reader that lags behind a reply that was ended gets the error too, without a number', async () => {
    const { upstream, asked } = createScript()
    const { ask } = serve(upstream, 1000 * KB)
    const { body } = await started(ask(), asked)
    if (typeof body === 'string') throw new Error(body)
    const head = await body.next() // and no more, for now

    for (let n = 0; n < 80; n++) {
      asked[0]!.say('b'.repeat(16 * KB))
      await new Promise((resolve) => setImmediate(resolve))
    }
    let text = String(head.value)
    for await (const frame of body) text += frame

    expect(deltasIn(text).at(-1)).toMatchObject({ type: 'error', code: 'overloaded' })
    expect(text.slice(text.lastIndexOf('data:') - 20)).not.toContain('id: 8')
  })

  test('a new one is refused before that, and taken when there is room again', async () => {
    const { upstream, asked } = createScript()
    const { ask } = serve(upstream, 1000 * KB)
    const running = begin(ask())
    await until(() => asked.length === 1)
    for (let n = 0; n < 50; n++) asked[0]!.say('b'.repeat(14 * KB))
    await new Promise((resolve) => setImmediate(resolve))

    const refused = await ask()

    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '1' } })
    expect(String(refused.body)).toContain('overloaded')
    expect(asked).toHaveLength(1)
    asked[0]!.finish()
    expect(deltasIn(await soon(running)).at(-1)).toEqual(stop)
  })
})

describe('the memory of a reply', () => {
  const answer: UpstreamDelta[] = Array.from({ length: 1500 }, (_, n) => ({ type: 'text', text: `${n} ` }))

  const fates: readonly [string, (served: ReturnType<typeof serve>) => Promise<unknown>][] = [
    ['finished', async ({ ask }) => textOf(await ask())],
    ['was a document', async ({ ask }) => textOf(await ask({ prompt: 'hi', stream: false }))],
    ['was refused', async ({ ask }) => textOf(await ask({ prompt: '' }))],
    ['was asked for twice under one key', async ({ ask }) => {
      const key = { 'idempotency-key': 'k' }
      return Promise.all([1, 2, 3].map(async () => textOf(await ask({ prompt: 'hi' }, key))))
    }], // prettier-ignore
    ['was left', async ({ handler }) => {
      const leaving = new AbortController()
      const { body } = await handler(http('/chat', { body: { prompt: 'hi' }, signal: leaving.signal }))
      if (typeof body === 'string') return
      await body.next()
      leaving.abort()
      await body.return?.()
    }], // prettier-ignore
    ['was stopped', async ({ ask, handler }) => {
      const { headers, body } = await ask()
      await handler(http(`/chat/${headers['x-reply-id']}`, { method: 'DELETE' }))
      return textOf({ body })
    }], // prettier-ignore
    ['was superseded', async ({ handler }) => {
      const body = { id: 'c', messages: [{ role: 'user', parts: [{ type: 'text', text: 'hi' }] }] }
      return Promise.all([1, 2].map(async () => textOf(await handler(http('/api/chat', { body })))))
    }], // prettier-ignore
    ['is followed by more readers', async ({ ask, handler }) => {
      const { headers, body } = await ask()
      const others = [0, 3].map(async (after) =>
        textOf(await handler(http(`/chat/${headers['x-reply-id']}`, { headers: { 'last-event-id': String(after) } }))),
      )
      return Promise.all([textOf({ body }), ...others])
    }], // prettier-ignore
    [
      'grew beyond the budget',
      async ({ ask }) => Promise.all([1, 2, 3, 4].map(async () => textOf(await ask()))),
    ],
  ]

  describe.each<[string, readonly (UpstreamDelta | Error)[], number]>([
    ['whole', [...answer, stop], 1e9],
    ['that fails', [...answer, new Error('Oh.')], 1e9],
    ['that fails at once', [new Error('Oh.')], 1e9],
    ['with little memory', [...answer, stop], 300 * KB],
  ])('of an answer %s', (_, steps, maxBytes) => {
    test.each(fates)('that %s is free again when it is forgotten', async (_fate, meet) => {
      const served = serve(script(steps).upstream, maxBytes, { onFinish: () => {} })

      await meet(served)
      await served.handler.close()
      served.pass(60_000)
      void served.store.state('any')

      expect(served.budget.used).toBe(0)
    })
  })

  test.each(['create', 'claim', 'append'] as const)('is free when the store fails to %s', async (verb) => {
    const served = serve(script([...answer, stop]).upstream, 1e9)
    const store: StreamStore = { ...served.store, [verb]: () => Promise.reject(new Error('Oh.')) }
    const handler = createHandler({ upstream: script([stop]).upstream, model: 'm', store })

    const headers = { 'idempotency-key': 'k' }
    const reply = handler(http('/chat', { body: { prompt: 'hi' }, headers }))
    // Without `append` a reply has no end to be read.
    if (verb === 'append') for (let n = 0; n < 20; n++) await new Promise((resolve) => setImmediate(resolve))
    else expect((await reply).status).toBeGreaterThanOrEqual(500)
    await handler.close()

    // The log itself is there until somebody discards it.
    expect(served.budget.used).toBeLessThan(verb === 'append' ? 4 * KB : 1)
  })
})

describe('the count is not below what is held', () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const parsed = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T // as an upstream makes it

  test.each<[string, number, (n: number) => ChatDelta]>([
    ['tokens', 400_000, (n) => ({ type: 'text', text: String(n) })],
    [
      'tokens of two bytes',
      400_000,
      (n) => ({ type: 'reasoning', text: String.fromCharCode(0x4e00 + (n % 20_000), 0x6f22) }),
    ],
    ['long texts', 4000, (n) => ({ type: 'text', text: 'x'.repeat(5000) + n })],
    ['long texts of two bytes', 2000, (n) => ({ type: 'text', text: '漢'.repeat(5000) + n })],
    ['alternating kinds', 100_000, (n) => ({ type: n % 2 ? 'text' : 'refusal', text: `${n} and more` })],
    ['pieces of calls', 100_000, (n) => ({ type: 'tool-call', index: 0, arguments: `{"n":${n}}` })],
    [
      'results of tools',
      2000,
      (n) => ({
        type: 'tool-result',
        id: 'c',
        result: Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`k${n}-${at}`, at])),
      }),
    ],
    [
      'logprobs',
      20_000,
      (n) => ({ type: 'text', text: 'a', logprobs: [{ token: String(n), logprob: -0.5, bytes: [1, 2] }] }),
    ],
    ['usage', 20_000, (n) => ({ type: 'usage', inputTokens: n, outputTokens: n + 0.5 })],
  ])('for %s', (_, count, make) => {
    const budget = createBudget({ maxBytes: 1e12 })
    const store = createMemoryStore({ budget })
    collect()
    const before = process.memoryUsage()
    void store.create('a')
    for (let n = 0; n < count; n++) void store.append('a', [parsed(make(n))])
    collect()
    const after = process.memoryUsage()

    const held = after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers
    expect(budget.used).toBeGreaterThan(0.75 * held)
    expect(store.state('a')).toMatchObject({ length: count })
  })
})

/** All that a reply's first reader gets. */
async function begin(reply: Promise<HttpReply>): Promise<string> {
  return textOf(await reply)
}

/** A reply whose head has left. */
async function started(
  reply: Promise<HttpReply>,
  asked: ReturnType<typeof createScript>['asked'],
): Promise<HttpReply> {
  await until(() => asked.length === 1)
  asked[0]!.say('Hi.')
  return reply
}
