import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { streamChat } from '../../src/chat.ts'
import { ChatError } from '../../src/errors.ts'
import { createToolbox, type Toolbox } from '../../src/tools.ts'
import {
  type ChatDelta,
  type ChatMessage,
  isTerminal,
  type Upstream,
  type UpstreamDelta,
} from '../../src/types.ts'
import { all, asking, hel, lo, script, soon, type Step, stop, until } from './kit.ts'

const busy = new ChatError('upstream-unavailable', 'Busy.', { retryAfterMs: 0 })
const fixed = { id: 'r1', now: () => 5, random: () => 0 }
const started: ChatDelta = { type: 'start', id: 'r1', model: 'm', createdAt: 5 }

interface Run {
  readonly retries?: number
  readonly signal?: AbortSignal
  readonly onError?: (error: ChatError) => void
}

function run(upstream: Upstream, more: Run = {}): Promise<ChatDelta[]> {
  return all(streamChat(asking(), { upstream, signal: new AbortController().signal, ...fixed, ...more }))
}

test('an answer is start, what the upstream says, and its finish', async () => {
  expect(await run(script([hel, lo, stop]).upstream)).toEqual([started, hel, lo, stop])
})

test('whoever is told of a failure may fail: the answer has its end', async () => {
  const onError = (): never => {
    throw new Error('the log is full')
  }

  expect(await run(script([busy]).upstream, { onError })).toMatchObject([started, { type: 'error' }])
})

test('nothing after a finish is passed on', async () => {
  expect(await run(script([hel, stop, lo, stop]).upstream)).toEqual([started, hel, stop])
})

test('an upstream that fails while it cleans up after its finish does not change the end', async () => {
  async function* untidy(): AsyncGenerator<UpstreamDelta> {
    try {
      yield hel
      yield stop
    } finally {
      // oxlint-disable-next-line no-unsafe-finally -- what is tested
      throw new Error('cleaning up failed')
    }
  }

  expect(await run(untidy)).toEqual([started, hel, stop])
})

test.each<[string, Step[], Partial<ChatDelta>]>([
  ['ends without finish', [hel], { type: 'error', code: 'upstream-truncated' }],
  ['says nothing at all', [], { type: 'error', code: 'upstream-truncated' }],
  [
    'throws a known failure',
    [hel, new ChatError('upstream-timeout', 'Slow.')],
    { type: 'error', code: 'upstream-timeout', message: 'Slow.' },
  ],
  ['throws something unknown', [hel, new TypeError('secret detail')], { type: 'error', code: 'internal' }],
  [
    'throws an AbortError of its own, while nobody cancelled',
    [hel, new DOMException('aborted', 'AbortError')],
    { type: 'error', code: 'internal' },
  ],
])('an upstream that %s ends in an error', async (_, steps, terminal) => {
  const errors: ChatError[] = []

  const deltas = await run(script(steps).upstream, { onError: (error) => errors.push(error) })

  expect(deltas.at(-1)).toMatchObject(terminal)
  expect(JSON.stringify(deltas)).not.toContain('secret')
  expect(errors.map(({ code }) => code)).toEqual([(terminal as { code: string }).code])
})

test('a failure is told with its field and with the word of the upstream', async () => {
  const failure = new ChatError('upstream-rejected', 'No.', {
    param: 'top_k',
    upstreamCode: 'bad_value',
    status: 422,
  })

  expect((await run(script([failure]).upstream)).at(-1)).toEqual({
    type: 'error',
    code: 'upstream-rejected',
    message: 'No.',
    retryable: false,
    param: 'top_k',
    upstreamCode: 'bad_value',
    status: 422,
  })
  expect((await run(script([new ChatError('upstream-error', 'No.')]).upstream)).at(-1)).toEqual({
    type: 'error',
    code: 'upstream-error',
    message: 'No.',
    retryable: true,
  })
})

describe('a place that an upstream names', () => {
  const tools = createToolbox([{ name: 'f', schema: { type: 'object' } }])
  const user = { role: 'user', content: 'hi' } as const
  const system = { role: 'system', content: 'Be kind.' } as const

  test.each<[string, string | undefined, readonly ChatMessage[], number, Toolbox | undefined]>([
    ['messages[0].content', 'messages[0].content', [user], 0, tools],
    ['messages[1].content', 'messages[0].content', [system, user], 1, undefined],
    ['messages[1].content', 'messages[1].content', [system, user], 0, undefined],
    ['messages[0].content', undefined, [system, user], 1, undefined],
    ['messages', 'messages', [system, user], 1, tools],
    ['tools[0].function', 'tools[0].function', [system, user], 1, undefined],
    ['tools[0].function', undefined, [user], 0, tools],
    ['input[0]', undefined, [user], 0, undefined],
    ['top_k', 'top_k', [system, user], 1, tools],
  ])('in %s is told as %s', async (param, told, messages, ownMessages, ownTools) => {
    const failure = new ChatError('upstream-rejected', 'No.', { param, status: 422, upstreamCode: 'x' })
    const errors: ChatError[] = []
    const { upstream } = script([failure])
    const onError = (error: ChatError) => void errors.push(error)

    const deltas = await all(
      streamChat(asking('', { messages, ownMessages }), {
        upstream,
        signal: new AbortController().signal,
        id: 'r-1',
        tools: ownTools,
        onError,
      }),
    )

    const fields = { code: 'upstream-rejected', message: 'No.', upstreamCode: 'x' }
    expect(deltas.at(-1)).toMatchObject(fields)
    expect(deltas.at(-1)).toHaveProperty('type', 'error')
    expect((deltas.at(-1) as { param?: string }).param).toBe(told) // an error, just now
    expect(errors).toEqual([expect.objectContaining({ ...fields, status: 422, param: told })])
  })
})

