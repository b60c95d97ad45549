import { createParser, type EventSourceMessage, type ParseError } from 'eventsource-parser'
import { ChatError } from '../errors.ts'
import type { Mutable, UpstreamDelta } from '../types.ts'
import { createChunkReader } from './chunk.ts'
import { failureInStream, failureOfEvent } from './failure.ts'
import { toReadFailure } from './malformed.ts'
import type { EventReader } from './reader.ts'

/** Turns the bytes of one streamed answer into deltas, however the bytes are cut. No clock, no I/O. */
export interface CompletionParser {
  feed(bytes: Uint8Array): void
  /** No more bytes will come. */
  end(): void
  /** What was understood since the last call. */
  take(): readonly UpstreamDelta[]
  /** Data events so far: comments do not count. */
  readonly events: number
  /** Whether something was understood that is not said yet. */
  readonly holding: boolean
  /** Events so far that said that the answer is being made, whether or not something could be told of it. */
  readonly progress: number
  /** Whether a finish reason was seen. */
  readonly finished: boolean
  /** Whether the answer went on after its finish reason, and did not say again that it is over. */
  readonly resumed: boolean
  /** Whether the stream said that it is over: what follows is ignored. */
  readonly done: boolean
  /** Set once the stream said something that ends the answer as a failure. */
  readonly failure: ChatError | undefined
  /**
   * The last deltas, usage and `finish`, of an answer that is over.
   * @throws `ChatError` when no finish reason was seen: such an answer is not whole.
   */
  close(): readonly UpstreamDelta[]
}

export interface CompletionOptions {
  /** What understands the events. Default: those of the Chat Completions API. */
  readonly reader?: EventReader
  /** How large one event may grow, in characters. */
  readonly maxEventBytes: number
  /** The `charset` of the content type. */
  readonly charset?: string
}

/** Creates a parser for one answer. */
export function createCompletionParser({
  reader: chunks = createChunkReader(),
  maxEventBytes,
  charset = 'utf-8',
}: CompletionOptions): CompletionParser {
  const decode = createDecoder(charset)
  let deltas: UpstreamDelta[] = []
  let ended = false

  const events = createParser({ onEvent, onError, maxBufferSize: maxEventBytes })

  function onEvent({ event, data }: EventSourceMessage): void {
    if (parser.done || parser.failure || data === '') return
    if (data === '[DONE]') {
      parser.done = true
      chunks.flush?.(deltas)
      return
    }
    parser.events++
    try {
      readEvent(event, data)
    } catch (error) {
      parser.failure = toReadFailure(error)
    }
    parser.progress = chunks.progress ?? 0
    parser.finished = chunks.finish !== undefined
  }

  function readEvent(event: string | undefined, data: string): void {
    let chunk: unknown
    try {
      chunk = JSON.parse(data)
    } catch (cause) {
      if (event === 'error') throw failureOfEvent(data)
      // The last piece of a body that was cut is no fault of the format: close() says what is missing.
      if (ended || chunks.finish) return
      throw new ChatError('upstream-malformed', "The model's server sent something that is not JSON.", {
        cause: new Error((cause as Error).name), // JSON.parse quotes the text in its message
      })
    }
    const { finish } = chunks
    const from = deltas.length
    chunks.read(chunk, deltas, event)
    if (finish) {
      if (deltas.slice(from).some(({ type }) => type !== 'source')) parser.resumed = true
      else if (chunks.finish !== finish) parser.resumed = false
    }
    if (event === 'error') throw failureOfEvent(chunk)
    if (chunks.done) parser.done = true
  }

  function onError({ type, field, value, line }: ParseError): void {
    if (parser.done) return
    if (type === 'unknown-field') parser.failure ??= failureOfLine(field, value, line)
    if (type !== 'max-buffer-size-exceeded') return
    parser.failure ??= new ChatError(
      'upstream-too-large',
      `The model's server sent an event of more than ${maxEventBytes} bytes.`,
    )
  }

  function feedText(text: string): void {
    if (parser.failure || parser.done || text === '') return
    events.feed(text)
    parser.holding = chunks.holding === true
  }

  const parser: Mutable<CompletionParser> = {
    events: 0,
    holding: false,
    progress: 0,
    finished: false,
    resumed: false,
    done: false,
    failure: undefined,
    feed(bytes) {
      feedText(decode(bytes))
    },
    end() {
      ended = true
      feedText(decode())
      feedText('\n\n') // an event without its blank line counts when it is whole
      if (!parser.failure) chunks.flush?.(deltas)
      parser.holding = false
    },
    take() {
      const taken = deltas
      if (taken.length > 0) deltas = []
      return taken
    },
    close() {
      if (chunks.finish) {
        return chunks.usage ? [{ type: 'usage', ...chunks.usage }, chunks.finish] : [chunks.finish]
      }
      if (parser.events === 0) {
        throw new ChatError('upstream-bad-response', "The model's server answered without a single event.")
      }
      if (parser.done) {
        throw new ChatError(
          'upstream-incomplete',
          "The model's server ended its answer without a finish reason.",
        )
      }
      throw new ChatError('upstream-truncated', "The model's server broke off in the middle of its answer.")
    },
  }
  return parser
}

/** Decodes a body piece by piece; without bytes, what is left. */
function createDecoder(charset: string): (bytes?: Uint8Array) => string {
  const decoder = new TextDecoder(charset)
  if (decoder.encoding !== 'utf-8') return (bytes) => decoder.decode(bytes, { stream: bytes !== undefined })
  // A piece that begins and ends between two characters needs no memory of the one before, which costs twice as much.
  const whole = new TextDecoder('utf-8', { ignoreBOM: true })
  let between = false
  return (bytes) => {
    const begins = between
    between = bytes !== undefined && bytes.length > 0 && bytes[bytes.length - 1]! < 0x80
    return begins && between ? whole.decode(bytes) : decoder.decode(bytes, { stream: bytes !== undefined })
  }
}

/** llama.cpp reports in a field `error`, Ollama in a line of JSON without any field. */
function failureOfLine(field?: string, value?: string, line?: string): ChatError | undefined {
  if (field === 'error' && value) return failureOfEvent(jsonIn(value) ?? value)
  return line?.startsWith('{') ? failureInStream(jsonIn(line)) : undefined
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
