import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { ChatError, toChatError } from '../errors.ts'
import type { UpstreamDelta } from '../types.ts'
import { createChunkReader } from './chunk.ts'
import { failureOfEvent } from './failure.ts'
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
  /** Whether a finish reason was seen. */
  readonly finished: boolean
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
    chunks.read(chunk, deltas, event)
    if (event === 'error') throw failureOfEvent(chunk)
    if (chunks.done) done = true
  }

  function onError({ type }: { readonly type: string }): void {
    if (type !== 'max-buffer-size-exceeded' || done) return
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
