import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import { anyWords } from '../words.ts'
import { describe, expect, test } from 'vitest'
import { openai } from '../../../src/dialects/openai.ts'
import type { ChatDelta, UpstreamDelta } from '../../../src/types.ts'
import { createCompletionParser } from '../../../src/upstreams/completion.ts'

const start: ChatDelta = { type: 'start', id: 'r-1', model: 'm', createdAt: 1_700_000_000_999 }
const stop: ChatDelta = { type: 'finish', reason: 'stop' }
const usage: ChatDelta = {
  type: 'usage',
  inputTokens: 3,
  outputTokens: 5,
  cachedInputTokens: 2,
  reasoningTokens: 1,
}
const head =
  '{"id":"chatcmpl-r-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":'
const say = (text: string): ChatDelta => ({ type: 'text', text })

interface Encoding {
  readonly usage?: boolean
  readonly seq?: boolean
}

function encode(deltas: readonly ChatDelta[], { usage, seq = true }: Encoding = {}): string {
  const write = openai.createEncoder({ replyId: 'r-1', usage })
  return deltas.map((delta, index) => write(delta, seq ? index + 1 : undefined)).join('')
}

interface Chunk {
  readonly choices: readonly {
    readonly delta: Record<string, unknown>
    readonly finish_reason: string | null
  }[]
  readonly usage?: unknown
  readonly error?: unknown
}

/** The objects of a text of events, `[DONE]` left out. */
function chunksOf(text: string): Chunk[] {
  const found: Chunk[] = []
  const parser = createParser({
    onEvent: ({ data }) => void (data === '[DONE]' || found.push(JSON.parse(data) as Chunk)),
    onError: (error) => {
      throw error
    },
  })
  parser.feed(text)
  return found
}

/** The `delta` of every chunk with a choice. */
function deltasOf(text: string): unknown[] {
  return chunksOf(text).flatMap(({ choices }) => choices.map(({ delta }) => delta))
}

