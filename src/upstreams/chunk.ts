import { isObject } from '../checks.ts'
import type { Fields, FinishReason, Mutable, UpstreamDelta } from '../types.ts'
import { createCallBook } from './calls.ts'
import { readTexts } from './content.ts'
import { failureInStream, failureOfReport } from './failure.ts'
import { fields, isBlank, list, word } from './json.ts'
import { requireShallow } from './malformed.ts'
import type { EventReader } from './reader.ts'
import { createSaid } from './said.ts'
import { toUsage } from './usage.ts'

/** Names of OpenAI's API reference, and the words of vendors that mean the same. */
const finishReasons: Readonly<Record<string, FinishReason>> = {
  stop: 'stop',
  eos: 'stop',
  eos_token: 'stop',
  end_turn: 'stop',
  stop_sequence: 'stop',
  complete: 'stop',
  normal: 'stop',
  length: 'length',
  max_tokens: 'length',
  model_length: 'length',
  max_output_tokens: 'length',
  max_completion_tokens: 'length',
  model_context_window_exceeded: 'length',
  safety: 'content-filter',
  prohibited_content: 'content-filter',
  recitation: 'content-filter',
  blocklist: 'content-filter',
  spii: 'content-filter',
  sensitive: 'content-filter',
  guardrail_intervened: 'content-filter',
  refusal: 'content-filter',
  tool_call: 'tool-calls',
  tool_calls: 'tool-calls',
  tool_use: 'tool-calls',
  function_call: 'tool-calls',
}

/** Words in the place of a reason that say there is none yet. */
const unfinished = new Set(['null', 'none', 'unspecified'])
/** Reasons that are no end of an answer, but of the server's attempt at one. */
const failures = new Set(['error', 'network_error', 'error_toxic'])

/**
 * Creates a reader of `chat.completion.chunk` objects for one answer.
 * Shapes: OpenAI's API reference, "The chat completion chunk object", and what vendors made of it.
 */