test.each<[string, unknown, Partial<ChatDelta>]>([
  ['nothing', undefined, { type: 'finish', reason: 'cancelled' }],
  ['a text', 'because', { type: 'finish', reason: 'cancelled' }],
  ['an error of the caller', new Error('mine'), { type: 'finish', reason: 'cancelled' }],
  ['`cancelled`', new ChatError('cancelled', 'Stopped.'), { type: 'finish', reason: 'cancelled' }],
  ['a failure', new ChatError('deadline', 'Too long.'), { type: 'error', code: 'deadline' }],
])('an abort with %s as its reason is the last delta', async (_, reason, terminal) => {
  const controller = new AbortController()
  const { upstream } = script([hel, 'wait', stop])
  const running = run(upstream, { signal: controller.signal })
  setImmediate(() => controller.abort(reason))

  const deltas = await soon(running)

  expect(deltas).toEqual([started, hel, expect.objectContaining(terminal)])
})

/** The same with calls as upstreams give them: counted from 0, id and name in the first piece. */
function wellFormed(steps: readonly Step[]): Step[] {
  const indexes: number[] = []
  return steps.map((step) => {
    if (step === 'wait' || step instanceof Error || step.type !== 'tool-call') return step
    const seen = indexes.indexOf(step.index)
    if (seen >= 0) return { ...step, index: seen }
    const index = indexes.push(step.index) - 1
    return { ...step, index, id: `call-${index}`, name: 'look_up' }
  })
}

describe('three invariants', () => {
  const said = fc.oneof(
    fc.record({ type: fc.constantFrom('text' as const, 'reasoning' as const), text: fc.string() }),
    fc.record({ type: fc.constant('tool-call' as const), index: fc.nat(3), arguments: fc.string() }),
    fc.constant<Step>('wait'),
  )
  const failures = [
    busy,
    new ChatError('upstream-auth', 'No.'),
    new Error('x'),
    new ChatError('cancelled', 'Own.'),
  ]
  const ending = fc.constantFrom<Step[]>([stop], [stop, hel], [], ...failures.map((failure) => [failure]))
  const attempt = fc
    .tuple(fc.array(said, { maxLength: 5 }), ending)
    .map(([deltas, end]): Step[] => [...wellFormed(deltas), ...end])
  const cases = fc.record({
    attempts: fc.array(attempt, { minLength: 1, maxLength: 4 }),
    retries: fc.nat(3),
    abortAfter: fc.option(fc.nat(6)),
    reason: fc.constantFrom(undefined, 'text', new ChatError('cancelled', ''), new ChatError('deadline', '')),
  })

  test('hold for every answer, failure and abort', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ attempts, retries, abortAfter, reason }) => {
        const controller = new AbortController()
        const scripted = script(...attempts)
        const deltas: ChatDelta[] = []
        const release = setInterval(scripted.release, 1)
        try {
          const options = { upstream: scripted.upstream, signal: controller.signal, retries, ...fixed }
          if (abortAfter === 0) controller.abort(reason)
          for await (const delta of streamChat(asking(), options)) {
            if (deltas.push(delta) === abortAfter) controller.abort(reason)
          }
        } finally {
          clearInterval(release)
        }

        expect(deltas[0]).toEqual(started)
        expect(deltas.filter(({ type }) => type === 'start')).toHaveLength(1)
        expect(deltas.findIndex(isTerminal)).toBe(deltas.length - 1)
        expect(scripted.asked.length).toBeLessThanOrEqual(retries + 1)
        expect(scripted.open()).toBe(0)
        // What was said is the beginning of what the last attempt said; the ones before said nothing.
        const last = attempts[Math.min(scripted.asked.length, attempts.length) - 1] ?? []
        const words = last.filter((step) => step !== 'wait' && !(step instanceof Error))
        expect(words.slice(0, deltas.length - 2)).toEqual(deltas.slice(1, -1))
        for (const before of attempts.slice(0, scripted.asked.length - 1)) {
          expect(before.filter((step) => step !== 'wait' && step !== busy)).toEqual([])
        }
        // Only a finish that was said is a finish.
        const end = deltas.at(-1)
        if (end?.type === 'finish' && end.reason !== 'cancelled') {
          expect(words[deltas.length - 2]).toEqual(end)
        }
      }),
      { numRuns: 150 },
    )
  })

  test.each([0, 1, 2, 3, 4])('an abort while step %i is awaited ends the answer at once', async (at) => {
    const controller = new AbortController()
    const steps: Step[] = [hel, lo, hel, lo, stop]
    const scripted = script([...steps.slice(0, at), 'wait', ...steps.slice(at)])
    const deltas: ChatDelta[] = []
    const options = { upstream: scripted.upstream, signal: controller.signal, ...fixed }
    const reading = (async () => {
      for await (const delta of streamChat(asking(), options)) deltas.push(delta)
    })()
    await until(() => scripted.open() === 1 && deltas.length === (at === 0 ? 0 : at + 1))

    controller.abort()
    await soon(reading, 500)

    expect(deltas).toEqual([started, ...steps.slice(0, at), { type: 'finish', reason: 'cancelled' }])
    expect(scripted.open()).toBe(0)
  })

  test('a reader that leaves in the middle closes the upstream', async () => {
    const scripted = script([hel, lo, stop])
    const { signal } = new AbortController()

    for await (const { type } of streamChat(asking(), { upstream: scripted.upstream, signal, ...fixed })) {
      if (type === 'text') break
    }

    expect(scripted.open()).toBe(0)
  })
})

