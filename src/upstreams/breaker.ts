export interface BreakerOptions {
  /** Failures in a row that open it. Default 5. */
  readonly failures?: number | undefined
  /** How long it stays open, in milliseconds. Default 30000. */
  readonly openMs?: number | undefined
  /** A clock in milliseconds that never goes back. Default: the platform's. */
  readonly now?: (() => number) | undefined
}

/** Keeps callers away from a server that keeps failing. */
export interface Breaker {
  /** Leave for one call; undefined while none is given. */
  enter(): Permit | undefined
  /** Milliseconds until asking for leave makes sense again; 0 = now. */
  waitMs(): number
}

/** Leave for one call. Only the first word about how it went counts. */
export interface Permit {
  /** The server began to do it. That is enough for a trial; how it goes on is still to be said. */
  begin(): void
  /** The server did what was asked. */
  succeed(): void
  /** The server failed. `waitMs`: how long it said it wants to be left alone, in milliseconds. */
  fail(waitMs?: number): void
  /** The call says nothing about the server: it was stopped, or was wrong itself. */
  release(): void
}

/** The longest time a server can ask for: a mistake of its own should not keep us away for hours. */
export const LONGEST_ASKED_MS = 60_000
/** While a trial is under way nobody knows how long it takes: look again after this. */
export const TRIAL_WAIT_MS = 1000

/**
 * Creates a circuit breaker, closed at first.
 *
 * It opens after `failures` failures in a row, or at once when the server names a time to stay away (that time then,
 * at most a minute, in place of `openMs`; a time of 0 is a failure like any other). When the time is over one trial
 * at a time gets through: its beginning closes the breaker, its failure before that opens it again. Calls that began before it
 * opened or closed have no say any more. It has no timers: the clock is looked at when somebody asks.
 */
export function createBreaker(options: BreakerOptions = {}): Breaker {
  const { failures = 5, openMs = 30_000, now = () => performance.now() } = options
  let failedInARow = 0
  /** Undefined when closed. */
  let openUntil: number | undefined
  let trying = false
  /** Grows whenever it opens or closes. */
  let era = 0

  function waitMs(): number {
    if (openUntil === undefined) return 0
    return trying ? TRIAL_WAIT_MS : Math.max(0, openUntil - now())
  }

  function turn(until: number | undefined): void {
    openUntil = until
    failedInARow = 0
    trying = false
    era++
  }

  function enter(): Permit | undefined {
    if (waitMs() > 0) return undefined
    let trial = openUntil !== undefined
    if (trial) trying = true
    let entered = era
    let told = false

    function tell(what: () => void): void {
      if (told) return
      told = true
      if (entered === era) what()
    }

    function begin(): void {
      if (!trial || told || entered !== era) return
      turn(undefined)
      // From here on it is a call like any other of a closed breaker.
      trial = false
      entered = era
    }

    return {
      begin,
      succeed() {
        begin()
        tell(() => {
          failedInARow = 0
        })
      },
      fail: (asked = 0) =>
        tell(() => {
          failedInARow++
          if (asked > 0) turn(now() + Math.min(asked, LONGEST_ASKED_MS))
          else if (trial || failedInARow >= failures) turn(now() + openMs)
        }),
      release: () =>
        tell(() => {
          trying = false
        }),
    }
  }

  return { enter, waitMs }
}
