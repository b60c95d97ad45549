import { ChatError } from './errors.ts'

export interface BudgetOptions {
  /** Bytes that all replies may take together. Default 128 MiB. */
  readonly maxBytes?: number | undefined
  /** Milliseconds, from any origin. */
  readonly now?: (() => number) | undefined
}

/** What an account is opened for. */
export interface AccountOptions {
  /** On whose behalf the memory is taken. Absent = unknown, which has no share of its own. */
  readonly caller?: string | undefined
  /**
   * Ends what grows in this account, because the memory of the process is used up. It runs at most once. Absent = it
   * cannot be ended.
   */
  readonly onOverload?: (() => void) | undefined
  /** Whether little is lost by ending it, because it can be read elsewhere: it is ended before what is a little larger. */
  readonly copy?: boolean | undefined
}

/** The memory that one thing takes: a log, or what belongs to a running reply beside its log. */
export interface Account {
  readonly bytes: number
  /** Whether `onOverload` has run. */
  readonly overloaded: boolean
  /** Counts more bytes, or fewer. */
  add(bytes: number): void
  /**
   * Nothing grows any more. From now on it can be forgotten to make room: `forget` runs then, and must `close` it.
   * After `keepMs`, in milliseconds, it is not to be kept in any case.
   */
  finish(forget: () => void, keepMs?: number): void
  /** Nothing grows any more, and it cannot be forgotten earlier: it will be closed soon. */
  leave(): void
  /** Counts nothing any more. */
  close(): void
}

/**
 * The memory of all replies of one process: those that run, those that have finished and can still be read, and copies
 * of those that run elsewhere.
 *
 * - A new reply is admitted below three quarters of `maxBytes`: those that run will still grow. Finished replies are
 *   forgotten to make room, the oldest first, except for those that finished within the last 30 s: their clients can
 *   be about to resume. Callers who hold more than a quarter of `maxBytes` lose theirs first, also recent ones when
 *   another caller needs the room.
 * - Above `maxBytes` finished replies are forgotten, recent ones too; then what grows is ended, the largest first.
 * - A log that was forgotten while a reader still reads it counts until the reader has left. It can be a quarter more
 *   than `maxBytes` at most, before everything that grows is ended.
 */
export interface Budget {
  readonly maxBytes: number
  /** Bytes that are counted now. */
  readonly used: number
  /** Makes room for a new reply. @throws `ChatError` `overloaded` when there is none. */
  admit(caller?: string): void
  /** Makes room for so many bytes more, of something that can be refused. False when there is none. */
  fits(bytes: number): boolean
  open(options?: AccountOptions): Account
}

const DEFAULT_BYTES = 128 * 1024 * 1024
/** The part of the budget that is kept for the growth of what runs. */
const HEADROOM = 1 / 4
/** The part that the finished replies of one caller may have before they are the first to be forgotten. */
const CALLER_SHARE = 1 / 4
/** The part that may be taken beyond the budget by what only waits for its readers to leave. */
const LEAVING_SHARE = 1 / 4
/** How long a finished reply is not forgotten for a new one, in milliseconds. */
const RECENT_MS = 30_000

/** How many times its size a copy counts when the largest is ended. */
const COPY_WEIGHT = 4

/** A caller's finished replies, the oldest first. */
interface Holding {
  bytes: number
  readonly finished: Set<FinishedAccount>
}

interface FinishedAccount {
  readonly caller: string | undefined
  /** Until when it is not forgotten for a new reply. */
  readonly recentUntil: number
  readonly forget: () => void
}

interface GrowingAccount {
  readonly account: Account
  readonly copy: boolean
  end(): void
}

