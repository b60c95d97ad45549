import { ChatError } from '../errors.ts'
import type { UpstreamDelta, UpstreamOptions } from '../types.ts'
import { createWatchdog, type Watchdog } from '../watchdog.ts'
import type { BodyRead, BodyReader } from './body.ts'
import type { CompletionParser } from './completion.ts'
import { toReadFailure } from './malformed.ts'
import { createPace } from './pace.ts'
import { isPlainReason } from './words.ts'

export interface AnswerOptions extends UpstreamOptions, AnswerLimits {
  /** Asks; `accept` is called when the server has taken the request. */
  readonly open: (signal: AbortSignal, accept: () => void) => Promise<[CompletionParser, BodyReader]>
  /** Makes of a failure what whoever reads may know of it. */
  readonly toError: (failure: unknown) => unknown
  /** Whether a word of the upstream's holds what no client may know. Default: none does. */
  readonly isSecret?: ((word: string) => boolean) | undefined
}

/** Those of `OpenAIOptions`. */
export type AnswerLimits = Readonly<
  Record<'headersTimeoutMs' | 'firstDeltaTimeoutMs' | 'idleTimeoutMs', number>
>

/** What is read at a time of a piece that is larger. */
const SLICE_BYTES = 16 * 1024
/** Larger pieces than this are read in turns. One delta, and what arrives a moment after it, is far less. */
const LIGHT_BYTES = 2048

/** One for all answers of this thread: together they must leave time for everything else. */
const pace = createPace()

type Read = IteratorResult<readonly UpstreamDelta[], undefined>

/** After the finish reason: how long a usage report, or the end, is waited for. */
const USAGE_WAIT_MS = 2000
/**
 * After the last event: how long the end of the body is waited for, so that its connection can be used again. It comes
 * at once or a moment later; a new connection costs about as much as a longer wait.
 */
const DRAIN_WAIT_MS = 200

/** One for all: the platform would make an error, with a stack, for every answer. */
const over = new ChatError('cancelled', 'The answer is over.')

/**
 * Asks when it is read for the first time. A batch is what one read of the body said.
 *
 * By hand: a generator puts two promises between the bytes and whoever reads, for each delta. It is read like one:
 * one `next()` at a time, and `return()` to leave it, at any time. However it ends, its connection is free, or closed.
 */
