import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { aiSdk, aiSdkFrom } from '../../src/dialects/ai-sdk.ts'
import type { ChatDelta, Dialect } from '../../src/types.ts'
import { textIn } from '../src/kit.ts'
import { anyWords } from '../src/words.ts'
import { messageOf, problemOf, sdks, wordsIn } from './ai-sdks.ts'

/** What a standard reader makes of these deltas: the data of every event. */
function dataOf(deltas: readonly ChatDelta[], dialect: Dialect = aiSdk): readonly string[] {
  const data: string[] = []
  const encode = dialect.createEncoder({ replyId: 'r1' })
  const parser = createParser({ onEvent: (event) => data.push(event.data) })
  const wire = deltas.map((delta, index) => encode(delta, index + 1)).join('')
  parser.feed(new TextDecoder().decode(new TextEncoder().encode(wire)))
  return data
}

function chunksOf(deltas: readonly ChatDelta[]): readonly unknown[] {
  const data = dataOf(deltas)
  expect(data.at(-1)).toBe('[DONE]')
  return data.slice(0, -1).map((text) => JSON.parse(text) as unknown)
}

const words = anyWords
const start: ChatDelta = { type: 'start', id: 'r1', model: 'm', createdAt: 1 }
const json = fc.jsonValue({ maxDepth: 2 }).filter((value) => !JSON.stringify(value).includes('__proto__'))
const spoken = fc.oneof(
  fc.record({
    type: fc.constantFrom('text' as const, 'reasoning' as const, 'refusal' as const),
    text: words,
  }),
  fc.record({ type: fc.constant('source' as const), url: fc.webUrl(), title: words }),
  fc.record({ type: fc.constant('usage' as const), inputTokens: fc.nat(), outputTokens: fc.nat() }),
)
const end = fc.oneof(
  fc.record({
    type: fc.constant('finish' as const),
    reason: fc.constantFrom('stop', 'length', 'content-filter', 'tool-calls', 'cancelled', 'other'),
  }),
  fc.record({
    type: fc.constant('error' as const),
    code: fc.constant('upstream-error' as const),
    message: words,
    retryable: fc.boolean(),
  }),
)

describe('whatever a model says', () => {
  // Pieces, results and ends in any order: more than a model's server would dare.
  const index = fc.nat(2)
  const id = fc.constantFrom('a', 'b', 'r1-0', '__proto__')
  const anything = fc.oneof(
    spoken,
    fc.record(
      {
        type: fc.constant('tool-call' as const),
        index,
        id,
        name: fc.constantFrom('x', 'constructor', ''),
        arguments: fc.oneof(words, fc.constantFrom('{', '}', '"__proto__":', '1')),
        server: fc.constant(true as const),
      },
      { requiredKeys: ['type', 'index', 'arguments'] },
    ),
    fc.record(
      {
        type: fc.constant('tool-result' as const),
        id,
        result: fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constant(undefined)),
        isError: fc.constant(true as const),
      },
      { requiredKeys: ['type', 'id', 'result'] },
    ),
  )
  const reply = fc
    .tuple(fc.array(anything, { maxLength: 25 }), end)
    .map(([middle, last]) => [start, ...middle, last] as ChatDelta[])

  test.each(sdks)('%s reads it to the end, and loses no word', async (_, sdk) => {
    await fc.assert(
      fc.asyncProperty(reply, async (deltas) => {
        const chunks = chunksOf(deltas)
        for (const chunk of chunks) expect(await problemOf(sdk, chunk)).toBeUndefined()

        const { message, errors } = await messageOf(sdk, chunks)

        const last = deltas.at(-1)
        expect(errors).toEqual(last?.type === 'error' ? [last.message] : [])
        const said = deltas.filter(({ type }) => type === 'text' || type === 'refusal')
        expect(message && wordsIn(message)).toBe(said.map((delta) => textIn([delta], delta.type)).join(''))
        expect(message && wordsIn(message, 'reasoning')).toBe(textIn(deltas, 'reasoning'))
        const sources = deltas.filter((delta) => delta.type === 'source')
        const shown = message?.parts.filter((part) => part.type === 'source-url') ?? []
        expect(shown.map(({ url, title }) => ({ type: 'source', url, title }))).toEqual(sources)
      }),
    )
  })

  test('going on at a chunk gives the rest of the chunks', () => {
    fc.assert(
      fc.property(reply, fc.nat(80), (deltas, from) => {
        const all = dataOf(deltas)

        const rest = dataOf(deltas, aiSdkFrom(from, 0))

        expect(rest).toEqual(from < all.length ? all.slice(from) : ['[DONE]'])
      }),
    )
  })
})

