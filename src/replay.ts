import { terminalFor } from './chat.ts'
import { ChatError } from './errors.ts'
import { isUnkept } from './log.ts'
import { setTimer } from './timer.ts'
import { type ChatDelta, type Encoder, isTerminal } from './types.ts'

type Batches = AsyncIterableIterator<readonly ChatDelta[]>

export interface ReplayOptions {
  /** The sequence number before the first delta of `batches`. */
  readonly after: number
  readonly encode: Encoder
  /** Text before the first delta; it leaves at once. */
  readonly preamble?: string | undefined
  /**
   * Runs once, when the reader has read to the end of the reply, or has left before. What it returns is waited for
   * before the frames end, and must not reject.
   */
  readonly onEnd?: ((toTheEnd: boolean) => Promise<void> | void) | undefined
}

/** One write takes at most about this much: a reader that fell behind catches up in pieces. */
const PIECE_LENGTH = 64 * 1024

/**
 * Writes a log in a wire format; what arrived together is one piece. When the log fails its reader, the last frame
 * is an `error` that says so: it never throws.
 */
export function replay(
  batches: Batches,
  { after, encode, preamble = '', onEnd }: ReplayOptions,
): AsyncIterableIterator<string> {
  let seq = after
  let batch: readonly ChatDelta[] = []
  let position = 0
  let text = preamble
  let ended = false

  function piece(): string {
    while (position < batch.length && text.length < PIECE_LENGTH) {
      const delta = batch[position++]!
      seq++
      text += encode(delta, isUnkept(delta) ? undefined : seq)
    }
    const full = text
    text = ''
    return full
  }

  async function end(): Promise<IteratorResult<string, undefined>> {
    const last = position === batch.length ? batch.at(-1) : undefined
    const first = !ended
    ended = true
    if (first) await onEnd?.(last !== undefined && isTerminal(last))
    return { value: undefined, done: true }
  }

  return {
    async next() {
      try {
        while (!ended) {
          const value = piece()
          if (value !== '') return { value, done: false }
          const result = await batches.next()
          if (result.done) return await end()
          batch = result.value
          position = 0
        }
        return await end()
      } catch (error) {
        if (ended) return end()
        await end()
        return { value: encode(terminalFor(lostReply(error))), done: false }
      }
    },
    async return() {
      await batches.return?.()
      return end()
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

/** The beginning of a log, and all of it. */
export interface Opening {
  readonly deltas: readonly ChatDelta[]
  /** Everything, what is in `deltas` included. */
  readonly batches: Batches
}

/**
 * Waits for the first `count` deltas, or the end, but no longer than `waitMs`. What was read is not lost: the
 * batches of the result begin with it.
 */
export async function peek(
  source: Batches,
  { count, waitMs }: { readonly count: number; readonly waitMs: number },
): Promise<Opening> {
  const deltas: ChatDelta[] = []
  let pending: ReturnType<Batches['next']> | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimer(() => resolve(undefined), waitMs)
  })
  try {
    while (deltas.length < count) {
      pending ??= source.next()
      const result = await Promise.race([pending, late])
      if (!result || result.done) break
      pending = undefined
      deltas.push(...result.value)
    }
  } finally {
    clearTimeout(timer)
  }
  let held: readonly ChatDelta[] | undefined = deltas.length > 0 ? deltas : undefined
  const batches: Batches = {
    // Not an async function: a promise that it returned would be waited for three times.
    next() {
      if (held) {
        const value = held
        held = undefined
        return Promise.resolve({ value, done: false })
      }
      const result = pending ?? source.next()
      pending = undefined
      return result
    },
    async return() {
      held = undefined
      return (await source.return?.()) ?? { value: undefined, done: true }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
  return { deltas, batches }
}
