import { describe, expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import type { Tool } from '../../src/tools.ts'
import { type ChatDelta, isTerminal } from '../../src/types.ts'
import { hel, lo, type Step, stop } from './kit.ts'
import { call, calls, echo, finish, of, reply, tool, usage } from './tools-kit.ts'

const started: ChatDelta = { type: 'start', id: 'r1', model: 'm', createdAt: 5 }
const busy = new ChatError('upstream-unavailable', 'Busy.', { retryAfterMs: 0 })

describe('a call that may have been cut', () => {
  const ran: unknown[] = []
  const note = tool('note', () => void ran.push(1))

  test.each([finish('length'), finish('content-filter'), finish('other', 'odd')])(
    'is not run, and its result says so: %j',
    async (end) => {
      ran.length = 0
      const { deltas, asked } = await reply([[call(0, 'note'), usage(1, 1), end], [stop]], { tools: [note] })

      expect(deltas.slice(2)).toEqual([
        {
          type: 'tool-result',
          id: 'c0',
          result: 'The tool was not run: the answer ended before the call was complete.',
          isError: true,
        },
        usage(1, 1),
        end,
      ])
      expect(ran).toEqual([])
      expect(asked).toHaveLength(1)
    },
  )

  test.each<[string, Step[]]>([
    ['the upstream breaks off', []],
    ['the upstream fails', [new ChatError('upstream-timeout', 'Slow.')]],
  ])('is not run when %s', async (_, end) => {
    ran.length = 0
    const { deltas } = await reply([[call(0, 'note'), ...end]], { tools: [note] })

    expect(deltas.at(-1)?.type).toBe('error')
    expect(of('tool-result', deltas)).toEqual([])
    expect(ran).toEqual([])
  })
})

describe('the number of steps', () => {
  const again: Step[] = [call(0, 'echo'), calls]

  test.each([
    [undefined, 8],
    [1, 1],
    [2, 2],
    [3, 3],
  ])('maxSteps %s: the model is asked at most %i times, the last time for words', async (maxSteps, times) => {
    const { asked } = await reply([again], maxSteps === undefined ? {} : { maxSteps })

    expect(asked).toHaveLength(times)
    expect(asked.map(({ toolChoice }) => toolChoice)).toEqual([
      ...Array.from({ length: times - 1 }, () => undefined),
      'none',
    ])
  })

  test('a model that calls all the same gets no result, and the reply says why it ends', async () => {
    let runs = 0
    const count = tool('count', () => ++runs)
    const { deltas } = await reply([[call(0, 'count'), usage(1, 1), calls]], { tools: [count], maxSteps: 2 })

    expect(runs).toBe(1)
    expect(deltas.slice(-3)).toEqual([
      {
        type: 'tool-result',
        id: 'call_r1_1',
        result: 'The tool was not run: this answer has used all of its 2 steps.',
        isError: true,
      },
      usage(2, 2),
      finish('other', 'max-steps'),
    ])
  })

  test('a last step that calls a tool of the client as well ends with that call', async () => {
    const { deltas } = await reply([[call(0, 'echo'), call(1, 'client'), calls]], {
      maxSteps: 1,
      request: { tools: [{ name: 'client' }] },
    })

    expect(of('tool-result', deltas)).toMatchObject([{ id: 'c0', isError: true }])
    expect(deltas.at(-1)).toEqual(calls)
  })

  test.each([
    ['required', ['required', undefined, undefined]],
    [{ name: 'echo' }, [{ name: 'echo' }, undefined, undefined]],
    ['auto', ['auto', undefined, undefined]],
    [undefined, [undefined, undefined, undefined]],
  ] as const)('toolChoice %j holds for the first step', async (toolChoice, choices) => {
    const { asked } = await reply([again, again, [stop]], { request: { toolChoice } })

    expect(asked.map((request) => request.toolChoice)).toEqual(choices)
  })

  test('where the request forbids tools none is run, and the model is told', async () => {
    let runs = 0
    const { deltas, asked } = await reply([[call(0, 'count'), calls], [stop]], {
      tools: [tool('count', () => ++runs)],
      request: { toolChoice: 'none' },
    })

    expect(runs).toBe(0)
    expect(of('tool-result', deltas)[0]?.result).toBe('Tools must not be used in this answer.')
    expect(asked.map(({ toolChoice }) => toolChoice)).toEqual(['none', 'none'])
  })
})

describe('usage', () => {
  test('is the sum of all steps, once, before the end', async () => {
    const { deltas } = await reply([
      [call(0, 'echo'), usage(10, 1, { reasoningTokens: 3 }), calls],
      [call(0, 'echo'), calls],
      [lo, usage(20, 2, { cachedInputTokens: 5, totalTokens: 30 }), stop],
    ])

    const sum = { cachedInputTokens: 5, reasoningTokens: 3, totalTokens: 41 }
    expect(of('usage', deltas)).toEqual([usage(30, 3, sum)])
    expect(deltas.slice(-2).map(({ type }) => type)).toEqual(['usage', 'finish'])
  })

  test('of one step counts once, the last report, wherever it comes', async () => {
    const { deltas } = await reply([[usage(1, 1), hel, usage(1, 2), lo, stop]])

    expect(deltas).toEqual([started, hel, lo, usage(1, 2), stop])
  })

  test('is told before a failure too: it was spent', async () => {
    const { deltas } = await reply([
      [call(0, 'echo'), usage(7, 1), calls],
      [hel, new ChatError('upstream-timeout', 'Slow.')],
    ])

    expect(deltas.slice(-3)).toEqual([hel, usage(7, 1), expect.objectContaining({ type: 'error' })])
  })

  test('that nobody reports is not made up', async () => {
    const { deltas } = await reply([[call(0, 'echo'), calls], [stop]])

    expect(of('usage', deltas)).toEqual([])
  })
})

describe('asking again', () => {
  test.each<[string, Step[][], number, number, string]>([
    [
      'in a later step, while it said nothing',
      [[call(0, 'echo'), calls], [busy], [lo, stop]],
      1,
      3,
      'finish',
    ],
    ['in each step anew', [[busy], [call(0, 'echo'), calls], [busy], [lo, stop]], 1, 4, 'finish'],
    ['not after a word of that step', [[call(0, 'echo'), calls], [hel, busy], [stop]], 3, 2, 'error'],
    ['not more often than allowed', [[call(0, 'echo'), calls], [busy], [busy], [stop]], 1, 3, 'error'],
  ])('happens %s', async (_, scripts, retries, times, end) => {
    let runs = 0
    const count: Tool = { ...echo, execute: () => ++runs }
    const { deltas, asked } = await reply(scripts, { retries, tools: [count] })

    expect(asked).toHaveLength(times)
    expect(deltas.at(-1)?.type).toBe(end)
    expect(deltas.filter(isTerminal)).toHaveLength(1)
    expect(runs).toBe(1)
  })
})
