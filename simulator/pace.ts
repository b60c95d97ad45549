import { createRandom } from './random.ts'

// Node fires a longer timer at once.
const longest = 2 ** 31 - 1

/** How fast tokens leave. */
export interface PaceOptions {
  readonly firstTokenMs: number
  readonly tokensPerSecond: number
  readonly seed: number
}

/** The waiting of one answer. At most one wait is open at a time; `stop` ends it and every later one at once. */
export interface Pace {
  /** Resolves when the token with this index is due. */
  turn(index: number): Promise<void>
  /** Resolves after this time; what comes later moves back by as much. */
  pause(ms: number): Promise<void>
  /** Resolves when stopped. */
  hold(): Promise<void>
  stop(): void
  readonly stopped: boolean
}

/**
 * Says when each token is due, in milliseconds after the start.
 *
 * Every due time is counted from the start, so a late timer delays one token and not all that follow. The jitter
 * is less than one interval: tokens never overtake each other.
 */
export function createSchedule({
  firstTokenMs,
  tokensPerSecond,
  seed,
}: PaceOptions): (index: number) => number {
  const interval = 1000 / tokensPerSecond
  return (index) => {
    const jitter = index === 0 ? 0 : (createRandom(seed + index)() - 0.5) * 0.8
    return firstTokenMs + (index + jitter) * interval
  }
}

/** Starts the clock of one answer. */
export function createPace(options: PaceOptions): Pace {
  const due = createSchedule(options)
  let start = performance.now()
  let stopped = false
  let timer: NodeJS.Timeout | undefined
  let wake: (() => void) | undefined

  function sleep(ms: number | undefined): Promise<void> {
    if (stopped) return Promise.resolve()
    return new Promise((resolve) => {
      wake = resolve
      if (ms !== undefined) timer = setTimeout(resolve, Math.min(ms, longest))
    })
  }

  return {
    async turn(index) {
      const ms = due(index) - (performance.now() - start)
      if (ms > 0) await sleep(ms)
    },
    async pause(ms) {
      const began = performance.now()
      await sleep(ms)
      start += performance.now() - began
    },
    hold: () => sleep(undefined),
    stop() {
      stopped = true
      clearTimeout(timer)
      wake?.()
    },
    get stopped() {
      return stopped
    },
  }
}
