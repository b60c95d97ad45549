import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { streamChat } from '../../../src/chat.ts'
import type { ChatDelta } from '../../../src/types.ts'
import { createOpenAI, type OpenAIOptions } from '../../../src/upstreams/openai.ts'
import { all, asking, soon, textIn } from '../kit.ts'

const words = [
  'Grüße',
  ' aus ',
  '東京',
  ' und ',
  '👩‍👩‍👧‍👦',
  ' – ',
  'a "quoted" word',
  '\n\n```js\n',
  'x = 1\n',
  '```',
  '.',
]

interface Wire {
  readonly events: readonly string[]
  /** How many of the last events may be missing from an answer that is whole. */
  readonly spare: number
  /** Finds the words in an event. */
  readonly words: RegExp
}

const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm' }

function choice(delta: object, finish_reason: string | null = null): string {
  return `data: ${JSON.stringify({ ...head, choices: [{ index: 0, delta, finish_reason }] })}\n\n`
}

function told(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`
}

const usage = { prompt_tokens: 3, completion_tokens: 11, total_tokens: 14 }
const item = { id: 'msg_1', type: 'message', role: 'assistant' }
const place = { item_id: 'msg_1', output_index: 0, content_index: 0 }

/** Streams of about 2 kB, as OpenAI sends them. */
const wires: Record<NonNullable<OpenAIOptions['api']>, Wire> = {
  'chat-completions': {
    events: [
      choice({ role: 'assistant', content: '' }),
      ...words.map((content) => choice({ content })),
      choice({}, 'stop'),
      `data: ${JSON.stringify({ ...head, choices: [], usage })}\n\n`,
      'data: [DONE]\n\n',
    ],
    spare: 2,
    words: /"content":(".*?[^\\]")\}/,
  },
  responses: {
    events: [
      told('response.created', { response: { id: 'resp_1', status: 'in_progress', output: [] } }),
      told('response.output_item.added', { output_index: 0, item: { ...item, content: [] } }),
      ...words.map((delta) => told('response.output_text.delta', { ...place, delta })),
      told('response.output_text.done', { ...place, text: words.join('') }),
      told('response.output_item.done', {
        output_index: 0,
        item: { ...item, content: [{ type: 'output_text', text: words.join('') }] },
      }),
      told('response.completed', {
        response: { id: 'resp_1', status: 'completed', usage: { input_tokens: 3, output_tokens: 11 } },
      }),
    ],
    spare: 0,
    words: /"delta":(".*?[^\\]")\}/,
  },
}

type Ending = 'ends' | 'breaks' | 'falls silent'

/** A `fetch` whose answer is these pieces, and then the ending. */
function answering(pieces: readonly Uint8Array[], ending: Ending): typeof fetch {
  return async (_, init) => {
    const left = [...pieces]
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        init?.signal?.addEventListener('abort', () => controller.error(init.signal?.reason))
      },
      pull(controller) {
        const piece = left.shift()
        if (piece) controller.enqueue(piece)
        else if (ending === 'ends') controller.close()
        else if (ending === 'breaks') controller.error(new TypeError('terminated'))
      },
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  }
}

describe.each(Object.entries(wires))('%s:', (api, wire) => {
  const bytes = new TextEncoder().encode(wire.events.join(''))
  const end = wire.events.length - wire.spare
  const finishAt = new TextEncoder().encode(wire.events.slice(0, end).join('')).length - 2

  function ask(
    pieces: readonly Uint8Array[],
    ending: Ending,
    options: Partial<OpenAIOptions> = {},
  ): Promise<ChatDelta[]> {
    const fetch = answering(pieces, ending)
    const upstream = createOpenAI({
      api: api as keyof typeof wires, // the keys of `wires`
      apiKey: 'any',
      baseURL: 'http://localhost/v1',
      fetch,
      ...options,
    })
    return soon(all(streamChat(asking(), { upstream, signal: new AbortController().signal, id: 'r' })), 5000)
  }

  /** What must be true of an answer that was cut after so many bytes. */
  function check(deltas: readonly ChatDelta[], at: number, wholeFrom = finishAt): void {
    const last = deltas.at(-1)
    const whole = at >= wholeFrom
    expect([at, last?.type]).toEqual([at, whole ? 'finish' : 'error'])
    // What was understood before the cut is kept: every event that is whole.
    const arrived = new TextDecoder().decode(bytes.subarray(0, at)).split('\n\n').slice(0, -1)
    const texts = arrived.flatMap((event) => wire.words.exec(event)?.[1] ?? [])
    expect(textIn(deltas)).toContain(texts.map((text) => JSON.parse(text) as string).join(''))
    expect(words.join('').startsWith(textIn(deltas))).toBe(true)
  }

  test.each(['ends', 'breaks'] as const)(
    'an answer whose body %s after any byte is whole only with its finish reason',
    async (ending) => {
      for (let at = 0; at <= bytes.length; at++) check(await ask([bytes.subarray(0, at)], ending), at)
    },
    60_000,
  )

  test('an answer that falls silent after any byte is whole only with its finish reason', async () => {
    const positions = Array.from({ length: bytes.length }, (_, at) => at).filter(
      (at) => at % 41 === 0 || at >= finishAt - 3,
    )
    const limits = { firstDeltaTimeoutMs: 100, idleTimeoutMs: 100 }

    const answers = await Promise.all(
      positions.map((at) => ask([bytes.subarray(0, at)], 'falls silent', limits)),
    )

    // Where more may come, an event is whole with its blank line only.
    for (const [i, deltas] of answers.entries()) check(deltas, positions[i]!, finishAt + 2)
  })

  test('the pieces it arrives in do not matter', async () => {
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: bytes.length - 1 }), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(cuts, fc.nat(bytes.length), async (unsorted, end) => {
        const inside = unsorted.filter((at) => at < end).sort((a, b) => a - b)
        const pieces = [0, ...inside].map((from, i) => bytes.subarray(from, inside[i] ?? end))
        check(await ask(pieces, 'breaks'), end)
      }),
      { numRuns: 200 },
    )
  })
})