/** Creates a budget of which nothing is used. */
export function createBudget({
  maxBytes = DEFAULT_BYTES,
  now = () => performance.now(),
}: BudgetOptions = {}): Budget {
  const admitBytes = maxBytes * (1 - HEADROOM)
  const fitBytes = maxBytes * (1 - HEADROOM / 2)
  const callerBytes = maxBytes * CALLER_SHARE
  const hardBytes = maxBytes * (1 + LEAVING_SHARE)
  const growing = new Set<GrowingAccount>()
  const finished = new Set<FinishedAccount>()
  const holdings = new Map<string, Holding>()
  /** Callers who hold more than their share. */
  const large = new Set<string>()
  let used = 0
  /** Bytes of accounts that do not grow and cannot be forgotten. */
  let leaving = 0
  let relieving = false

  function isOver(): boolean {
    return used - leaving > maxBytes || used > hardBytes
  }

  // Not at once: what adds bytes is in the middle of something.
  function relieveSoon(): void {
    if (relieving) return
    relieving = true
    void Promise.resolve().then(() => {
      relieving = false
      relieve()
    })
  }

  function relieve(): void {
    while (isOver()) {
      const [oldest] = finished
      const largest = oldest ? undefined : largestGrowing()
      if (oldest) forgetNow(oldest)
      else if (largest) largest.end()
      else return
    }
  }

  function forgetNow(entry: FinishedAccount): void {
    entry.forget()
    finished.delete(entry) // also where it forgot to
  }

  function largestGrowing(): GrowingAccount | undefined {
    let largest: GrowingAccount | undefined
    let most = -1
    for (const each of growing) {
      const weight = each.account.bytes * (each.copy ? COPY_WEIGHT : 1)
      if (weight <= most) continue
      largest = each
      most = weight
    }
    return largest
  }

  /** Forgets finished replies until at most `target` bytes are used, those that may be forgotten for `caller`. */
  function makeRoom(target: number, caller: string | undefined): void {
    const time = now()
    const isRecent = ({ recentUntil }: FinishedAccount): boolean => time < recentUntil

    /** Forgets those of one list, the oldest first, until there is room or `isDone`. */
    function forgetFrom(
      list: ReadonlySet<FinishedAccount> = finished,
      isDone: (oldest: FinishedAccount) => boolean = isRecent,
    ): void {
      for (const oldest of list) {
        if (used <= target || isDone(oldest)) return
        forgetNow(oldest)
      }
    }

    for (const name of large) forgetFrom(holdings.get(name)?.finished)
    forgetFrom()
    for (const name of large) {
      if (name !== caller) forgetFrom(holdings.get(name)?.finished, () => !large.has(name))
    }
  }

  /** How long until a finished reply can be forgotten for a new one; a second where there is none. */
  function roomInMs(): number {
    const [oldest] = finished
    return Math.max(1000, oldest ? oldest.recentUntil - now() : 0)
  }

  function hold(entry: FinishedAccount, bytes: number): void {
    finished.add(entry)
    if (entry.caller === undefined) return
    const holding = holdings.get(entry.caller) ?? { bytes: 0, finished: new Set() }
    holdings.set(entry.caller, holding)
    holding.finished.add(entry)
    resize(entry.caller, bytes)
  }

  function drop(entry: FinishedAccount, bytes: number): void {
    finished.delete(entry)
    if (entry.caller === undefined) return
    const holding = holdings.get(entry.caller)
    holding?.finished.delete(entry)
    resize(entry.caller, -bytes)
    if (holding?.finished.size === 0) holdings.delete(entry.caller)
  }

  function resize(caller: string, bytes: number): void {
    const holding = holdings.get(caller)
    if (!holding) return
    holding.bytes += bytes
    if (holding.bytes > callerBytes) large.add(caller)
    else large.delete(caller)
  }

  function open({ caller, onOverload, copy = false }: AccountOptions = {}): Account {
    let bytes = 0
    let state: 'open' | 'finished' | 'leaving' | 'closed' = 'open'
    let overloaded = false
    let entry: FinishedAccount | undefined
    let grower: GrowingAccount | undefined

    /** Stops being what it was. */
    function settle(): void {
      if (grower) growing.delete(grower)
      if (entry) drop(entry, bytes)
      if (state === 'leaving') leaving -= bytes
      grower = undefined
      entry = undefined
    }

    const account: Account = {
      get bytes() {
        return bytes
      },
      get overloaded() {
        return overloaded
      },
      add(more) {
        if (state === 'closed') return
        bytes += more
        used += more
        if (state === 'leaving') leaving += more
        else if (entry?.caller !== undefined) resize(entry.caller, more)
        if (used > maxBytes) relieveSoon()
      },
      finish(forget, keepMs = Infinity) {
        if (state === 'closed') return
        settle()
        state = 'finished'
        entry = { caller, recentUntil: now() + Math.min(RECENT_MS, keepMs), forget }
        hold(entry, bytes)
      },
      leave() {
        if (state === 'closed' || state === 'leaving') return
        settle()
        state = 'leaving'
        leaving += bytes
      },
      close() {
        if (state === 'closed') return
        settle()
        state = 'closed'
        used -= bytes
        bytes = 0
      },
    }
    if (onOverload) {
      grower = {
        account,
        copy,
        end() {
          overloaded = true
          account.leave()
          onOverload()
        },
      }
      growing.add(grower)
    }
    return account
  }

  return {
    maxBytes,
    get used() {
      return used
    },
    admit(caller) {
      if (used > admitBytes) makeRoom(admitBytes, caller)
      if (used <= admitBytes) return
      throw new ChatError('overloaded', "This service's memory for replies is full. Try again in a moment.", {
        retryAfterMs: roomInMs(),
      })
    },
    fits(bytes) {
      if (used + bytes > admitBytes) makeRoom(admitBytes - bytes, undefined)
      return used + bytes <= fitBytes
    },
    open,
  }
}

/** What ends a reply, or a reader's copy of one, when memory is used up. */
export function outOfMemory(what: string): ChatError {
  return new ChatError(
    'overloaded',
    `${what}, because the memory of this service is full. Try again in a moment.`,
    {
      retryAfterMs: 1000,
    },
  )
}
