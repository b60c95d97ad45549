import { describe, expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import type { Usage } from '../../src/types.ts'
import { requireMaxSteps } from '../../src/turn.ts'
import { hel, lo, type Step, stop } from './kit.ts'
import { anything, call, calls, finish, of, reply, tool, usage } from './tools-kit.ts'

const busy = new ChatError('upstream-unavailable', 'Busy.', { retryAfterMs: 9000, upstreamCode: 'busy' })

describe('a number of steps', () => {
  test.each([1, 2, 8, Number.MAX_SAFE_INTEGER, Infinity])('may be %s', (maxSteps) => {
    expect(() => requireMaxSteps(maxSteps)).not.toThrow()
  })

  test.each([0, -1, 1.5, Number.NaN, -Infinity, '3'])('must not be %s', async (maxSteps) => {
    const wrong = expect.objectContaining({ code: 'invalid-request', param: 'maxSteps' }) as Error

    expect(() => requireMaxSteps(maxSteps as number)).toThrow(wrong)
    await expect(reply([[stop]], { maxSteps: maxSteps as number })).rejects.toThrow(wrong)
  })
})

describe('the last step', () => {
  const own = [{ name: 'look_up', parameters: anything }]
  const again: Step[] = [call(0, 'echo'), calls]

  test('leaves out the tools of the service where the client has some of its own', async () => {
    const { asked } = await reply([again, [call(0, 'look_up'), calls]], {
      maxSteps: 2,
      request: { tools: own },
    })

    expect(asked.map(({ tools }) => tools?.map(({ name }) => name))).toEqual([
      ['echo', 'look_up'],
      ['look_up'],
    ])
    expect(asked.map(({ toolChoice }) => toolChoice)).toEqual([undefined, undefined])
  })

  test.each([
    ['required', 'required'],
    ['none', 'none'],
    [{ name: 'look_up' }, { name: 'look_up' }],
    [{ name: 'echo' }, undefined],
  ] as const)('that is the first keeps to toolChoice %j where it can', async (toolChoice, asks) => {
    const { asked } = await reply([[stop]], { maxSteps: 1, request: { tools: own, toolChoice } })

    expect(asked[0]?.toolChoice).toEqual(asks)
  })

  test('runs no tool of the service, also when the model was not told of it', async () => {
    const { deltas } = await reply([again], { maxSteps: 1, request: { tools: own } })

    expect(of('tool-result', deltas)).toMatchObject([{ isError: true }])
    expect(deltas.at(-1)).toEqual(finish('other', 'max-steps'))
  })
})

describe('a limit of tokens', () => {
  const step = (outputTokens?: number): Step[] => [
    call(0, 'count'),
    ...(outputTokens === undefined ? [] : [usage(5, outputTokens)]),
    calls,
  ]

  test.each<[string, (number | undefined)[], (number | undefined)[]]>([
    ['what the steps before have left', [30, 20], [100, 70, 50]],
    ['all of it, where nobody counts', [undefined, undefined], [100, 100, 100]],
    ['what is known', [30, undefined], [100, 70, 70]],
    ['as little as servers take', [84], [100, 16]],
  ])('gives each step %s', async (_, spent, limits) => {
    const { asked } = await reply([...spent.map((tokens) => step(tokens)), [lo, stop]], {
      tools: [tool('count', () => 1)],
      request: { maxOutputTokens: 100 },
    })

    expect(asked.map(({ maxOutputTokens }) => maxOutputTokens)).toEqual(limits)
  })

  test('that is used up ends the reply, and the calls are not run', async () => {
    let runs = 0
    const { deltas, asked } = await reply([step(50), step(40), [lo, stop]], {
      tools: [tool('count', () => ++runs)],
      request: { maxOutputTokens: 100 },
    })

    expect(runs).toBe(1)
    expect(asked).toHaveLength(2)
    expect(deltas.slice(-3)).toEqual([
      {
        type: 'tool-result',
        id: 'call_r1_1',
        result: 'The tool was not run: this answer has used up its 100 tokens.',
        isError: true,
      },
      usage(10, 90),
      finish('length'),
    ])
  })

  test('that nobody set is none', async () => {
    const { asked } = await reply([step(1_000_000), [stop]], { tools: [tool('count', () => 1)] })

    expect(asked.map(({ maxOutputTokens }) => maxOutputTokens)).toEqual([undefined, undefined])
  })
})

describe('calls without end', () => {
  test('in one step: 128 are run, the others get a result that says so', async () => {
    let runs = 0
    const many = Array.from({ length: 130 }, (_, at) => call(at, 'count'))
    const { deltas, asked } = await reply([[...many, calls], [stop]], {
      tools: [tool('count', () => ++runs)],
    })

    expect(runs).toBe(128)
    const failed = of('tool-result', deltas).filter(({ isError }) => isError)
    expect(failed.map(({ id }) => id)).toEqual(['c128', 'c129'])
    expect(failed[0]?.result).toContain('at most 128 tools')
    expect(asked[1]?.messages).toHaveLength(2 + 130)
  })
})

describe('a failure', () => {
  const once = tool('once', () => 1)
  const strict = { ...once, schema: { type: 'object', required: ['a'] } }

  test.each<[string, Step[][], boolean]>([
    ['before a tool ran', [[hel, busy]], true],
    ['after the model called but nothing was run', [[call(0, 'once'), busy]], true],
    ['after a call whose arguments did not fit', [[call(0, 'strict'), calls], [busy]], true],
    ['after a tool ran', [[call(0, 'once'), calls], [busy]], false],
    [
      'two steps after a tool ran',
      [
        [call(0, 'once'), calls],
        [call(0, 'nobody'), calls],
        [hel, busy],
      ],
      false,
    ],
  ])('%s: can asking again help? %#', async (_, scripts, retryable) => {
    const errors: ChatError[] = []
    const { deltas } = await reply(scripts, {
      tools: [once, { ...strict, name: 'strict' }],
      onError: (error) => errors.push(error),
    })

    expect(deltas.at(-1)).toMatchObject({
      type: 'error',
      code: 'upstream-unavailable',
      message: 'Busy.',
      retryable,
    })
    expect(errors).toMatchObject([{ retryable, status: 503, upstreamCode: 'busy' }])
    // Whoever must not ask again need not know when.
    expect(errors[0]?.retryAfterMs).toBe(retryable ? 9000 : undefined)
  })

  test('by an abort while a tool runs is one after it ran', async () => {
    const controller = new AbortController()
    const told: string[] = []
    const { deltas } = await reply([[call(0, 'stuck'), calls]], {
      signal: controller.signal,
      onToolRun: () => told.push('ran'),
      tools: [
        tool('stuck', () => {
          told.push('stuck')
          controller.abort(new ChatError('deadline', 'Too long.'))
          return new Promise(() => {})
        }),
      ],
    })

    expect(deltas.at(-1)).toMatchObject({ type: 'error', code: 'deadline', retryable: false })
    expect(told).toEqual(['ran', 'stuck'])
  })
})

describe('whoever wants to know the usage', () => {
  test('is told the sum so far, whenever it is known of a step', async () => {
    const told: Usage[] = []
    const { deltas } = await reply(
      [
        [call(0, 'echo'), usage(10, 1), calls],
        [usage(20, 2), lo, usage(20, 3), stop],
      ],
      { onUsage: (usage) => told.push(usage) },
    )

    expect(told).toEqual([
      { inputTokens: 10, outputTokens: 1 },
      { inputTokens: 30, outputTokens: 3 },
      { inputTokens: 30, outputTokens: 4 },
    ])
    expect(of('usage', deltas)).toEqual([usage(30, 4)])
  })

  test('may fail at hearing it: the reply goes on', async () => {
    const onUsage = (): void => {
      throw new Error('broken')
    }

    expect((await reply([[usage(1, 1), stop]], { onUsage })).deltas.at(-1)).toEqual(stop)
  })
})
