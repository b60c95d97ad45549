import type { FinishReason, UpstreamDelta, Usage } from '../types.ts'
import { failureInStream } from './failure.ts'

/** Reads `chat.completion.chunk` objects of one answer and says what they mean. */
export interface ChunkReader {
  /**
   * Adds what one parsed chunk says to `out`. What is not a chunk is ignored.
   * @throws `ChatError` when the chunk is an error report.
   */
  read(chunk: unknown, out: UpstreamDelta[]): void
  /** The `finish` delta, once a finish reason was seen. */
  readonly finish: UpstreamDelta | undefined
  /** The last usage report. */
  readonly usage: Usage | undefined
}

/** Names of OpenAI's API reference, and the words of vendors that mean the same. */
const finishReasons: Readonly<Record<string, FinishReason>> = {
  stop: 'stop',
  eos: 'stop',
  end_turn: 'stop',
  length: 'length',
  max_tokens: 'length',
  model_length: 'length',
  content_filter: 'content-filter',
  tool_calls: 'tool-calls',
  function_call: 'tool-calls',
}

type Fields = Readonly<Record<string, unknown>>

/** Creates a reader for one answer. Shapes: OpenAI's API reference, "The chat completion chunk object". */
export function createChunkReader(): ChunkReader {
  const calls = createCallBook()
  const cited = new Set<string>()
  let finish: UpstreamDelta | undefined
  let usage: Usage | undefined

  function read(chunk: unknown, out: UpstreamDelta[]): void {
    if (!isFields(chunk)) return
    const failure = failureInStream(chunk)
    if (failure) throw failure
    usage = toUsage(chunk['usage']) ?? toUsage(fields(chunk['x_groq'])?.['usage']) ?? usage
    for (const url of list(chunk['citations'])) cite(url, undefined, out)

    const choice = list(chunk['choices']).find(isFirstChoice)
    if (!choice) return
    const delta = fields(choice['delta'])
    if (delta) readDelta(delta, out)
    const reason = choice['finish_reason']
    if (typeof reason !== 'string' || reason === '') return
    if (reason === 'error') throw failureInStream({ error: choice['error'] || 'error' })
    const known = Object.hasOwn(finishReasons, reason) ? finishReasons[reason] : undefined
    finish = known ? { type: 'finish', reason: known } : { type: 'finish', reason: 'other', raw: reason }
  }

  function readDelta(delta: Fields, out: UpstreamDelta[]): void {
    const reasoning = delta['reasoning_content'] ?? delta['reasoning'] ?? delta['reasoning_details']
    if (reasoning) push('reasoning', plainText(reasoning), out)
    const content = delta['content']
    if (typeof content === 'string') push('text', content, out)
    else if (content) for (const part of list(content)) readPart(part, out)
    if (delta['refusal']) push('refusal', plainText(delta['refusal']), out)
    if (delta['tool_calls']) for (const call of list(delta['tool_calls'])) calls.read(call, out)
    const legacyCall = fields(delta['function_call'])
    if (legacyCall) calls.read({ index: 0, function: legacyCall }, out)
    for (const note of list(delta['annotations'])) {
      const source = fields(fields(note)?.['url_citation']) ?? fields(note)
      cite(source?.['url'], source?.['title'], out)
    }
  }

  // Mistral gives content as an array of parts: text, and thinking with parts of its own.
  function readPart(part: unknown, out: UpstreamDelta[]): void {
    const thinking = fields(part)?.['thinking']
    if (thinking) push('reasoning', plainText(thinking), out)
    else push('text', plainText(part), out)
  }

  function cite(url: unknown, title: unknown, out: UpstreamDelta[]): void {
    if (typeof url !== 'string' || cited.has(url)) return
    cited.add(url)
    out.push(typeof title === 'string' ? { type: 'source', url, title } : { type: 'source', url })
  }

  return {
    read,
    get finish() {
      return finish
    },
    get usage() {
      return usage
    },
  }
}

/** Keeps the tool calls of one answer apart, whatever a vendor does with `index` and `id`. */
function createCallBook() {
  interface Call {
    readonly index: number
    id: string | undefined
    name: string | undefined
  }
  const calls: Call[] = []
  const byPosition = new Map<number, Call>()

  function find(position: unknown, id: string | undefined, name: string | undefined): Call | undefined {
    if (typeof position !== 'number') {
      if (id) return calls.find((call) => call.id === id)
      return name ? undefined : calls.at(-1)
    }
    const call = byPosition.get(position)
    // One position, another identity: the vendor reuses the index for the next call.
    if (id && call?.id && call.id !== id) return calls.find((other) => other.id === id)
    if (!id && name && call?.name && call.name !== name) return undefined
    return call
  }

  function read(piece: unknown, out: UpstreamDelta[]): void {
    const fn = fields(fields(piece)?.['function'])
    const id = filled(fields(piece)?.['id'])
    const name = filled(fn?.['name'])
    const position = fields(piece)?.['index']
    let call = find(position, id, name)
    if (!call) {
      call = { index: calls.length, id: undefined, name: undefined }
      calls.push(call)
    }
    if (typeof position === 'number') byPosition.set(position, call)
    const newId = call.id === undefined ? id : undefined
    const newName = call.name === undefined ? name : undefined
    call.id ??= id
    call.name ??= name
    const text = argumentsText(fn?.['arguments'])
    if (!newId && !newName && text === '') return
    out.push({
      type: 'tool-call',
      index: call.index,
      ...(newId ? { id: newId } : {}),
      ...(newName ? { name: newName } : {}),
      arguments: text,
    })
  }

  return { read }
}

function push(type: 'text' | 'reasoning' | 'refusal', text: string, out: UpstreamDelta[]): void {
  if (text !== '') out.push({ type, text })
}

/** The text in a string, a part (`{text}`, `{summary}`, `{content}`), or an array of those. */
function plainText(value: unknown): string {
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return value.map(plainText).join('')
  const part = fields(value)
  return filled(part?.['text']) ?? filled(part?.['summary']) ?? filled(part?.['content']) ?? ''
}

// Some servers give the arguments as an object instead of its text.
function argumentsText(value: unknown): string {
  if (typeof value === 'string') return value
  return isFields(value) ? JSON.stringify(value) : ''
}

function toUsage(value: unknown): Usage | undefined {
  const usage = fields(value)
  const input = count(usage?.['prompt_tokens'])
  const output = count(usage?.['completion_tokens'])
  if (!usage || (input === undefined && output === undefined)) return undefined
  const cached = count(fields(usage['prompt_tokens_details'])?.['cached_tokens'])
  const reasoning = count(fields(usage['completion_tokens_details'])?.['reasoning_tokens'])
  return {
    inputTokens: input ?? 0,
    outputTokens: output ?? 0,
    ...(cached ? { cachedInputTokens: cached } : {}),
    ...(reasoning ? { reasoningTokens: reasoning } : {}),
  }
}

// Only the first choice is an answer of ours: more than one is refused at the door.
function isFirstChoice(choice: unknown): choice is Fields {
  return isFields(choice) && Number(choice['index'] ?? 0) === 0
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function fields(value: unknown): Fields | undefined {
  return isFields(value) ? value : undefined
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function filled(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}
