import { ChatError } from '../errors.ts'
import { type ChatDelta, isTerminal, type StreamStore } from '../types.ts'

export interface MemoryStoreOptions {
  /** How long a sealed reply can be read, in milliseconds. Default ten minutes. */
  readonly ttlMs?: number | undefined
  /** Characters of all sealed replies together; above it the oldest are forgotten early. Default 64 Mi. */
  readonly maxBytes?: number | undefined
  /** Milliseconds, from any origin. */
  readonly now?: (() => number) | undefined
}

interface Log {
  readonly deltas: ChatDelta[]
  bytes: number
  sealedAt: number | undefined
  readonly waiting: Set<() => void>
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
  const logs = new Map<string, Log>()
  /** Sealed logs, the oldest first. */
  const sealed = new Map<string, Log>()
  let sealedBytes = 0

  function forgetOld(): void {
    const time = now()
    for (const [id, log] of sealed) {
      if (sealedBytes <= maxBytes && (log.sealedAt ?? time) + ttlMs > time) return
      sealed.delete(id)
      logs.delete(id)
      sealedBytes -= log.bytes
    }
  }

  return {
    create(id) {
      forgetOld()
      if (logs.has(id)) throw new ChatError('internal', 'There is a reply under this id already.')
      logs.set(id, { deltas: [], bytes: 0, sealedAt: undefined, waiting: new Set() })
    },

    append(id, deltas) {
      const log = logs.get(id)
      if (!log || log.sealedAt !== undefined) return false
      for (const delta of deltas) {
        log.deltas.push(delta)
        log.bytes += sizeOf(delta)
        if (!isTerminal(delta)) continue
        log.sealedAt = now()
        sealed.set(id, log)
        sealedBytes += log.bytes
        break
      }
      wake(log)
      return true
    },

    read(id, { after, signal }) {
      forgetOld()
      const log = logs.get(id)
      if (!log) throw new ChatError('not-found', 'There is no reply with this id, or none any more.')
      return createReader(log, after, signal)
    },

    state(id) {
      forgetOld()
      const log = logs.get(id)
      return log && { length: log.deltas.length, sealed: log.sealedAt !== undefined }
    },
  }
}

type Batch = IteratorResult<readonly ChatDelta[], undefined>

/** Reads one log, hand-written rather than a generator: a pull that finds something takes no detour. */
function createReader(
  log: Log,
  after: number,
  signal: AbortSignal,
): AsyncIterableIterator<readonly ChatDelta[]> {
  const end: Batch = { value: undefined, done: true }
  let cursor = after
  let closed = false
  let resolve: ((batch: Batch) => void) | undefined

  function advance(): void {
    if (!resolve) return
    const over = closed || signal.aborted
    if (!over && cursor >= log.deltas.length && log.sealedAt === undefined) return
    const settle = resolve
    resolve = undefined
    if (over || cursor >= log.deltas.length) {
      close()
      settle(end)
      return
    }
    const value = log.deltas.slice(cursor)
    cursor = log.deltas.length
    settle({ value, done: false })
  }

  function close(): void {
    closed = true
    log.waiting.delete(advance)
    signal.removeEventListener('abort', advance)
  }

  log.waiting.add(advance)
  signal.addEventListener('abort', advance, { once: true })

  return {
    next() {
      return new Promise<Batch>((settle) => {
        resolve = settle
        advance()
      })
    },
    async return() {
      close()
      advance()
      return end
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

function wake(log: Log): void {
  for (const advance of log.waiting) advance()
}

// Characters it holds, plus what the object itself costs, roughly.
function sizeOf(delta: ChatDelta): number {
  switch (delta.type) {
    case 'text':
    case 'reasoning':
    case 'refusal':
      return 64 + delta.text.length
    case 'tool-call':
      return 128 + delta.arguments.length
    case 'source':
      return 128 + delta.url.length
    default:
      return 256
  }
}
