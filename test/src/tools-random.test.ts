import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import type { Tool } from '../../src/tools.ts'
import { type ChatDelta, isTerminal, type UpstreamDelta } from '../../src/types.ts'
import { script, type Step } from './kit.ts'
import { anything, begin, echo, of, tool } from './tools-kit.ts'

const tools: readonly Tool[] = [
  echo,
  tool('later', () => new Promise((resolve) => setImmediate(resolve, 'later'))),
  tool('broken', () => Promise.reject(new Error('broken'))),
  { name: 'client', schema: anything },
]

interface Called {
  readonly name: string
  readonly id: string | undefined
  readonly pieces: readonly string[]
}

const called: fc.Arbitrary<Called> = fc.record({
  // `nobody` is a tool that does not exist.
  name: fc.constantFrom('echo', 'later', 'broken', 'nobody', 'client'),
  id: fc.constantFrom(undefined, 'a', 'b', 'c'),
  pieces: fc.constantFrom(['{}'], ['{"a"', ':1}'], ['{', '"x":[]', '}'], ['not json'], ['']),
})
const step = fc.record({
  calls: fc.array(called, { maxLength: 4 }),
  words: fc.array(fc.constantFrom('Hel', 'lo', ' '), { maxLength: 3 }),
  usage: fc.option(fc.record({ inputTokens: fc.nat(99), outputTokens: fc.nat(99) })),
  end: fc.constantFrom<Step[]>(
    [{ type: 'finish', reason: 'tool-calls' }],
    [{ type: 'finish', reason: 'tool-calls' }],
    [{ type: 'finish', reason: 'stop' }],
    [{ type: 'finish', reason: 'length' }],
    [],
    [new ChatError('upstream-timeout', 'Slow.')],
  ),
})
type RandomStep = typeof step extends fc.Arbitrary<infer T> ? T : never

/** What the upstream says in a step: words, and the pieces of its calls one in turn of each. */
function toScript({ calls, words, usage, end }: RandomStep): Step[] {
  const first = calls.map(({ name, id, pieces: [piece = ''] }, index): UpstreamDelta => ({
    type: 'tool-call',
    index,
    name,
    ...(id === undefined ? {} : { id }),
    arguments: piece,
  }))
  const rest = [1, 2].flatMap((at) =>
    calls.flatMap(({ pieces }, index): UpstreamDelta[] => {
      const piece = pieces[at]
      return piece === undefined ? [] : [{ type: 'tool-call', index, arguments: piece }]
    }),
  )
  const said = words.map((text): UpstreamDelta => ({ type: 'text', text }))
  const cost = usage ? [{ type: 'usage', ...usage } as const] : []
  return [...said, ...first, ...rest, ...cost, ...end]
}

const cases = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 5 }),
  maxSteps: fc.integer({ min: 1, max: 5 }),
  abortAfter: fc.option(fc.nat(25)),
})

test('whatever a model calls: one start, one end, calls counted and answered, costs added up', async () => {
  await fc.assert(
    fc.asyncProperty(cases, async ({ steps, maxSteps, abortAfter }) => {
      const controller = new AbortController()
      const scripted = script(...steps.map(toScript))
      const deltas: ChatDelta[] = []
      if (abortAfter === 0) controller.abort()
      const options = { tools, maxSteps, signal: controller.signal }
      for await (const delta of begin(scripted, options)) {
        if (deltas.push(delta) === abortAfter) controller.abort()
      }

      expect(deltas.findIndex(({ type }) => type === 'start')).toBe(0)
      expect(of('start', deltas)).toHaveLength(1)
      expect(deltas.findIndex(isTerminal)).toBe(deltas.length - 1)
      expect(scripted.asked.length).toBeLessThanOrEqual(maxSteps)
      expect(scripted.open()).toBe(0)

      const begun = of('tool-call', deltas).filter(({ name }) => name !== undefined)
      expect(begun.map(({ index }) => index)).toEqual(begun.map((_, at) => at))
      expect(new Set(begun.map(({ id }) => id)).size).toBe(begun.length)
      const results = of('tool-result', deltas).map(({ id }) => id)
      const ours = begun.flatMap(({ server, id }) => (server && id !== undefined ? [id] : []))
      const end = deltas.at(-1)
      if (end?.type === 'finish' && end.reason !== 'cancelled') {
        expect(results.toSorted()).toEqual(ours.toSorted())
      } else {
        expect(new Set(results).size).toBe(results.length)
        expect(ours).toEqual(expect.arrayContaining(results))
      }

      if (abortAfter === null) {
        const asked = scripted.asked.map((_, at) => steps[Math.min(at, steps.length - 1)]?.usage ?? undefined)
        const cost = asked.filter((usage) => usage !== undefined)
        const inputTokens = cost.reduce((sum, usage) => sum + usage.inputTokens, 0)
        expect(of('usage', deltas).map((usage) => usage.inputTokens)).toEqual(
          cost.length > 0 ? [inputTokens] : [],
        )
      }
      // Every call of a request that the model made is answered in it: servers refuse it else.
      for (const { messages } of scripted.asked) {
        const made = messages.flatMap((m) =>
          m.role === 'assistant' ? (m.toolCalls ?? []).map(({ id }) => id) : [],
        )
        expect(messages.flatMap((m) => (m.role === 'tool' ? [m.toolCallId] : []))).toEqual(made)
      }
    }),
    { numRuns: 300 },
  )
})
