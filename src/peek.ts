import { setTimer } from './timer.ts'
import { pull, tell } from './log.ts'
import type { Batches, ChatDelta } from './types.ts'

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
    pull(onBatch, onOver) {
      if (held) {
        const deltas = held
        held = undefined
        onBatch(deltas, 0)
      } else if (pending) {
        const next = pending
        pending = undefined
        tell(next, onBatch, onOver)
      } else pull(source, onBatch, onOver)
    },
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
