import { ChatError } from './errors.ts'
import { type ChatDelta, isTerminal } from './types.ts'

/** The deltas of one reply as far as this process has them, and who waits for more. */
export interface Log {
  /** The sequence number before the first of `deltas`. */
  readonly base: number
  readonly deltas: ChatDelta[]
  /** Why nothing more comes, where that is no delta. */
  failure: unknown
  sealed: boolean
  readonly waiting: Set<() => void>
}

/** Makes a log that begins after the delta `base`. */
export function createLog(base = 0): Log {
  return { base, deltas: [], failure: undefined, sealed: false, waiting: new Set() }
}

/** The sequence number of the last delta. */
export function lengthOf({ base, deltas }: Log): number {
  return base + deltas.length
}

/** The last delta, where it is terminal. */
export function terminalOf({ sealed, deltas }: Log): ChatDelta | undefined {
  return sealed ? deltas.at(-1) : undefined
}

/** Adds deltas and wakes the readers. A terminal delta seals the log: what stands behind it is dropped. */
export function extend(log: Log, deltas: readonly ChatDelta[]): void {
  for (const delta of deltas) {
    log.deltas.push(delta)
    if (!isTerminal(delta)) continue
    log.sealed = true
    break
  }
  wake(log)
}

/** Tells readers, after what there is, that nothing more can come. */
export function fail(log: Log, error: unknown): void {
  log.failure = error
  wake(log)
}

function wake(log: Log): void {
  for (const advance of log.waiting) advance()
}

/** Ends that are in no log: another end may get their number, for everybody else. */
const unkept = new WeakSet<ChatDelta>()

/** The same end, for readers here alone. */
export function toUnkept(end: ChatDelta): ChatDelta {
  const copy = { ...end }
  unkept.add(copy)
  return copy
}

export function isUnkept(delta: ChatDelta): boolean {
  return isTerminal(delta) && unkept.has(delta)
}

/** The log ended before what a reader says it has: an end that is none of its own. */
function shortened(): ChatError {
  return new ChatError('gone', 'A part of this reply was lost.')
}

type Batch = IteratorResult<readonly ChatDelta[], undefined>

export interface ReadOptions {
  /** At least the log's `base`. */
  readonly after: number
  readonly signal: AbortSignal
  /** Runs once, when the reader reads no more. */
  readonly onClose?: (() => void) | undefined
}

/** Reads one log, hand-written rather than a generator: a pull that finds something takes no detour. */
export function readLog(
  log: Log,
  { after, signal, onClose }: ReadOptions,
): AsyncIterableIterator<readonly ChatDelta[]> {
  const end: Batch = { value: undefined, done: true }
  let cursor = after - log.base
  let closed = false
  let waiter: { resolve(batch: Batch): void; reject(error: unknown): void } | undefined

  function advance(): void {
    if (!waiter) return
    const { resolve, reject } = waiter
    const over = closed || signal.aborted
    const more = cursor < log.deltas.length
    if (!over && !more && !log.sealed && log.failure === undefined) return
    waiter = undefined
    if (!over && more) {
      const value = log.deltas.slice(cursor)
      cursor = log.deltas.length
      resolve({ value, done: false })
      return
    }
    const beyond = log.sealed && cursor > log.deltas.length
    const failed = !over && (!log.sealed || beyond)
    close()
    if (failed) reject(beyond ? shortened() : log.failure)
    else resolve(end)
  }

  function close(): void {
    if (closed) return
    closed = true
    log.waiting.delete(advance)
    signal.removeEventListener('abort', advance)
    onClose?.()
  }

  log.waiting.add(advance)
  signal.addEventListener('abort', advance, { once: true })

  return {
    next() {
      return new Promise<Batch>((resolve, reject) => {
        waiter = { resolve, reject }
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
