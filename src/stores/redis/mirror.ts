import { type Budget, outOfMemory } from '../../budget.ts'
import { partLost } from '../../ends.ts'
import { ChatError } from '../../errors.ts'
import { createLog, cut, extend, fail, forget, lengthOf, type Log } from '../../log.ts'
import { bytesOfAll } from '../../memory.ts'
import type { Commands, RedisLink } from './commands.ts'

export interface MirrorOptions {
  readonly id: string
  /** Where it begins: the number before its first delta. */
  readonly after: number
  readonly commands: Commands
  readonly subscribe: RedisLink['subscribe']
  readonly leaseMs: number
  readonly budget: Budget
  /** Runs once, when it follows no more. */
  readonly onEnd: () => void
}

/** A reply that another instance produces, as far as its readers here need it. However many they are, it is fetched once. */
export interface Mirror {
  readonly log: Log
  /** A reader came; call the result when it left. Without readers the mirror ends. */
  join(): () => void
}

/** Deltas in the first answer of Redis, in any one, and about how many bytes of them in one that follows. */
const FIRST_PAGE = 100
const PAGE = 500
const PAGE_BYTES = 1024 * 1024
/** A reader says so often that it is there, and looks whether the producer is. */
const LOOK_MS = 750
/** The same where nothing is published. */
const POLL_MS = 150
const RETRY_MS = 250

/**
 * Follows a reply from Redis until it is sealed, lost, or read no more. Its readers are told: `not-found` or `gone` when
 * it is not there, `store-unavailable` when Redis could not be reached for a lease, `overloaded` when there is no memory
 * for it any more.
 */
export function createMirror(options: MirrorOptions): Mirror {
  const { id, after, commands, subscribe, leaseMs, budget, onEnd } = options
  const log = createLog(after, budget.open({ onOverload: drop, copy: true }))
  let readers = 0
  let over = false
  let rung = false
  let wake = (): void => {}
  let unsubscribe: (() => void) | undefined
  let known = false
  let pageLength = FIRST_PAGE

  function ring(): void {
    rung = true
    wake()
  }

  /** Resolves when something was published, or after `ms`. */
  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms)
      function done(): void {
        clearTimeout(timer)
        resolve()
      }
      wake = done
      if (over || rung) done()
    })
  }

  async function listen(): Promise<void> {
    try {
      const end = await subscribe?.(commands.channelOf(id), ring)
      unsubscribe = end
      if (over) end?.()
      // What came before the subscription was there is fetched now.
      else ring()
    } catch {
      // Then it asks again and again.
    }
  }

  async function fetch(): Promise<void> {
    for (;;) {
      const asked = pageLength
      const page = await commands.range(id, lengthOf(log), asked)
      if (over) return
      if (page.length > 0) known = true
      extend(log, page)
      if (log.sealed || page.length < asked) return
      pageLength = Math.max(1, Math.min(PAGE, Math.floor((asked * PAGE_BYTES) / bytesOfAll(page))))
    }
  }

  /** Whether there is more to fetch. @throws `not-found` or `gone`. */
  async function look(): Promise<boolean> {
    const state = await commands.look(id, true)
    const length = lengthOf(log)
    if (!state)
      throw known
        ? partLost()
        : new ChatError('not-found', 'There is no reply with this id, or none any more.')
    known = true
    if (state.lost) throw partLost()
    if (state.sealed && state.length <= length) endAt(state.length)
    return state.length > length
  }

  /** The log is sealed here: for a reader who has it all already there is no more, any other has lost something. */
  function endAt(length: number): void {
    if (length !== log.base || log.deltas.length > 0) throw partLost()
    log.sealed = true
    extend(log, [])
  }

  async function follow(): Promise<void> {
    let reachedAt = performance.now()
    let lookedAt = -Infinity
    while (!over && !log.sealed) {
      rung = false
      try {
        await fetch()
        reachedAt = performance.now()
        if (over || log.sealed) break
        if (reachedAt - lookedAt >= LOOK_MS) {
          const more = await look()
          lookedAt = performance.now()
          if (more) continue
        }
      } catch (error) {
        if (error instanceof ChatError) return fail(log, error)
        if (performance.now() - reachedAt > leaseMs + 1000) return fail(log, unreachable(error))
        await pause(RETRY_MS)
        continue
      }
      await pause(unsubscribe ? LOOK_MS : POLL_MS)
    }
  }

  async function run(): Promise<void> {
    void listen() // never rejects
    await follow()
    end()
  }

  function end(): void {
    if (over) return
    over = true
    wake()
    unsubscribe?.()
    forget(log)
    onEnd()
  }

  /** Ends it because the memory is needed. Its readers can resume: the log is in Redis. */
  function drop(): void {
    cut(log, outOfMemory('The copy of this reply was dropped'))
    end()
  }

  return {
    log,
    join() {
      if (readers++ === 0) void run() // never rejects: what goes wrong its readers are told
      return () => {
        if (--readers === 0) end()
      }
    },
  }
}

function unreachable(cause: unknown): ChatError {
  return new ChatError(
    'store-unavailable',
    'The store of replies cannot be reached. Come back in a moment.',
    { cause },
  )
}