export function createChunkReader(): EventReader {
  const calls = createCallBook()
  const cited = new Set<string>()
  /** What deltas spoke of: a message that holds it too only repeats it. */
  const said: Partial<Record<UpstreamDelta['type'], boolean>> = {
    text: false,
    reasoning: false,
    refusal: false,
  }
  /** What messages said. */
  const heard = { reasoning: createSaid(), text: createSaid(), refusal: createSaid() }
  function read(chunk: unknown, out: UpstreamDelta[]): void {
    const failure = failureInStream(chunk)
    if (failure) throw failure
    if (!isObject(chunk)) return
    report(chunk['usage'])
    if (chunk['x_groq']) report(fields(chunk['x_groq'])?.['usage'])
    readSources(chunk, out)
    // Only the first choice is an answer of ours: more than one is refused at the door. It can come in several parts.
    for (const choice of list(chunk['choices'])) if (isFirstChoice(choice)) readChoice(choice, out)
    if (reader.finish) calls.flush(out)
    reader.holding = calls.holding
  }

  function readChoice(choice: Fields, out: UpstreamDelta[]): void {
    const from = out.length
    const delta = fields(choice['delta'])
    const message = fields(choice['message'])
    if (delta) readDelta(delta, out)
    if (message) readMessage(message, out)
    if (!delta && !message && word(choice['text'])) readDelta({ content: choice['text'] }, out)
    // A message that says nothing new has old logprobs.
    if (choice['logprobs'] && (!message || out.length > from)) addLogprobs(choice['logprobs'], from, out)
    report(choice['usage'])
    if (choice['error'] && !isBlank(choice['error'])) throw failureOfReport(choice['error'])
    const reason = word(choice['finish_reason'])
    if (reason) end(reason)
  }

  function readDelta(delta: Fields, out: UpstreamDelta[]): void {
    const from = out.length
    readTexts(delta, out)
    for (let at = from; at < out.length; at++) said[out[at]!.type] = true // within the array
    readCalls(delta, out)
    readSources(delta, out)
  }

  /** A whole message where a delta should be: what was said by deltas, or by the last such message, is left out. */
  function readMessage(message: Fields, out: UpstreamDelta[]): void {
    const whole: UpstreamDelta[] = []
    readTexts(message, whole)
    for (const type of ['reasoning', 'text', 'refusal'] as const) {
      if (said[type]) continue
      const text = whole.map((delta) => (delta.type === type ? delta.text : '')).join('')
      const repeats = heard[type].begins(text)
      const rest = repeats ? text.slice(heard[type].length) : text
      if (rest === '') continue
      heard[type].add(rest)
      out.push({ type, text: rest })
    }
    if (calls.empty) readCalls(message, out)
    readSources(message, out)
  }

  function readCalls(delta: Fields, out: UpstreamDelta[]): void {
    if (delta['tool_calls']) calls.read(delta['tool_calls'], out)
    if (delta['function_call']) calls.readLegacy(delta['function_call'], out)
  }

  // Perplexity gives titles in `search_results` and bare addresses in `citations`: titles first.
  function readSources(holder: Fields, out: UpstreamDelta[]): void {
    if (holder['search_results']) for (const item of list(holder['search_results'])) cite(item, out)
    if (holder['annotations']) for (const item of list(holder['annotations'])) cite(item, out)
    if (holder['citations']) for (const item of list(holder['citations'])) cite(item, out)
  }

  function cite(item: unknown, out: UpstreamDelta[]): void {
    const source = fields(fields(item)?.['url_citation']) ?? fields(item)
    const url = word(source ? source['url'] : item)
    const title = word(source?.['title'])
    if (!url || cited.has(url)) return
    cited.add(url)
    out.push(title ? { type: 'source', url, title } : { type: 'source', url })
  }

  function report(value: unknown): void {
    if (value) reader.usage = toUsage(value, reader.usage) ?? reader.usage
  }

  // The first reason stays: servers that say "tool_calls" close with "stop". "stop" says least: it gives way to a
  // filter, a limit or a call that is reported after it.
  function end(raw: string): void {
    const key = raw.toLowerCase().replace(/^finish_reason_/, '')
    if (unfinished.has(key)) return
    if (failures.has(key)) throw failureOfReport('error')
    const reason = reasonOf(key)
    if (!reader.finish)
      reader.finish = reason ? { type: 'finish', reason } : { type: 'finish', reason: 'other', raw }
    else if (reader.finish.reason === 'stop' && reason) reader.finish = { type: 'finish', reason }
  }

  function flush(out: UpstreamDelta[]): void {
    calls.flush(out)
    reader.holding = false
  }

  const reader: Mutable<EventReader> = { read, flush, holding: false, finish: undefined, usage: undefined }
  return reader
}

function reasonOf(key: string): FinishReason | undefined {
  if (key.startsWith('content_filter')) return 'content-filter' // also with what was filtered behind it
  return Object.hasOwn(finishReasons, key) ? finishReasons[key] : undefined
}

/** Puts logprobs into the first delta since `from` that they are about, or into an empty one. */
function addLogprobs(value: unknown, from: number, out: UpstreamDelta[]): void {
  const logprobs = fields(value)
  addTo('text', list(logprobs?.['content']), from, out)
  addTo('refusal', list(logprobs?.['refusal']), from, out)
}

function addTo(
  type: 'text' | 'refusal',
  logprobs: readonly unknown[],
  from: number,
  out: UpstreamDelta[],
): void {
  if (logprobs.length === 0) return
  requireShallow(logprobs)
  for (let at = from; at < out.length; at++) {
    const delta = out[at]
    if (delta?.type !== type) continue
    out[at] = { type, text: delta.text, logprobs }
    return
  }
  out.push({ type, text: '', logprobs })
}

function isFirstChoice(choice: unknown): choice is Fields {
  return isObject(choice) && Number(choice['index'] ?? 0) === 0
}
