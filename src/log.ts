import type { Account } from './budget.ts'
import { partLost } from './ends.ts'
import { bytesOf, bytesOfAll } from './memory.ts'
import { bytesOfPacked, pack, type Packed, unpack } from './packed.ts'
import type { ChatError } from './errors.ts'
import { type Batches, type ChatDelta, isTerminal, type OnBatch, type OnOver } from './types.ts'

/** The deltas of one reply as far as this process has them, and who waits for more. */
export interface Log {
  /** The sequence number before the first delta. */
  readonly base: number
  /** The older ones, `BLOCK` in each; none when they were dropped. */
  packed: Packed[]
  /** How many there were before `deltas`. */
  head: number
  /** The newest ones. */
  deltas: ChatDelta[]
  /** Why nothing more comes, where that is no delta. */
  failure: unknown
  sealed: boolean
  readonly waiting: Set<() => void>
  /** Counts the memory it takes. */
  readonly account: Account | undefined
  readers: number
  /** Whether no new reader can come. */
  forgotten: boolean
}

/** Deltas that are packed together, as soon as so many newer ones are there for readers who keep up. */
const BLOCK = 512

/** Memory of a log without deltas, and of what its store knows of it. */
const LOG_BYTES = 1536

/** Makes a log that begins after the delta `base`. Without an account its memory is not counted. */
export function createLog(base = 0, account?: Account): Log {
  account?.add(LOG_BYTES)
  return {
    base,
    packed: [],
    head: 0,
    deltas: [],
    failure: undefined,
    sealed: false,
    waiting: new Set(),
    account,
    readers: 0,
    forgotten: false,
  }
}

/** The sequence number of the last delta. */
export function lengthOf(log: Log): number {
  return log.base + log.head + log.deltas.length
}

/**
 * Some of the deltas behind the first `count`, at least one where there is one: those of `deltas` from `from` on.
 * Undefined when they were dropped.
 */
export function deltasFrom(
  { head, deltas, packed }: Log,
  count: number,
): { readonly deltas: readonly ChatDelta[]; readonly from: number } | undefined {
  if (count >= head) return { deltas, from: count - head }
  const from = count % BLOCK
  const block = packed[(count - from) / BLOCK]
  return block && { deltas: unpack(block), from }
}

/** The last delta, where it is terminal. */
export function terminalOf({ sealed, deltas }: Log): ChatDelta | undefined {
  return sealed ? deltas.at(-1) : undefined
}

/** Adds deltas and wakes the readers. A terminal delta seals the log: what stands behind it is dropped. */
export function extend(log: Log, deltas: readonly ChatDelta[]): void {
  let bytes = 0
  for (const delta of deltas) {
    log.deltas.push(delta)
    bytes += bytesOf(delta)
    if (!isTerminal(delta)) continue
    log.sealed = true
    break
  }
  // Readers may still be at the array: it is left to them as it is.
  while (log.deltas.length >= 2 * BLOCK) {
    const block = log.deltas.slice(0, BLOCK)
    const packed = pack(block)
    bytes += bytesOfPacked(packed) - bytesOfAll(block)
    log.packed.push(packed)
    log.head += BLOCK
    log.deltas = log.deltas.slice(BLOCK)
  }
  log.account?.add(bytes)
  wake(log)
}

/** Drops all deltas but a terminal one, to free their memory. A reader who has not read them fails with `error`. */
export function cut(log: Log, error: ChatError): void {
  const end = terminalOf(log)
  log.head = lengthOf(log) - log.base - (end ? 1 : 0)
  log.packed = []
  log.deltas = end ? [end] : []
  log.failure ??= error
  const { account } = log
  account?.add(LOG_BYTES + (end ? bytesOf(end) : 0) - account.bytes)
  wake(log)
}

/** No new reader can come. The memory counts until the last one has left. */
export function forget(log: Log): void {
  log.forgotten = true
  if (log.readers === 0) log.account?.close()
  else log.account?.leave()
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

export interface ReadOptions {
  /** At least the log's `base`. */
  readonly after: number
  readonly signal: AbortSignal
  /** Runs once, when the reader reads no more. */
  readonly onClose?: (() => void) | undefined
}

/** Reads one log, hand-written rather than a generator: a pull that finds something takes no detour. */
export function readLog(log: Log, { after, signal, onClose }: ReadOptions): Batches {
  let cursor = after - log.base
  let closed = false
  // Noted, because asking a signal costs as much as all the rest.
  let { aborted } = signal
  let onBatch: OnBatch | undefined
  let onOver: OnOver = () => {}

  function advance(): void {
    if (!onBatch) return
    const over = closed || aborted
    const more = cursor < lengthOf(log) - log.base
    if (!over && !more && !log.sealed && log.failure === undefined) return
    const tell = onBatch
    onBatch = undefined
    const next = !over && more ? deltasFrom(log, cursor) : undefined
    if (next) {
      const { deltas, from } = next
      cursor += deltas.length - from
      tell(deltas, from)
      return
    }
    const beyond = log.sealed && cursor > lengthOf(log) - log.base
    const failed = !over && (!log.sealed || beyond || more)
    close()
    onOver(failed ? { error: beyond ? partLost() : log.failure } : undefined)
  }

  function close(): void {
    if (closed) return
    closed = true
    log.waiting.delete(advance)
    signal.removeEventListener('abort', onAbort)
    log.readers--
    if (log.forgotten && log.readers === 0) log.account?.close()
    onClose?.()
  }

  function onAbort(): void {
    aborted = true
    advance()
  }

  log.readers++
  log.waiting.add(advance)
  signal.addEventListener('abort', onAbort, { once: true })

  return {
    pull(tell, end) {
      onBatch = tell
      onOver = end
      advance()
    },
    next() {
      return new Promise((resolve, reject) => {
        this.pull!(
          (deltas, from) => resolve({ value: deltas.slice(from), done: false }),
          (failure) => (failure ? reject(failure.error) : resolve({ value: undefined, done: true })),
        )
      })
    },
    async return() {
      close()
      advance()
      return { value: undefined, done: true }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** Asks for what comes next, by a promise where a store knows no other way. */
export function pull(batches: Batches, onBatch: OnBatch, onOver: OnOver): void {
  if (batches.pull) batches.pull(onBatch, onOver)
  else tell(batches.next(), onBatch, onOver)
}

/** Tells what a promise of `next()` becomes. */
export function tell(next: ReturnType<Batches['next']>, onBatch: OnBatch, onOver: OnOver): void {
  next.then(
    ({ value, done }) => (done ? onOver() : onBatch(value, 0)),
    (error: unknown) => onOver({ error }),
  )
}
