/** Shares the time of one thread between answers that arrive faster than they can be passed on. */
export interface Pace {
  /** Does a piece of work now, or in a later turn of the event loop when such work has used up its share of this one. */
  run(work: () => void): void
}

/** How long such work may take in one turn of the event loop, in milliseconds. */
const SHARE_MS = 2
/** So many pieces are done in any case: on a machine that does much else, time passes without any work. */
const LEAST = 2

/**
 * Creates a pace. What has to wait is done in the order in which it came, so that no answer gets more turns than another.
 *
 * A turn ends with a timer, because that is what every platform has: between two of them sockets are read and requests
 * answered. Work that is within its share never waits for one.
 */
export function createPace(now: () => number = () => performance.now()): Pace {
  const waiting: (() => void)[] = []
  /** When the work of this turn began; undefined before that. */
  let since: number | undefined

  /** Pieces of work in this turn. */
  let done = 0

  function begin(): void {
    since = now()
    done = 0
    setTimeout(next, 0)
  }

  function next(): void {
    since = undefined
    if (waiting.length === 0) return
    begin()
    do proceed()
    while (waiting.length > 0 && !isSpent())
  }

  function proceed(): void {
    done++
    waiting.shift()?.()
  }

  function isSpent(): boolean {
    return done >= LEAST && now() - since! >= SHARE_MS // set by `begin`
  }

  return {
    run(work) {
      if (since === undefined) begin()
      waiting.push(work)
      if (!isSpent()) proceed()
    },
  }
}