describe('asking again', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  async function timed(upstream: Upstream, more: Run): Promise<{ deltas: ChatDelta[]; ms: number }> {
    const began = performance.now()
    const running = run(upstream, more)
    let over = false
    void running.then(() => (over = true))
    while (!over) await vi.advanceTimersByTimeAsync(1)
    return { deltas: await running, ms: Math.round(performance.now() - began) }
  }

  function failing(options: { retryAfterMs?: number; retryable?: boolean } = {}): ChatError {
    return new ChatError('rate-limited', 'Slow down.', options)
  }

  test.each<[string, Step[][], number, number, string]>([
    ['not without leave', [[failing()], [stop]], 0, 1, 'error'],
    ['once, and it helps', [[failing()], [hel, stop]], 2, 2, 'finish'],
    ['as often as allowed', [[failing()]], 3, 4, 'error'],
    ['not after a word', [[hel, failing()], [stop]], 3, 1, 'error'],
    ['not when it cannot help', [[failing({ retryable: false })], [stop]], 3, 1, 'error'],
    ['not after a timeout', [[new ChatError('upstream-timeout', '')], [stop]], 3, 1, 'error'],
    ['not after something unknown', [[new Error('bug')], [stop]], 3, 1, 'error'],
    ['after an end without a word', [[], [stop]], 3, 2, 'finish'],
    ['not when it is asked to wait too long', [[failing({ retryAfterMs: 5001 })], [stop]], 3, 1, 'error'],
    ['when it is asked to wait a little', [[failing({ retryAfterMs: 5000 })], [stop]], 3, 2, 'finish'],
  ])('happens %s', async (_, scripts, retries, times, end) => {
    const scripted = script(...scripts)

    const { deltas } = await timed(scripted.upstream, { retries })

    expect(scripted.asked).toHaveLength(times)
    expect(deltas.at(-1)?.type).toBe(end)
    expect(deltas.filter(({ type }) => type === 'start')).toHaveLength(1)
  })

  test('waits as long as the upstream wishes', async () => {
    const scripted = script([failing({ retryAfterMs: 3000 })], [stop])

    const { ms } = await timed(scripted.upstream, { retries: 1 })

    expect(ms).toBeGreaterThanOrEqual(3000)
    expect(ms).toBeLessThan(3100)
  })

  test('waits longer each time, when the upstream has no wish', async () => {
    const asked: number[] = []
    const never: Upstream = () => {
      asked.push(performance.now())
      throw failing()
    }

    await timed(never, { retries: 3 })

    const waits = asked.slice(1).map((at, i) => Math.round(at - asked[i]!))
    expect(waits).toEqual([125, 250, 500])
  })

  test('is given up at once when the answer is not wanted any more', async () => {
    const controller = new AbortController()
    const scripted = script([failing({ retryAfterMs: 4000 })], [stop])
    const running = run(scripted.upstream, { retries: 1, signal: controller.signal })
    await vi.advanceTimersByTimeAsync(1000)

    controller.abort()

    expect(await running).toEqual([started, { type: 'finish', reason: 'cancelled' }])
    expect(scripted.asked).toHaveLength(1)
    expect(vi.getTimerCount()).toBe(0)
  })
})
