import { pick, type Random } from '../../simulator/random.ts'

/** What an upstream can answer with. */
export interface UpstreamAnswer {
  readonly status: number
  readonly type: string
  /** In the pieces in which it arrives. */
  readonly pieces: readonly Uint8Array[]
  /** Whether the connection breaks after them. */
  readonly broken: boolean
}

type Json = unknown

/** JSON of so many levels. */
function deep(levels: number): string {
  return levels % 2
    ? '['.repeat(levels) + ']'.repeat(levels)
    : `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`
}

/** Values that nobody expects where they are. */
const oddities: readonly ((random: Random) => Json)[] = [
  () => null,
  () => true,
  () => '',
  () => 0,
  () => -1,
  () => 1e9,
  () => 1e308,
  () => 2 ** 53,
  () => 0.5,
  () => [],
  () => ({}),
  () => [[], [null], [{}]],
  () => ({ toString: 1, valueOf: 1, toJSON: 1 }),
  () => ({ length: 1e9 }),
  () => JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}') as Json,
  () => '\ud800 \udfff',
  () => 'data: [DONE]\n\n',
  () => '\u2028\0\r\n',
  () => 'x'.repeat(50_000),
  () => Array.from({ length: 20_000 }, () => 0),
  () =>
    Array.from({ length: 3000 }, (_, index) => ({
      index,
      id: `c${index}`,
      function: { name: 'f', arguments: '{}' },
    })),
  // Replaced in the text: JSON.stringify could not write most of these.
  (random) => `levels ${pick(random, [10, 63, 64, 65, 200, 4001, 60_000])}`,
  (random) => '['.repeat(pick(random, [100, 20_000])),
  () => ({ index: 0, delta: { content: 'again' } }),
]

const usage = {
  prompt_tokens: 3,
  completion_tokens: 4,
  total_tokens: 7,
  prompt_tokens_details: { cached_tokens: 1 },
}
const logprobs = { content: [{ token: 'a', logprob: -1, bytes: [97], top_logprobs: [] }], refusal: null }

function chunk(delta: Json, more: object = {}): Json {
  return {
    id: 'c',
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta, finish_reason: null, ...more }],
  }
}

function completion(random: Random): Json[] {
  const call = { index: 0, id: 'call_1', type: 'function', function: { name: 'look', arguments: '{"a"' } }
  const events: Json[] = [chunk({ role: 'assistant', content: '' })]
  if (random() < 0.4) events.push(chunk({ reasoning_content: 'hm' }))
  events.push(chunk({ content: 'Hel' }, random() < 0.3 ? { logprobs } : {}), chunk({ content: 'lo' }))
  if (random() < 0.5) {
    events.push(chunk({ tool_calls: [{ ...call, extra_content: { google: { thought_signature: 's' } } }] }))
    events.push(chunk({ tool_calls: [{ index: 0, function: { arguments: ':1}' } }] }))
  }
  if (random() < 0.2)
    events.push(chunk({ refusal: 'no' }), chunk({ annotations: [{ url: 'https://a.example' }] }))
  events.push({
    choices: [{ index: 0, delta: {}, finish_reason: pick(random, ['stop', 'length', 'tool_calls', 'odd']) }],
  })
  if (random() < 0.5) events.push({ choices: [], usage })
  if (random() < 0.1) events.push({ error: { message: 'Wrong.', code: 400, param: 'messages[0].content' } })
  return events
}

