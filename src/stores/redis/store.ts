import { type Budget, createBudget, outOfMemory } from '../../budget.ts'
import { gone, stopped } from '../../ends.ts'
import { ChatError } from '../../errors.ts'
import { createLog, cut, extend, forget, lengthOf, type Log, readLog, terminalOf } from '../../log.ts'
import { toBase64Url } from '../../names.ts'
import type { Ask, ChatDelta, CreateOptions, ReplyState, StreamStore } from '../../types.ts'
import { createCommands, type RedisLink } from './commands.ts'
import { createHeldNames, type HeldNames } from './held-names.ts'
import { createMirrors } from './mirrors.ts'
import { createQuota } from './quota.ts'
import { limitedWait, shared } from './shared.ts'
import { createUplink, TICK_MS, type Uplink } from './uplink.ts'

export interface RedisStoreOptions {
  /** How long a sealed reply can be read, in milliseconds. Default ten minutes. */
  readonly retentionMs?: number | undefined
  /** How long a producer that is not heard of is taken for alive, in milliseconds. Default 15000. */
  readonly leaseMs?: number | undefined
  /**
   * Bytes of Redis' memory that the finished replies of one caller (a principal, or an address) may take. Above it the
   * caller's own oldest ones are deleted. Default: an eighth of the server's `maxmemory`; 64 MiB where it has none, or
   * may not be asked for it.
   */
  readonly maxBytesPerCaller?: number | undefined
  /**
   * Whether an end that Redis did not take within a second may still be written, for a lease, after the readers here were
   * told, and the quota be applied after a reply is settled. Not on a platform that freezes the process. Default true.
   */
  readonly writesLate?: boolean | undefined
  /** Begins every key and channel. Default `deltarelay`. */
  readonly prefix?: string | undefined
  /**
   * What becomes of new replies while Redis cannot be reached: refused (`fail`), or written without a log, for their
   * first readers alone (`degrade`). Default `fail`.
   */
  readonly down?: 'fail' | 'degrade' | undefined
  /**
   * Bytes of memory that replies may take in this process: those that are produced here, and copies of others for their
   * readers here. Before that, new replies and new copies are refused; see `Budget`. Default 134217728 (128 MiB).
   */
  readonly maxBytes?: number | undefined
  /** Counts the memory, in place of `maxBytes`: for several stores in one process. */
  readonly budget?: Budget | undefined
}

export interface RedisStore extends StreamStore {
  /** Follows and renews nothing any more, and closes what the link has opened. The client is its owner's to close. */
  close(): void
}

/** A reply that is being produced here. */
interface Written {
  readonly log: Log
  readonly owner: string
  readonly onAsk: (ask: Ask) => void
  readonly uplink: Uplink
  readonly names: HeldNames
  /** Whose quota the reply counts for. */
  readonly caller: string
}

/** How long a producer elsewhere has to end a reply that somebody stops, before it is ended without it. */
const STOP_WAIT_MS = 1000
/** How long Redis has to say when a reply was last read elsewhere. */
const READ_WAIT_MS = 300
/** How long the end of a reply waits for its caller's quota, where the process is frozen after it. */
const QUOTA_WAIT_MS = 1000
/** How long a reply that is in no log can still be picked up by the reader it was made for. */
const UNKEPT_MS = 60_000

/**
 * Keeps replies in Redis 7 or newer, for any number of instances. Readers where a reply is produced read along as
 * it comes, those elsewhere as it arrives in Redis; `docs/protocol.md` says what is promised, decision 011 how.
 */
