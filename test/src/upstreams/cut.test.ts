import fc from 'fast-check'
import { expect, test } from 'vitest'
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

/** A stream of about 2 kB, as OpenAI sends it: a role, text, a finish reason, usage, `[DONE]`. */
const events = [
  chunk({ choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }] }),
  ...words.map((content) => chunk({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })),
  chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
  chunk({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 11, total_tokens: 14 } }),
  'data: [DONE]\n\n',
]
const bytes = new TextEncoder().encode(events.join(''))
const finishAt = new TextEncoder().encode(events.slice(0, -2).join('')).length - 2

function chunk(fields: object): string {
  const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: 'm' }
  return `data: ${JSON.stringify({ ...head, ...fields })}\n\n`
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

function ask(
  pieces: readonly Uint8Array[],
  ending: Ending,
  options: Partial<OpenAIOptions> = {},
): Promise<ChatDelta[]> {
  const fetch = answering(pieces, ending)
  const upstream = createOpenAI({ apiKey: 'any', baseURL: 'http://localhost/v1', fetch, ...options })
  return soon(all(streamChat(asking(), { upstream, signal: new AbortController().signal, id: 'r' })), 5000)
}

/** What must be true of an answer that was cut after so many bytes. */
function check(deltas: readonly ChatDelta[], at: number, wholeFrom = finishAt): void {
  const last = deltas.at(-1)
  const whole = at >= wholeFrom
  expect([at, last?.type]).toEqual([at, whole ? 'finish' : 'error'])
  // What was understood before the cut is kept: every event that is whole.
  const arrived = new TextDecoder().decode(bytes.subarray(0, at)).split('\n\n').slice(0, -1)
  const texts = arrived.flatMap((event) => /"content":(".*?[^\\]")\}/.exec(event)?.[1] ?? [])
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