export function readAnswer(
  options: AnswerOptions,
): AsyncIterableIterator<readonly UpstreamDelta[], undefined> {
  const { open, toError, isSecret, signal, onAccept, headersTimeoutMs, firstDeltaTimeoutMs, idleTimeoutMs } =
    options
  const attempt = new AbortController()
  const watchdog = createWatchdog()
  let state: 'new' | 'reading' | 'closing' | 'over' = 'new'
  let parser!: CompletionParser
  let bytes: BodyReader | undefined
  /** What is still to be read of a large piece. */
  let rest: Uint8Array | undefined
  let ended = false
  let spoken = false
  let finishing = false
  let give: ((read: Read | Promise<Read>) => void) | undefined

  async function begin(): Promise<Read> {
    state = 'reading'
    try {
      signal.throwIfAborted()
      signal.addEventListener('abort', abort, { once: true })
      limit(headersTimeoutMs, 'did not answer')
      ;[parser, bytes] = await open(attempt.signal, () => {
        onAccept?.()
        limit(firstDeltaTimeoutMs, 'said nothing')
      })
    } catch (error) {
      return isOver() ? end() : fail(error)
    }
    return isOver() ? end() : read()
  }

  /** It can be left at any time. */
  function isOver(): boolean {
    return state === 'over'
  }

  function abort(): void {
    attempt.abort(signal.reason)
  }

  function limit(ms: number, what: string): void {
    watchdog.expect(ms, () => attempt.abort(timeout(what, ms)))
  }

  function read(): Promise<Read> {
    return new Promise((resolve) => {
      give = resolve
      proceed()
    })
  }

  function tell(read: Read | Promise<Read>): void {
    const resolve = give
    give = undefined
    resolve?.(read)
  }

  /** Reads on, or ends where nothing follows. */
  function proceed(): void {
    if (parser.failure) tell(fail(parser.failure))
    else if (ended || parser.done) close()
    else if (rest) readRest()
    else bytes!.pull(hearPiece, onBroken) // there since `begin`
  }

  function hearPiece(read: BodyRead): void {
    if (read.done || read.value.length <= LIGHT_BYTES) return hear(read)
    rest = read.value
    readRest()
  }

  /** Reads on in a large piece when it is this answer's turn. To wait for that is no silence of the upstream. */
  function readRest(): void {
    watchdog.pause()
    pace.run(hearRest)
  }

  function hearRest(): void {
    const piece = rest
    rest = undefined
    watchdog.resume()
    // Stopped meanwhile: the body says so, and why.
    if (!piece || attempt.signal.aborted) return state === 'reading' ? proceed() : undefined
    if (piece.length > SLICE_BYTES) rest = piece.subarray(SLICE_BYTES)
    hear({ value: piece.subarray(0, SLICE_BYTES), done: false })
  }

  function onBroken(cause: unknown): void {
    hear({ value: undefined, done: true }, { cause })
  }

  function hear({ value, done }: BodyRead, broken?: ErrorOptions): void {
    if (state !== 'reading') return
    const { events, progress } = parser
    ended = done
    try {
      if (done) endOfBody(parser, attempt.signal, broken)
      else parser.feed(value)
    } catch (error) {
      return tell(fail(attempt.signal.aborted ? error : toReadFailure(error)))
    }
    const deltas = parser.take()
    if (parser.finished && !finishing) {
      finishing = true
      watchdog.expect(USAGE_WAIT_MS, () => attempt.abort(cutShort()))
    } else if (!finishing && deltas.length === 0) {
      if (spoken ? parser.events > events : parser.progress > progress) watchdog.feed()
    }
    if (!spoken && !parser.finished && (deltas.length > 0 || parser.holding)) {
      spoken = true
      limit(idleTimeoutMs, 'fell silent')
    }
    if (deltas.length === 0) return proceed()
    // Our reader's time is not the upstream's: the clock rests while it takes what came. Beyond a finish reason
    // nothing but more of the answer winds it up again, comments above all do not.
    watchdog.hold()
    tell({ value: deltas, done: false })
  }

  function close(): void {
    watchdog.stop()
    state = 'closing'
    try {
      tell({ value: parser.close().map(withPlainReason), done: false })
    } catch (error) {
      tell(fail(toReadFailure(error)))
    }
  }

  function withPlainReason(delta: UpstreamDelta): UpstreamDelta {
    if (delta.type !== 'finish' || delta.raw === undefined) return delta
    const { raw, ...plain } = delta
    return isPlainReason(raw) && !isSecret?.(raw) ? delta : plain
  }

  async function fail(failure: unknown): Promise<never> {
    await end()
    throw toError(failure)
  }

  async function end(): Promise<Read> {
    const before = state
    state = 'over'
    if (before !== 'over') {
      if (bytes && parser.done && !attempt.signal.aborted) await drain(bytes, attempt, watchdog)
      signal.removeEventListener('abort', abort)
      attempt.abort(over)
    }
    // Also what was expected after it was left.
    watchdog.stop()
    return { value: undefined, done: true }
  }

  return {
    next() {
      if (state === 'new') return begin()
      if (state !== 'reading') return end()
      watchdog.feed()
      return read()
    },
    return() {
      const ending = end()
      tell(ending)
      return ending
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** Tells the parser that the body is over, however it ended. @throws what that means, where it says something. */
function endOfBody(parser: CompletionParser, signal: AbortSignal, broken?: ErrorOptions): void {
  const isWhole = (): boolean => parser.finished && !parser.resumed
  if (signal.aborted && !isWhole()) throw signal.reason
  parser.end()
  if (!broken || isWhole()) return
  const message = "The connection to the model's server broke in the middle of its answer."
  throw new ChatError('upstream-truncated', message, broken)
}

/** Reads to the end of the body, which frees the connection for the next request; gives up when it does not come. */
async function drain(bytes: BodyReader, attempt: AbortController, watchdog: Watchdog): Promise<void> {
  watchdog.expect(DRAIN_WAIT_MS, () => attempt.abort(over))
  try {
    while (!(await bytes.next()).done);
  } catch {
    // Aborted, or reset: the answer was whole already.
  }
}

/** Why an answer ends that went on after its finish reason, and then did not. */
function cutShort(): ChatError {
  const message = "The model's server fell silent after it had gone on beyond the end that it announced."
  return new ChatError('upstream-truncated', message)
}

function timeout(what: string, ms: number): ChatError {
  return new ChatError('upstream-timeout', `The model's server ${what} for ${ms} ms.`)
}