function responses(random: Random): Json[] {
  const text = {
    type: 'message',
    id: 'm1',
    content: [{ type: 'output_text', text: 'Hello', annotations: [], logprobs: [] }],
  }
  const call = { type: 'function_call', id: 'f1', call_id: 'call_1', name: 'look', arguments: '{"a":1}' }
  const at = { output_index: 0, content_index: 0, item_id: 'm1' }
  const events: Json[] = [{ type: 'response.created', response: { id: 'r' } }]
  if (random() < 0.4)
    events.push({ type: 'response.reasoning_summary_text.delta', ...at, delta: 'hm', summary_index: 0 })
  events.push({ type: 'response.output_text.delta', ...at, delta: 'Hel', logprobs: logprobs.content })
  events.push({ type: 'response.output_text.delta', ...at, delta: 'lo' })
  events.push({ type: 'response.output_item.done', output_index: 0, item: text })
  if (random() < 0.5) {
    events.push({ type: 'response.output_item.added', output_index: 1, item: { ...call, arguments: '' } })
    events.push({
      type: 'response.function_call_arguments.delta',
      output_index: 1,
      item_id: 'f1',
      delta: '{"a":1}',
    })
  }
  const end = { status: 'completed', output: [text, call], usage: { input_tokens: 3, output_tokens: 4 } }
  events.push({
    type: pick(random, ['response.completed', 'response.incomplete', 'response.failed']),
    response: end,
  })
  return events
}

/** Changes one value, wherever it is. */
function mutate(random: Random, value: Json): Json {
  if (typeof value !== 'object' || value === null || random() < 0.25) return pick(random, oddities)(random)
  if (Array.isArray(value)) {
    if (value.length === 0) return pick(random, oddities)(random)
    const at = Math.floor(random() * value.length)
    return value.map((inner: Json, index) => (index === at ? mutate(random, inner) : inner))
  }
  const name = pick(random, [...Object.keys(value), 'index', 'extra_content'])
  const inner = (value as Record<string, Json>)[name]
  if (random() < 0.1) return Object.fromEntries(Object.entries(value).filter(([key]) => key !== name))
  return { ...value, [name]: mutate(random, inner) }
}

/** The JSON of a value, now and then with a member twice. */
function toJson(random: Random, value: Json): string {
  const text = (JSON.stringify(value) ?? 'null').replace(/"levels (\d+)"/g, (_, levels: string) =>
    deep(Number(levels)),
  )
  return random() < 0.05 ? text.replace(/^\{/, '{"choices":[{}],"type":1,') : text
}

function damage(random: Random, text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text)
  if (random() < 0.15) return bytes.subarray(0, Math.floor(random() * bytes.length))
  if (random() < 0.1)
    for (let i = 0; i < 5; i++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
  return bytes
}

function cut(random: Random, bytes: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let at = 0; at < bytes.length;) {
    const size = 1 + Math.floor(random() * pick(random, [20, 2000, 100_000]))
    pieces.push(bytes.slice(at, at + size))
    at += size
  }
  return pieces
}

/** One answer of an upstream, valid or not, that is the same for the same numbers. */
export function upstreamAnswer(random: Random, api: 'chat-completions' | 'responses'): UpstreamAnswer {
  let events = api === 'responses' ? responses(random) : completion(random)
  if (random() < 0.1) events = events.flatMap((event) => [event, event])
  for (let times = Math.floor(random() * 4); times > 0; times--) {
    const at = Math.floor(random() * events.length)
    events = events.map((event, index) => (index === at ? mutate(random, event) : event))
  }
  const end = random() < 0.8 ? 'data: [DONE]\n\n' : ''
  const name = (event: Json): string => {
    const type = (event as { type?: unknown } | null)?.type
    return random() < 0.5 && typeof type === 'string'
      ? `event: ${type.slice(0, 50).replace(/\s/g, ' ')}\n`
      : ''
  }
  const line = pick(random, ['\n', '\n', '\n', '\r\n', '\r'])
  const stream = events
    .map((event) => `${name(event)}data: ${toJson(random, event)}\n\n`.replaceAll('\n', line))
    .join('')
  const isStream = random() < 0.85
  const body = isStream ? stream + end : toJson(random, pick(random, events))
  return {
    status:
      random() < 0.85 ? 200 : pick(random, [201, 204, 301, 400, 401, 404, 413, 422, 429, 500, 503, 529, 599]),
    type: isStream ? 'text/event-stream' : pick(random, ['application/json', 'text/plain', 'text/html']),
    pieces: cut(random, damage(random, body)),
    broken: random() < 0.08,
  }
}
