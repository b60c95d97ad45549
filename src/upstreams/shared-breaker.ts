import {
  type BreakerOptions,
  type Breaker,
  createBreaker,
  LONGEST_ASKED_MS,
  type Permit,
  TRIAL_WAIT_MS,
} from './breaker.ts'

export interface SharedBreakerOptions extends BreakerOptions {
  /** How many different callers must have met a failure before the server is closed to all. Default 3. */
  readonly callers?: number | undefined
}

/** A circuit breaker of one server that several callers share. `caller` is a principal or an address. */
export interface SharedBreaker {
  /** Permission for one call; undefined while this caller gets none. */
  enter(caller?: string): Permit | undefined
  /** Milliseconds until it makes sense for this caller to ask for permission again; 0 = now. */
  waitMs(caller?: string): number
}

/** How many callers have a breaker of their own at a time. The one that was used longest ago makes room. */
const MAX_CALLERS = 1000

/**
 * Creates a circuit breaker that one caller alone cannot open for the others.
 *
 * It has two layers. Each caller has a `createBreaker` of its own: a caller whose calls keep failing, or to whom the server named a
 * time to stay away, is kept away by itself. The server is closed to all callers only after `failures` failures in a
 * row, without a success of any caller in between, from at least `callers` different callers; or at once when it has
 * named a time to that many of them. A call without a caller belongs to one common caller.
 */
export function createSharedBreaker(options: SharedBreakerOptions = {}): SharedBreaker {
  const { callers = 3, failures = 5, openMs = 30_000, now = () => performance.now() } = options
  const limits = { failures, openMs, now }
  const own = createOwnBreakers(limits)
  const common = createCommonBreaker({ ...limits, callers })

  return {
    waitMs: (caller = '') => Math.max(own.waitMs(caller), common.waitMs(caller)),
    enter(caller = '') {
      if (common.waitMs(caller) > 0) return undefined
      const mine = own.of(caller).enter()
      return mine && both(mine, common.enter(caller))
    },
  }
}

/** One permission of two breakers. */
function both(one: Permit, other: Permit): Permit {
  return {
    begin() {
      one.begin()
      other.begin()
    },
    succeed() {
      one.succeed()
      other.succeed()
    },
    fail(waitMs) {
      one.fail(waitMs)
      other.fail(waitMs)
    },
    release() {
      one.release()
      other.release()
    },
  }
}

/** The callers' own breakers. */
function createOwnBreakers(limits: BreakerOptions) {
  const breakers = new Map<string, Breaker>()
  return {
    waitMs: (caller: string) => breakers.get(caller)?.waitMs() ?? 0,
    of(caller: string): Breaker {
      const breaker = breakers.get(caller) ?? createBreaker(limits)
      breakers.delete(caller)
      breakers.set(caller, breaker)
      if (breakers.size > MAX_CALLERS) breakers.delete(breakers.keys().next().value!) // the map is not empty
      return breaker
    },
  }
}

interface Limits {
  readonly callers: number
  readonly failures: number
  readonly openMs: number
  readonly now: () => number
}

/**
 * The layer that closes a server to all. It counts callers, never calls alone, and so do its trials: when the open time is over, several
 * callers at a time may try, each once, and it opens again when `callers` of them have failed.
 */
function createCommonBreaker({ callers, failures, openMs, now }: Limits) {
  /** Failures in a row, and who met them. */
  let failed = 0
  const failing = new Set<string>()
  /** Until when each caller is to stay away, as the server named it. */
  const named = new Map<string, number>()
  /** Undefined when closed. */
  let openUntil: number | undefined
  /** Callers whose trial is under way. */
  const trying = new Set<string>()
  /** Callers whose trial failed, and until when they stay away. */
  const failedTrials = new Map<string, number>()
  /** Grows whenever it opens or closes: calls of an earlier era no longer count. */
  let era = 0

  function turn(until: number | undefined): void {
    openUntil = until
    failed = 0
    for (const each of [failing, named, trying, failedTrials]) each.clear()
    era++
  }

  function waitMs(caller: string): number {
    if (openUntil === undefined) return 0
    const time = now()
    if (time < openUntil) return openUntil - time
    dropPast(failedTrials, time)
    const until = failedTrials.get(caller)
    if (until !== undefined) return until - time
    return trying.has(caller) || trying.size >= callers ? TRIAL_WAIT_MS : 0
  }

  function note(caller: string, asked: number): void {
    const time = now()
    failed++
    if (failing.size < callers) failing.add(caller)
    dropPast(named, time)
    if (asked > 0) named.set(caller, time + Math.min(asked, LONGEST_ASKED_MS))
    // The time that all of these callers were given at least: one caller cannot make it longer.
    if (named.size >= callers) turn(Math.min(...named.values()))
    else if (failed >= failures && failing.size >= callers) turn(time + openMs)
  }

  function noteTrial(caller: string): void {
    const time = now()
    trying.delete(caller)
    dropPast(failedTrials, time)
    failedTrials.set(caller, time + openMs)
    if (failedTrials.size >= callers) turn(time + openMs)
  }

  /** To be called when `waitMs` is 0. */
  function enter(caller: string): Permit {
    let entered = era
    let isTrial = openUntil !== undefined
    let over = false
    if (isTrial) trying.add(caller)

    function end(what: () => void): void {
      if (over) return
      over = true
      if (entered === era) what()
    }

    function begin(): void {
      if (!isTrial || over || entered !== era) return
      turn(undefined)
      isTrial = false
      entered = era
    }

    return {
      begin,
      succeed() {
        begin()
        end(() => {
          failed = 0
          failing.clear()
          named.clear()
        })
      },
      fail: (asked = 0) => end(() => (isTrial ? noteTrial(caller) : note(caller, asked))),
      release: () => end(() => trying.delete(caller)),
    }
  }

  return { enter, waitMs }
}

function dropPast(times: Map<string, number>, time: number): void {
  for (const [caller, until] of times) if (until <= time) times.delete(caller)
}