describe('calls of tools', () => {
  // As a reply holds them: each call in pieces of its own, those of this service followed by their results.
  const call = fc.record({
    input: fc.oneof(
      json.map((value) => JSON.stringify(value)),
      words,
    ),
    server: fc.boolean(),
    output: json,
    failed: fc.boolean(),
    cut: fc.nat(20),
  })
  const steps = fc.array(
    fc.record({ said: fc.array(spoken, { maxLength: 3 }), calls: fc.array(call, { maxLength: 3 }) }),
    {
      maxLength: 3,
    },
  )

  function inputOf(text: string): { readonly input: unknown } | undefined {
    try {
      return { input: text.trim() === '' ? {} : (JSON.parse(text) as unknown) }
    } catch {
      return undefined
    }
  }

  test.each(sdks)('%s shows each with its input and its output', async (_, sdk) => {
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        let count = 0
        const numbered = all.map(({ said, calls }) => ({
          said,
          calls: calls.map((each) => ({ ...each, index: count, id: `call-${count++}` })),
        }))
        const deltas = numbered.flatMap(({ said, calls }): ChatDelta[] => [
          ...said,
          ...calls.map(({ index, id, input, cut, server }): ChatDelta => {
            const first = {
              type: 'tool-call',
              index,
              id,
              name: `tool${index}`,
              arguments: input.slice(0, cut),
            } as const
            return server ? { ...first, server } : first
          }),
          // The rest of them all after the beginning of them all: pieces of parallel calls come mixed.
          ...calls.map(({ index, input, cut }): ChatDelta => ({
            type: 'tool-call',
            index,
            arguments: input.slice(cut),
          })),
          ...calls
            .filter(({ server }) => server)
            .map(({ id, output, failed }): ChatDelta => {
              const result = { type: 'tool-result', id, result: failed ? 'It failed.' : output } as const
              return failed ? { ...result, isError: true } : result
            }),
        ])
        const chunks = chunksOf([start, ...deltas, { type: 'finish', reason: 'tool-calls' }])
        for (const chunk of chunks) expect(await problemOf(sdk, chunk)).toBeUndefined()

        const { message, errors } = await messageOf(sdk, chunks)

        expect(errors).toEqual([])
        const shown = message?.parts.filter((part) => 'toolCallId' in part) ?? []
        const expected = numbered
          .flatMap(({ calls }) => calls)
          .map(({ index, id, input: text, server, output, failed }) => ({
            type: server ? 'dynamic-tool' : `tool-tool${index}`,
            ...(server ? { toolName: `tool${index}` } : {}),
            toolCallId: id,
            ...inputOf(text),
            ...(server && !failed
              ? { state: 'output-available', output }
              : server
                ? { state: 'output-error', errorText: 'It failed.' }
                : inputOf(text)
                  ? { state: 'input-available' }
                  : { state: 'output-error', errorText: 'The arguments are not valid JSON.' }),
          }))
        expect(JSON.parse(JSON.stringify(shown))).toMatchObject(
          JSON.parse(JSON.stringify(expected)) as object[],
        )
      }),
    )
  })
})

test.each(sdks)('%s reads a piece of a megabyte', async (_, sdk) => {
  const text = 'a\r\n\u2028'.repeat(250_000)

  const { message, errors } = await messageOf(
    sdk,
    chunksOf([start, { type: 'text', text }, { type: 'finish', reason: 'stop' }]),
  )

  expect(errors).toEqual([])
  expect(message && wordsIn(message) === text).toBe(true)
})
