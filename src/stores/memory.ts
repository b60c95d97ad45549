import { type Budget, createBudget, outOfMemory } from '../budget.ts'
import { gone, stopped } from '../ends.ts'
import { ChatError } from '../errors.ts'
import {
  createLog,
  cut,
  extend,
  forget as forgetLog,
  lengthOf,
  type Log,
  readLog,
  terminalOf,
} from '../log.ts'
import type { Ask, Binding, CreateOptions, ReplyState, StreamStore } from '../types.ts'

export interface MemoryStoreOptions {
  /** How long a sealed reply can be read, in milliseconds. Default ten minutes. */
  readonly ttlMs?: number | undefined
  /**
   * Bytes of memory that all replies may take, running and finished ones together. Before that, new replies are
   * refused and finished ones are forgotten early; see `Budget`. Default 134217728 (128 MiB).
   */
  readonly maxBytes?: number | undefined
  /** Counts the memory, in place of `maxBytes`: for several stores in one process. */
  readonly budget?: Budget | undefined
  /** Milliseconds, from any origin. */
  readonly now?: (() => number) | undefined
}

interface Entry {
  readonly log: Log
  readonly owner: string
  readonly onAsk: ((ask: Ask) => void) | undefined
  /** Names bound to it: they are forgotten together. */
  readonly names: Set<string>
  sealedAt: number | undefined
}

/** Memory of a name, beside its text. */
const NAME_BYTES = 160

/**
 * Keeps replies in this process: good for one server and for tests.
 *
 * A sealed reply is forgotten after `ttlMs`, or earlier when the memory is needed; then reading it throws `not-found`.
 * A reader that is reading it already gets it to its end. Expired replies are forgotten when replies are opened or
 * looked up, without a timer.
 */
export function createMemoryStore({
  ttlMs = 600_000,
  maxBytes,
  now = () => performance.now(),
  budget = createBudget({ maxBytes, now }),
}: MemoryStoreOptions = {}): StreamStore {
  const entries = new Map<string, Entry>()
  /** Sealed ones, the oldest first. */
  const sealed = new Map<string, Entry>()
  const names = new Map<string, Binding>()

  function forgetOld(): void {
    const time = now()
    for (const [id, entry] of sealed) {
      if ((entry.sealedAt ?? time) + ttlMs > time) return
      forget(id, entry)
    }
  }

  function forget(id: string, entry: Entry): void {
    entries.delete(id)
    sealed.delete(id)
    forgetLog(entry.log)
    for (const name of entry.names) if (names.get(name)?.id === id) names.delete(name)
  }

  function stateOf({ log, owner }: Entry): ReplyState {
    return { length: lengthOf(log), sealed: log.sealed, owner, terminal: terminalOf(log) }
  }

  function seal(id: string, entry: Entry): void {
    const { log } = entry
    entry.sealedAt = now()
    sealed.set(id, entry)
    if (log.account?.overloaded) cut(log, outOfMemory('A part of the reply was dropped'))
    log.account?.finish(() => forget(id, entry), ttlMs)
  }

  const store: StreamStore = {
    budget,

    create(id, { owner = '', caller, onAsk, onOverload }: CreateOptions = {}) {
      forgetOld()
      if (entries.has(id)) throw new ChatError('internal', 'There is a reply under this id already.')
      const log = createLog(0, budget.open({ caller, onOverload }))
      entries.set(id, { log, owner, onAsk, names: new Set(), sealedAt: undefined })
      return true
    },

    discard(id) {
      const entry = entries.get(id)
      if (entry && entry.sealedAt === undefined) forget(id, entry)
    },

    append(id, deltas) {
      const entry = entries.get(id)
      if (!entry) return gone
      const { log } = entry
      if (log.sealed) return terminalOf(log)
      extend(log, deltas)
      if (log.sealed) seal(id, entry)
      return undefined
    },

    read(id, options) {
      forgetOld()
      const entry = entries.get(id)
      if (!entry) throw new ChatError('not-found', 'There is no reply with this id, or none any more.')
      return readLog(entry.log, options)
    },

    state(id) {
      forgetOld()
      const entry = entries.get(id)
      return entry && stateOf(entry)
    },

    async ask(id, ask) {
      forgetOld()
      const entry = entries.get(id)
      if (!entry) return undefined
      if (!entry.log.sealed) {
        entry.onAsk?.(ask)
        if (ask === 'stop' && !entry.onAsk) void store.append(id, [stopped]) // here it is no promise
        if (ask === 'stop') await sealing(entry.log)
      }
      return stateOf(entry)
    },

    claim(name, binding, { replace = false } = {}) {
      forgetOld()
      const before = names.get(name)
      const entry = entries.get(binding.id)
      if (entry && (replace || !before)) {
        names.set(name, binding)
        if (!entry.names.has(name)) entry.log.account?.add(NAME_BYTES + 2 * name.length)
        entry.names.add(name)
      }
      return before?.id === binding.id ? undefined : before
    },

    find(name) {
      forgetOld()
      return names.get(name)
    },

    release(name, id) {
      if (names.get(name)?.id === id) names.delete(name)
    },
  }
  return store
}

/** Resolves when the log is sealed. */
function sealing(log: Log): Promise<void> {
  return new Promise((resolve) => {
    function look(): void {
      if (!log.sealed) return
      log.waiting.delete(look)
      resolve()
    }
    log.waiting.add(look)
    look()
  })
}
