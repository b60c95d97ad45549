import { terminalFor } from './chat.ts'
import { ChatError } from './errors.ts'
import { isUnkept, pull } from './log.ts'
import { type Batches, type ChatDelta, type Encoder, type Frame, type Frames, isTerminal } from './types.ts'
import { createWatchdog } from './watchdog.ts'

export interface ReplayOptions {
  /** The sequence number before the first delta of `batches`. */
  readonly after: number
  readonly encode: Encoder
  /** Text before the first delta; it leaves at once. */
  readonly preamble?: string | undefined
  /**
   * A comment that is put between frames whenever so much time passed without one, so that proxies do not take a
   * thinking model for a dead connection. Default: none.
   */
  readonly heartbeat?: { readonly everyMs: number; readonly frame: string } | undefined
  /**
   * Runs once, when the reader has read to the end of the reply, or has left before. What it returns is waited for
   * before the frames end, and must not reject.
   */
  readonly onEnd?: ((toTheEnd: boolean) => Promise<void> | void) | undefined
}

/** One write takes at most so many characters, which are 64 KiB at the most: a reader that fell behind catches up in pieces. */
const PIECE_LENGTH = Math.floor((64 * 1024) / 3)

/**
 * Writes a log in a wire format; what arrived together is one piece. When the log fails its reader, the last frame
 * is an `error` that says so: it never throws.
 *
 * By hand, and all in one: each iterator around another costs every delta a promise or two. A heartbeat has one timer
 * for the whole stream; a frame only notes the time.
 */
export function replay(
  batches: Batches,
  { after, encode, preamble = '', heartbeat, onEnd }: ReplayOptions,
): Frames & Required<Pick<Frames, 'pull'>> {
  const watchdog = createWatchdog()
  let seq = after
  let batch: readonly ChatDelta[] = []
  let position = 0
  let limit = 0
  let text = preamble
  /** Whether something was asked of the log that it has not answered yet. */
  let asked = false
  let asking = false
  /** What the log has ended with. */
  let over: { readonly error?: unknown } | undefined
  let ended = false
  let watched = false
  let waiter: Parameters<NonNullable<Frames['pull']>>[0] | undefined

  function piece(): string {
    while (position < limit && text.length < PIECE_LENGTH) {
      const delta = batch[position++]!
      seq++
      text += encode(delta, isUnkept(delta) ? undefined : seq)
    }
    return cut()
  }

  /** Takes what one write may have; no character is cut in two. */
  function cut(): string {
    const full = text
    if (full.length <= PIECE_LENGTH) {
      text = ''
      return full
    }
    const splitsPair = /[\ud800-\udbff]/.test(full.charAt(PIECE_LENGTH - 1))
    const length = PIECE_LENGTH - (splitsPair ? 1 : 0)
    text = full.slice(length)
    return full.slice(0, length)
  }

  /** What there is to give now; asks the log when there is nothing, or ends. */
  function advance(): Frame | Promise<Frame> | undefined {
    try {
      const value = piece()
      if (value !== '') return { value, done: false }
    } catch (error) {
      // A fault of this reader's encoder is nobody else's.
      over = { error }
      limit = position
      text = ''
    }
    if (over) return finish()
    if (!asked) {
      asked = true
      asking = true
      pull(batches, onBatch, onOver)
      asking = false
      // It may have been told at once.
      if (!asked) return advance()
    }
    return undefined
  }

  function onBatch(deltas: readonly ChatDelta[], from: number): void {
    asked = false
    batch = deltas
    position = from
    limit = deltas.length
    serve()
  }

  function onOver(failure: { readonly error?: unknown } = {}): void {
    asked = false
    over = failure
    serve()
  }

  // Nobody waits when a heartbeat has answered meanwhile: what came is there for the next who asks.
  function serve(): void {
    if (!waiter || asking) return
    const frame = advance()
    if (frame) give(frame)
  }

  async function finish(): Promise<Frame> {
    const failed = !ended && over && 'error' in over
    const end = await leave(true)
    return failed ? { value: encode(terminalFor(lostReply(over?.error))), done: false } : end
  }

  /** `tookAll`: whoever asks for more has taken what was given. */
  async function leave(tookAll: boolean): Promise<Frame> {
    const last = tookAll && position === limit ? batch[limit - 1] : undefined
    const first = !ended
    ended = true
    watchdog.stop()
    if (first) await onEnd?.(last !== undefined && isTerminal(last))
    return { value: undefined, done: true }
  }

  function watch(): void {
    if (watched) watchdog.feed()
    else if (heartbeat) {
      watched = true
      watchdog.expect(heartbeat.everyMs, beat)
    }
  }

  function beat(): void {
    watched = false
    give({ value: heartbeat?.frame ?? '', done: false })
  }

  // Whoever is given something may ask for more at once.
  function give(frame: Frame | Promise<Frame>): void {
    const waiting = waiter
    waiter = undefined
    waiting?.(frame)
  }

  return {
    pull(onFrame) {
      const frame = ended ? leave(true) : advance()
      if (frame) return onFrame(frame)
      watch()
      waiter = onFrame
    },
    next() {
      return new Promise((resolve) => this.pull(resolve))
    },
    async return() {
      give({ value: undefined, done: true })
      watchdog.stop()
      await batches.return?.()
      return leave(false)
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** It was there when its reader came. */
function lostReply(error: unknown): unknown {
  if (!(error instanceof ChatError) || error.code !== 'not-found') return error
  return new ChatError('gone', 'This reply was lost.', { cause: error })
}
