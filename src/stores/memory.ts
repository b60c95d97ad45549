import { gone, stopped } from '../ends.ts'
import { ChatError } from '../errors.ts'
import { createLog, extend, lengthOf, type Log, readLog, terminalOf } from '../log.ts'
import { sizeOf } from '../size.ts'
import type { Ask, Binding, CreateOptions, ReplyState, StreamStore } from '../types.ts'

export interface MemoryStoreOptions {
  /** How long a sealed reply can be read, in milliseconds. Default ten minutes. */
  readonly ttlMs?: number | undefined
  /** Characters of all sealed replies together; above it the oldest are forgotten early. Default 64 Mi. */
  readonly maxBytes?: number | undefined
  /** Milliseconds, from any origin. */
  readonly now?: (() => number) | undefined
}

interface Entry {
  readonly log: Log
  readonly owner: string
  readonly onAsk: ((ask: Ask) => void) | undefined
  /** Names bound to it: they are forgotten together. */
  readonly names: Set<string>
  bytes: number
  sealedAt: number | undefined
}

/**
 * Keeps replies in this process: good for one server and for tests.
 *
 * A sealed reply is forgotten after `ttlMs`, or earlier when all of them exceed `maxBytes`; then reading it throws
 * `not-found`. Who is reading it already gets it to its end. Forgetting happens when replies are opened or looked up,
 * without a timer of its own.
 */
export function createMemoryStore({
  ttlMs = 600_000,
  maxBytes = 64 * 1024 * 1024,
  now = () => performance.now(),
}: MemoryStoreOptions = {}): StreamStore {
  const entries = new Map<string, Entry>()
  /** Sealed ones, the oldest first. */
  const sealed = new Map<string, Entry>()
  const names = new Map<string, Binding>()
  let sealedBytes = 0

  function forgetOld(): void {
    const time = now()
    for (const [id, entry] of sealed) {
      if (sealedBytes <= maxBytes && (entry.sealedAt ?? time) + ttlMs > time) return
      sealed.delete(id)
      forget(id, entry)
      sealedBytes -= entry.bytes
    }
  }

  function forget(id: string, entry: Entry): void {
    entries.delete(id)
    for (const name of entry.names) if (names.get(name)?.id === id) names.delete(name)
  }

  function stateOf({ log, owner }: Entry): ReplyState {
    return { length: lengthOf(log), sealed: log.sealed, owner, terminal: terminalOf(log) }
  }

  const store: StreamStore = {
    create(id, { owner = '', onAsk }: CreateOptions = {}) {
      forgetOld()
      if (entries.has(id)) throw new ChatError('internal', 'There is a reply under this id already.')
      const log = createLog()
      entries.set(id, { log, owner, onAsk, names: new Set(), bytes: 0, sealedAt: undefined })
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
      const before = lengthOf(log)
      extend(log, deltas)
      const taken = lengthOf(log) - before
      for (let at = 0; at < taken; at++) entry.bytes += OBJECT_LENGTH + sizeOf(deltas[at]!)
      if (log.sealed) {
        entry.sealedAt = now()
        sealed.set(id, entry)
        sealedBytes += entry.bytes
      }
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

/** Characters that an object takes beside what it says, roughly. */
const OBJECT_LENGTH = 64