describe('the bytes that chat programs rely on', () => {
  test('role first and alone, one id, a finish reason, [DONE], and nothing but data lines', () => {
    expect(encode([start, say('Hel'), say('lo'), usage, stop])).toBe(
      [
        `data: ${head}[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
        `data: ${head}[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}`,
        `data: ${head}[{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}`,
        `data: ${head}[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
        'data: [DONE]',
        '',
      ].join('\n\n'),
    )
  })

  test('usage comes last, without a choice, and only where it was asked for', () => {
    const totals = `{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}`
    expect(encode([start, say('Hi'), usage, stop], { usage: true })).toBe(
      [
        `data: ${head}[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`,
        `data: ${head}[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}`,
        `data: ${head}[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`,
        `data: ${head}[],"usage":${totals}}`,
        'data: [DONE]',
        '',
      ].join('\n\n'),
    )
  })

  test('usage that nobody knows is not made up', () => {
    const chunks = chunksOf(encode([start, say('Hi'), stop], { usage: true }))

    expect(chunks.map((chunk) => chunk.usage)).toEqual([null, null, null])
  })

  test('a heartbeat is one line, without the blank one that ends an event', () => {
    expect(openai.heartbeat).toBe(':\n')
  })

  test('no log position ever becomes an id, whatever it is', () => {
    const deltas = [start, say('a'), usage, stop]

    expect(encode(deltas)).toBe(encode(deltas, { seq: false }))
    expect(encode(deltas)).not.toMatch(/^(?:id|event|retry):/m)
  })
})

describe('the first chunk', () => {
  const call: ChatDelta = { type: 'tool-call', index: 0, id: 'c', name: 'f', arguments: '' }

  test.each<[string, ChatDelta, unknown]>([
    ['text', say('a'), ''],
    ['reasoning', { type: 'reasoning', text: 'a' }, ''],
    ['a refusal', { type: 'refusal', text: 'a' }, ''],
    ['a call', call, null],
    ['the end', stop, ''],
  ])('waits for %s and says who speaks', (_, delta, content) => {
    expect(encode([start])).toBe('')
    expect(deltasOf(encode([start, delta]))[0]).toEqual({ role: 'assistant', content })
  })

  test('is written once', () => {
    const text = encode([start, { type: 'reasoning', text: 'a' }, say('b'), call, stop])

    expect(text.match(/"role"/g)).toHaveLength(1)
  })

  test.each<[string, ChatDelta]>([
    ['usage', usage],
    ['a source', { type: 'source', url: 'https://a.example/' }],
    ['an empty text', say('')],
    ['a result of a tool of the service', { type: 'tool-result', id: 'c', result: 1 }],
    ['a call that the service makes', { ...call, server: true }],
  ])('does not come for %s', (_, delta) => {
    expect(encode([start, delta])).toBe('')
  })
})

test('sources come together, in the chunk before the last', () => {
  const cite = (url: string): ChatDelta => ({ type: 'source', url })
  const text = encode([start, cite('https://a.example/'), say('a'), cite('https://b.example/'), stop])

  expect(deltasOf(text)).toEqual([
    { role: 'assistant', content: '' },
    { content: 'a' },
    {
      annotations: ['https://a.example/', 'https://b.example/'].map((url) => ({
        type: 'url_citation',
        url_citation: { url, title: url, start_index: 0, end_index: 0 },
      })),
    },
    {},
  ])
})

describe('tool calls', () => {
  test('carry their identity in the first piece, and are counted as the client sees them', () => {
    const text = encode([
      start,
      { type: 'tool-call', index: 0, id: 'ours', name: 'search', arguments: '{', server: true },
      { type: 'tool-call', index: 1, id: 'a', name: 'f', arguments: '' },
      { type: 'tool-call', index: 0, arguments: '}' },
      { type: 'tool-call', index: 2, name: 'g', arguments: '{' },
      { type: 'tool-result', id: 'ours', result: 'found' },
      { type: 'tool-call', index: 1, arguments: '{"x":1}' },
      { type: 'tool-call', index: 1, arguments: '' },
      { type: 'tool-call', index: 2, id: 'late', name: 'h', arguments: '}' },
      { type: 'finish', reason: 'tool-calls' },
    ])

    expect(deltasOf(text)).toEqual([
      { role: 'assistant', content: null },
      { tool_calls: [{ index: 0, id: 'a', type: 'function', function: { name: 'f', arguments: '' } }] },
      {
        tool_calls: [
          { index: 1, id: 'call_r-1_1', type: 'function', function: { name: 'g', arguments: '{' } },
        ],
      },
      { tool_calls: [{ index: 0, function: { arguments: '{"x":1}' } }] },
      { tool_calls: [{ index: 1, function: { name: 'h', arguments: '}' } }] },
      {},
    ])
    expect(text).not.toMatch(/ours|search|found/)
  })

  test('that are all the service’s own leave no reason to wait for them', () => {
    const text = encode([
      start,
      { type: 'tool-call', index: 0, id: 'ours', name: 'f', arguments: '{}', server: true },
      { type: 'finish', reason: 'tool-calls' },
    ])

    expect(chunksOf(text).map(({ choices }) => choices[0]?.finish_reason)).toEqual([null, 'stop'])
  })
})

test.each<[UpstreamDelta, string]>([
  [{ type: 'finish', reason: 'stop' }, 'stop'],
  [{ type: 'finish', reason: 'length' }, 'length'],
  [{ type: 'finish', reason: 'content-filter' }, 'content_filter'],
  [{ type: 'finish', reason: 'tool-calls' }, 'tool_calls'],
  [{ type: 'finish', reason: 'other' }, 'stop'],
  [{ type: 'finish', reason: 'other', raw: '' }, 'stop'],
  [{ type: 'finish', reason: 'other', raw: 'recitation' }, 'recitation'],
  [{ type: 'finish', reason: 'other', raw: 'max-steps' }, 'length'],
])('%j is written as %s', (delta, reason) => {
  expect(chunksOf(encode([start, say('a'), delta])).at(-1)?.choices[0]?.finish_reason).toBe(reason)
})

test.each<[ChatDelta, object]>([
  [
    { type: 'error', code: 'upstream-truncated', message: 'Cut.', retryable: true },
    { message: 'Cut.', type: 'server_error', param: null, code: 'upstream-truncated' },
  ],
  [
    { type: 'error', code: 'rate-limited', message: 'Slow.', retryable: true },
    { message: 'Slow.', type: 'rate_limit_error', param: null, code: 'rate_limit_exceeded' },
  ],
  [
    { type: 'error', code: 'rate-limited', message: 'Spent.', retryable: false },
    { message: 'Spent.', type: 'insufficient_quota', param: null, code: 'insufficient_quota' },
  ],
  [
    {
      type: 'error',
      code: 'upstream-error',
      message: 'Too long.',
      retryable: false,
      param: 'messages',
      upstreamCode: 'context_length_exceeded',
      status: 400,
    },
    {
      message: 'Too long.',
      type: 'invalid_request_error',
      param: 'messages',
      code: 'context_length_exceeded',
    },
  ],
  [
    {
      type: 'error',
      code: 'upstream-error',
      message: 'No.',
      retryable: false,
      upstreamCode: 'api_error',
    },
    { message: 'No.', type: 'server_error', param: null, code: null },
  ],
  [
    { type: 'finish', reason: 'cancelled' },
    { message: 'The reply was stopped.', type: 'server_error', param: null, code: 'cancelled' },
  ],
])('%j is an error object: neither a finish reason nor [DONE] follows', (delta, error) => {
  for (const before of [[], [start], [start, say('a')]]) {
    const text = encode([...before, delta])

    expect(text).toBe(`${encode(before)}data: ${JSON.stringify({ error })}\n\n`)
  }
})

describe('what is written is what our own reader of this API understands', () => {
  const text = anyWords.filter((words) => words !== '')
  const logprobs = fc.array(fc.record({ token: text, logprob: fc.integer() }), { minLength: 1, maxLength: 2 })
  const spoken = fc.oneof(
    fc.record({ type: fc.constantFrom('text' as const, 'reasoning' as const, 'refusal' as const), text }),
    fc.record({ type: fc.constantFrom('text' as const, 'refusal' as const), text, logprobs }),
  )
  const piece = fc.record({ type: fc.constant('tool-call' as const), which: fc.nat(3), arguments: text })
  const source = fc.record({ type: fc.constant('source' as const), page: text, title: text })
  const counts = fc
    .record({ inputTokens: fc.nat(), outputTokens: fc.integer({ min: 1, max: 1e9 }) })
    .chain((sum) =>
      fc.record(
        {
          inputTokens: fc.constant(sum.inputTokens),
          outputTokens: fc.constant(sum.outputTokens),
          cachedInputTokens: fc.integer({ min: 1 }),
          reasoningTokens: fc.integer({ min: 1 }),
          totalTokens: fc.constant(sum.inputTokens + sum.outputTokens + 7),
        },
        { requiredKeys: ['inputTokens', 'outputTokens'] },
      ),
    )
  const finish = fc.oneof(
    fc.constantFrom<UpstreamDelta>(
      stop,
      { type: 'finish', reason: 'length' },
      { type: 'finish', reason: 'content-filter' },
      { type: 'finish', reason: 'tool-calls' },
    ),
    text.map((raw): UpstreamDelta => ({ type: 'finish', reason: 'other', raw: `x-${raw}` })),
  )

  type Made<T> = T extends fc.Arbitrary<infer Value> ? Value : never

  /** Gives calls their indexes in order of appearance, and their identity with the first piece. */
  function toDeltas(
    steps: readonly (Made<typeof spoken> | Made<typeof piece> | Made<typeof source>)[],
  ): UpstreamDelta[] {
    const seen: number[] = []
    return steps.map((step, position): UpstreamDelta => {
      if (step.type === 'source')
        return { type: 'source', url: `https://e.example/${position}/${step.page}`, title: step.title }
      if (step.type !== 'tool-call') return step
      const { which, arguments: words } = step
      const index = seen.indexOf(which)
      if (index >= 0) return { type: 'tool-call', index, arguments: words }
      seen.push(which)
      return {
        type: 'tool-call',
        index: seen.length - 1,
        id: `id-${which}`,
        name: `f${which}`,
        arguments: words,
      }
    })
  }

  function readBack(written: string, cuts: readonly number[]): UpstreamDelta[] {
    const parser = createCompletionParser({ maxEventBytes: 64 * 1024 * 1024 })
    const bytes = new TextEncoder().encode(written)
    const edges = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
    const read = edges.slice(1).flatMap((edge, index) => {
      parser.feed(bytes.subarray(edges[index], edge))
      return parser.take()
    })
    expect(parser.failure).toBeUndefined()
    expect(parser.done).toBe(true)
    return [...read, ...parser.close()]
  }

  test('for any answer, however it is cut', () => {
    const step = fc.oneof({ weight: 3, arbitrary: spoken }, piece, source)
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 12 }),
        counts,
        finish,
        fc.array(fc.nat(), { maxLength: 5 }),
        (steps, sum, end, cuts) => {
          const said = [...toDeltas(steps), { type: 'usage' as const, ...sum }, end]

          const read = readBack(encode([start, ...said], { usage: true }), cuts)

          // Sources are told at the end: apart from the others they have their order.
          for (const cited of [true, false]) {
            const part = (deltas: readonly UpstreamDelta[]) =>
              deltas.filter(({ type }) => (type === 'source') === cited)
            expect(part(read)).toEqual(part(said))
          }
        },
      ),
      { numRuns: 500 },
    )
  })

  test('for a delta of a megabyte', () => {
    const said: UpstreamDelta[] = [
      { type: 'text', text: '\u2028é"\\\n'.repeat(200_000) },
      { type: 'finish', reason: 'stop' },
    ]

    expect(readBack(encode([start, ...said]), [77, 500_000])).toEqual(said)
  })

  test('a source without a title is titled by its address', () => {
    const source: UpstreamDelta = { type: 'source', url: 'https://a.example/' }

    expect(readBack(encode([start, source, stop]), [])).toEqual([{ ...source, title: source.url }, stop])
  })
})
