import { createParser, type EventSourceMessage, type ParseError } from 'eventsource-parser'
import { ChatError, toChatError } from '../errors.ts'
import type { UpstreamDelta } from '../types.ts'
import { createChunkReader } from './chunk.ts'
import { failureInStream, failureOfEvent } from './failure.ts'
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
  const decoder = new TextDecoder(charset)
  let deltas: UpstreamDelta[] = []
  let events = 0
  let done = false
  let ended = false
  let resumed = false
  let failure: ChatError | undefined

  const parser = createParser({ onEvent, onError, maxBufferSize: maxEventBytes })

  function onEvent({ event, data }: EventSourceMessage): void {
    if (done || failure || data === '') return
    if (data === '[DONE]') {
      done = true
      chunks.flush?.(deltas)
      return
    }
    events++
    try {
      readEvent(event, data)
    } catch (error) {
      failure = toChatError(error)
    }
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
      if (deltas.slice(from).some(({ type }) => type !== 'source')) resumed = true
      else if (chunks.finish !== finish) resumed = false
    }
    if (event === 'error') throw failureOfEvent(chunk)
    if (chunks.done) done = true
  }

  function onError({ type, field, value, line }: ParseError): void {
    if (done) return
    if (type === 'unknown-field') failure ??= failureOfLine(field, value, line)
    if (type !== 'max-buffer-size-exceeded') return
    failure ??= new ChatError(
      'upstream-too-large',
      `The model's server sent an event of more than ${maxEventBytes} bytes.`,
    )
  }

  function feedText(text: string): void {
    if (!failure && !done && text !== '') parser.feed(text)
  }

  return {
    feed(bytes) {
      feedText(decoder.decode(bytes, { stream: true }))
    },
    end() {
      ended = true
      feedText(decoder.decode())
      feedText('\n\n') // an event without its blank line counts when it is whole
      if (!failure) chunks.flush?.(deltas)
    },
    take() {
      const taken = deltas
      if (taken.length > 0) deltas = []
      return taken
    },
    get events() {
      return events
    },
    get holding() {
      return chunks.holding === true
    },
    get progress() {
      return chunks.progress ?? 0
    },
    get resumed() {
      return resumed
    },
    get finished() {
      return chunks.finish !== undefined
    },
    get done() {
      return done
    },
    get failure() {
      return failure
    },
    close() {
      if (chunks.finish) {
        return chunks.usage ? [{ type: 'usage', ...chunks.usage }, chunks.finish] : [chunks.finish]
      }
      if (events === 0) {
        throw new ChatError('upstream-bad-response', "The model's server answered without a single event.")
      }
      if (done) {
        throw new ChatError(
          'upstream-incomplete',
          "The model's server ended its answer without a finish reason.",
        )
      }
      throw new ChatError('upstream-truncated', "The model's server broke off in the middle of its answer.")
    },
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
