import { setTimer } from './timer.ts'

/** Watches one limit at a time with one timer, however often it is fed. */
export interface Watchdog {
  /** From now on `ms` may pass between signs of life; then `expire` runs, once. Replaces the limit before. */
  expect(ms: number, expire: () => void): void
  /** A sign of life. */
  feed(): void
  /** Time does not count until the next `feed`: the silence is our own. */
  hold(): void
  /** Time does not count until `resume`, and goes on from there: a delay of our own is no sign of life. */
  pause(): void
  resume(): void
  /** Ends the watch and frees the timer. */
  stop(): void
}

/** Creates a watchdog that watches nothing yet. */
export function createWatchdog(): Watchdog {
  let timer: ReturnType<typeof setTimeout> | undefined
  let limitMs = 0
  let fedAt = 0
  let held = false
  let pausedAt: number | undefined
  let expire = (): void => {}

  // Re-armed only when it fires, for what is left: feeding is an assignment, whatever the rate.
  function check(): void {
    const leftMs = held ? limitMs : fedAt + limitMs - performance.now()
    if (leftMs > 0.5) {
      timer = setTimer(check, leftMs)
      return
    }
    timer = undefined
    expire()
  }

  function feed(): void {
    held = false
    pausedAt = undefined
    fedAt = performance.now()
  }

  return {
    expect(ms, onExpire) {
      clearTimeout(timer)
      limitMs = ms
      expire = onExpire
      feed()
      timer = setTimer(check, ms)
    },
    feed,
    hold() {
      held = true
    },
    pause() {
      held = true
      pausedAt = performance.now()
    },
    resume() {
      if (pausedAt === undefined) return
      held = false
      fedAt += performance.now() - pausedAt
      pausedAt = undefined
    },
    stop() {
      clearTimeout(timer)
      timer = undefined
    },
  }
}