export function createRedisStore(link: RedisLink, options: RedisStoreOptions = {}): RedisStore {
  const { leaseMs = 15_000, prefix = 'deltarelay', down = 'fail', writesLate = true } = options
  const { maxBytes, budget = createBudget({ maxBytes }) } = options
  const retentionMs = Math.max(1000, options.retentionMs ?? 600_000)
  const instance = toBase64Url(crypto.getRandomValues(new Uint8Array(9)))
  const commands = createCommands({ link, prefix, instance, leaseMs, retentionMs })
  const quota = createQuota({ commands, maxBytes: options.maxBytesPerCaller })
  const written = new Map<string, Written>()
  const unkept = new Map<string, { readonly log: Log; readonly owner: string; readonly since: number }>()
  const mirrors = createMirrors({ commands, subscribe: link.subscribe, leaseMs, budget })
  /** Replies that are over and are put on their caller's account. */
  const accounting = new Map<string, Promise<void>>()
  const stop = shared((id) => stopElsewhere(id))
  const probe = shared(() => commands.probe())
  const renewTicks = Math.max(1, Math.floor(Math.min(leaseMs / 4, link.subscribe ? 1000 : 400) / TICK_MS))
  let ticking: ReturnType<typeof setInterval> | undefined
  let ticks = 0
  let listening: Promise<() => void> | undefined

  /** What is asked of the producers here. Without it they hear it when they say that they are alive. */
  function listen(): void {
    listening ??= link.subscribe?.(commands.ownChannel, (message) => {
      const [ask, id = ''] = message.split(' ')
      written.get(id)?.onAsk(ask as Ask) // as `ask` below published it
    })
    listening?.catch(() => (listening = undefined))
  }

  function tick(): void {
    const renews = ++ticks % renewTicks === 0
    for (const { uplink, names } of written.values()) {
      uplink.tick(renews)
      if (renews) names.refresh()
    }
  }

  function write(id: string, options: CreateOptions): void {
    const { owner = '', caller = '', start, onAsk = () => {}, onOverload } = options
    const log = createLog(0, budget.open({ caller, onOverload }))
    const onDone = (): void => over(id)
    const uplink = createUplink({ id, log, start, commands, leaseMs, writesLate, onAsk, onDone })
    const names = createHeldNames(id, commands)
    written.set(id, { log, owner, onAsk, uplink, names, caller })
    ticking ??= setInterval(tick, TICK_MS)
    listen()
  }

  function over(id: string): void {
    const entry = written.get(id)
    done(id)
    if (entry)
      accounting.set(
        id,
        account(id, entry).finally(() => accounting.delete(id)),
      )
  }

  /** What is left to do for a reply that is over. Never rejects. */
  async function account(id: string, { names, owner, caller, uplink }: Written): Promise<void> {
    const { storedBytes } = uplink
    // The names of a log that is lost lead nowhere.
    await names.end(storedBytes > 0 ? retentionMs : 0)
    if (storedBytes === 0) return
    await quota.account(caller, { id, bytes: storedBytes + owner.length, names: names.list })
  }

  function done(id: string): void {
    const log = written.get(id)?.log
    written.delete(id)
    if (log?.account?.overloaded) cut(log, outOfMemory('A part of the reply was dropped'))
    if (log) forget(log)
    if (written.size > 0) return
    clearInterval(ticking)
    ticking = undefined
  }

  function forgetUnkept(): void {
    const now = performance.now()
    for (const [id, { log, since }] of unkept) {
      if (log.sealed && now - since > UNKEPT_MS) dropUnkept(id)
    }
  }

  function dropUnkept(id: string): void {
    const log = unkept.get(id)?.log
    unkept.delete(id)
    if (log) forget(log)
  }

  async function stopElsewhere(id: string): Promise<ReplyState | undefined> {
    let sealed = await commands.ask(id, 'stop')
    if (sealed === false) {
      const until = performance.now() + STOP_WAIT_MS
      for (let waitMs = 10; performance.now() < until; waitMs = Math.min(100, waitMs * 2)) {
        await new Promise((resolve) => setTimeout(resolve, waitMs))
        const state = await commands.look(id, false)
        if (!state || state.sealed) return state
      }
      sealed = await commands.ask(id, 'stop', stopped)
    }
    return sealed === undefined ? undefined : commands.look(id, false)
  }

  async function supersedeElsewhere(id: string): Promise<ReplyState | undefined> {
    return (await commands.ask(id, 'supersede')) === undefined ? undefined : commands.look(id, false)
  }

  return {
    budget,
    leaseMs,

    async create(id, options = {}) {
      if (written.has(id)) throw taken()
      forgetUnkept()
      try {
        if (!(await commands.create(id, options))) throw taken()
      } catch (error) {
        if (error instanceof ChatError) throw error
        if (down === 'fail') throw unavailable(error)
        const { caller, onOverload } = options
        const log = createLog(0, budget.open({ caller, onOverload }))
        unkept.set(id, { log, owner: options.owner ?? '', since: performance.now() })
        return false
      }
      write(id, options)
      return true
    },

    async discard(id) {
      done(id)
      dropUnkept(id)
      // What cannot be deleted now expires, like every log whose producer is gone.
      await commands.discard(id).catch(() => {})
    },

    append(id, deltas) {
      const entry = written.get(id)
      if (entry) {
        const ending = entry.uplink.append(deltas)
        // Nothing runs here when a process that freezes has settled its reply.
        return writesLate || !ending || !('then' in ending)
          ? ending
          : ending.then((end) => limitedWait(accounting.get(id), QUOTA_WAIT_MS).then(() => end))
      }
      const here = unkept.get(id)?.log
      if (!here) return ended(commands.look(id, false))
      if (here.sealed) return terminalOf(here)
      extend(here, deltas)
      if (here.sealed) {
        if (here.account?.overloaded) cut(here, outOfMemory('A part of the reply was dropped'))
        here.account?.finish(() => dropUnkept(id))
      }
      return undefined
    },

    read(id, { after, signal }) {
      const here = written.get(id)?.log ?? unkept.get(id)?.log
      if (here) return readLog(here, { after, signal })
      const mirror = mirrors.from(id, after)
      const leave = mirror.join()
      const reader = readLog(mirror.log, { after, signal, onClose: leave })
      // Nothing is fetched for somebody who is gone.
      if (signal.aborted) void reader.return?.()
      return reader
    },

    state(id, asker) {
      const { log, owner } = written.get(id) ?? unkept.get(id) ?? {}
      if (!log || owner === undefined || (asker !== undefined && asker !== owner)) {
        return reached(commands.look(id, false))
      }
      // Nobody but its first reader is told of a reply that is in no log.
      if (unkept.has(id)) return undefined
      return { length: lengthOf(log), sealed: log.sealed, owner, terminal: terminalOf(log) }
    },

    async ask(id, ask) {
      return reached(ask === 'stop' ? stop(id) : supersedeElsewhere(id))
    },

    async claim(name, binding, { replace = false } = {}) {
      const before = await reached(commands.claim(name, binding, replace))
      if (!before || replace) written.get(binding.id)?.names.add(name)
      return before
    },

    find: (name) => reached(commands.find(name)),

    release(name, id) {
      written.get(id)?.names.delete(name)
      return reached(commands.release(name, id))
    },

    async readAgoMs(id) {
      const uplink = written.get(id)?.uplink
      // Where Redis does not say it at once, what it said last has to do.
      let timer: ReturnType<typeof setTimeout> | undefined
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, READ_WAIT_MS)))
      await Promise.race([uplink?.renew(), late])
      clearTimeout(timer)
      return uplink?.readAgoMs
    },

    async ready() {
      if (down === 'degrade') return true
      // A server that takes no writes, because it is full or cannot save, still serves those who come back: new replies
      // are refused one by one. A read fails where it cannot be reached, is loading, or does not let this user in.
      return probe('').then(
        () => true,
        () => false,
      )
    },

    close() {
      clearInterval(ticking)
      void Promise.resolve(listening)
        .then((end) => end?.())
        .catch(() => {}) // then there is nothing to end
        .finally(() => link.close?.())
    },
  }
}

/** What a log ends with that somebody else ended. */
async function ended(looking: Promise<ReplyState | undefined>): Promise<ChatDelta> {
  try {
    return (await looking)?.terminal ?? gone
  } catch {
    return gone // or out of reach, which is the same for who writes
  }
}

async function reached<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw error instanceof ChatError ? error : unavailable(error)
  }
}

function unavailable(cause: unknown): ChatError {
  return new ChatError(
    'store-unavailable',
    'The store of replies cannot be reached. Try again in a moment.',
    {
      cause,
      retryAfterMs: 1000,
    },
  )
}

function taken(): ChatError {
  return new ChatError('internal', 'There is a reply under this id already.')
}
