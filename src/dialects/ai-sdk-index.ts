import { partLost } from '../ends.ts'
import { isUnkept } from '../log.ts'
import { sizeOf } from '../size.ts'
import { type ChatDelta, isTerminal, type StreamStore } from '../types.ts'
import { createUiChunks, type UiChunks } from './ai-sdk-stream.ts'

/** A place in a log where the translation into chunks can be continued. */
export interface Checkpoint {
  /** The deltas before it. */
  readonly seq: number
  /** The chunks before it. */
  readonly count: number
  /** What translates the next delta; to be forked, not used. */
  readonly chunksOf: UiChunks
}

/** The chunks of a reply as far as they are counted. */
export interface Counted {
  readonly count: number
  /** Whether that is all. */
  readonly sealed: boolean
  /** A place from which the chunk at `index` is not far. */
  near(index: number): Checkpoint
}

/** Counts the chunks of replies: each delta once, however many requests name a chunk by its index. */
export interface ChunkIndex {
  /**
   * Counts what a reply holds now. Undefined when there is no such reply.
   * Whether a request may see the reply has to be checked before.
   */
  count(id: string, signal: AbortSignal): Promise<Counted | undefined>
}

/** A checkpoint with its number. */
interface Mark extends Checkpoint {
  readonly number: number
}

interface Entry {
  readonly id: string
  /** In order; the first one is the beginning. */
  checkpoints: readonly Mark[]
  /** Checkpoints that were made, and the distance of those that stay. */
  marks: number
  stride: number
  /** Behind the last delta that is counted. Its `chunksOf` is used for the next one. */
  head: Checkpoint
  /** Deltas since the last checkpoint, and characters in them. */
  deltas: number
  length: number
  sealed: boolean
  /** Of memory, roughly, when it was last looked at. */
  bytes: number
  run: Run | undefined
}

/** One reading of the log, for all requests that need it. */
interface Run {
  readonly done: Promise<void>
  readonly abort: AbortController
  waiters: number
}

/** Deltas, or characters in them, between two checkpoints. */
const GAP_DELTAS = 256
const GAP_LENGTH = 65_536
/** Above `MAX_CHECKPOINTS` every second one is dropped, but not the newest: most requests name one of the last chunks. */
const MAX_CHECKPOINTS = 64
const DENSE = 8
/** Bytes of memory that the checkpoints of one reply, and of all of them, should take. */
const MAX_ENTRY_BYTES = 256 * 1024
const MAX_BYTES = 4 * 1024 * 1024
/** Deltas that are counted before others get a turn. */
const TURN_DELTAS = 4096

/** Creates the index of an instance. It holds no text but the arguments of calls that are not complete. */
export function createChunkIndex(store: Pick<StreamStore, 'read' | 'state'>): ChunkIndex {
  /** The one that was used last is the last one. */
  const entries = new Map<string, Entry>()
  let bytes = 0

  function use(id: string): Entry {
    const entry = entries.get(id) ?? newEntry(id)
    entries.delete(id)
    entries.set(id, entry)
    return entry
  }

  function forget(entry: Entry): void {
    if (entries.get(entry.id) !== entry) return
    entries.delete(entry.id)
    bytes -= entry.bytes
  }

  function weigh(entry: Entry): void {
    if (entries.get(entry.id) !== entry) return
    const before = entry.bytes
    entry.bytes = bytesOf(entry)
    if (entry.bytes > MAX_ENTRY_BYTES) {
      entry.checkpoints = [entry.checkpoints[0]!, ...entry.checkpoints.slice(1).slice(-1)]
      entry.bytes = bytesOf(entry)
    }
    bytes += entry.bytes - before
    for (const old of entries.values()) {
      if (bytes <= MAX_BYTES || old === entry) return
      forget(old)
    }
  }

  /** Reads on until the entry has `length` deltas. */
  async function read(entry: Entry, length: number, signal: AbortSignal): Promise<void> {
    let turn = 0
    for await (const batch of store.read(entry.id, { after: entry.head.seq, signal })) {
      for (const delta of batch) {
        // An end that is in no log may not be the end that the log will have.
        if (signal.aborted || isUnkept(delta)) return
        add(entry, delta)
      }
      if (entry.head.seq >= length) return
      turn += batch.length
      if (turn < TURN_DELTAS) continue
      turn = 0
      await new Promise((resolve) => setTimeout(resolve))
    }
    if (!signal.aborted) throw partLost()
  }

  function start(entry: Entry, length: number): Run {
    const abort = new AbortController()
    const done = read(entry, length, abort.signal).finally(() => {
      if (entry.run === run) entry.run = undefined
      weigh(entry)
    })
    const run: Run = { done, abort, waiters: 0 }
    return run
  }

  /** Waits for a run. With its last request the run ends. */
  async function waitFor(entry: Entry, run: Run, signal: AbortSignal): Promise<void> {
    let onAbort = (): void => {}
    const left = new Promise<void>((resolve) => (onAbort = resolve))
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    run.waiters++
    try {
      await Promise.race([run.done, left])
    } finally {
      signal.removeEventListener('abort', onAbort)
      if (--run.waiters === 0) {
        if (entry.run === run) entry.run = undefined
        run.abort.abort()
      }
    }
  }

  async function reach(entry: Entry, length: number, signal: AbortSignal): Promise<void> {
    // A run of another request may end before the length that this one needs.
    for (let before = -1; before < entry.head.seq && entry.head.seq < length && !signal.aborted;) {
      before = entry.head.seq
      await waitFor(entry, (entry.run ??= start(entry, length)), signal)
    }
  }

  return {
    async count(id, signal) {
      const entry = use(id)
      if (!entry.sealed) {
        const state = await store.state(id)
        if (!state) {
          forget(entry)
          return undefined
        }
        await reach(entry, state.length, signal)
      }
      const { checkpoints, sealed } = entry
      const here = { ...entry.head, chunksOf: entry.head.chunksOf.fork() }
      return {
        count: here.count,
        sealed,
        near: (index) => [...checkpoints, here].findLast(({ count }) => count <= index) ?? checkpoints[0]!,
      }
    },
  }
}

function newEntry(id: string): Entry {
  const chunksOf = createUiChunks(id)
  const beginning = { seq: 0, count: 0, chunksOf }
  const head = { ...beginning, chunksOf: chunksOf.fork() }
  return {
    id,
    checkpoints: [{ ...beginning, number: 0 }],
    marks: 1,
    stride: 1,
    head,
    deltas: 0,
    length: 0,
    sealed: false,
    bytes: 0,
    run: undefined,
  }
}

function add(entry: Entry, delta: ChatDelta): void {
  // The last chunks of a finished reply are those that are named most.
  if (isTerminal(delta) && entry.deltas > 0) mark(entry)
  const { seq, count, chunksOf } = entry.head
  entry.head = { seq: seq + 1, count: count + chunksOf.read(delta).length, chunksOf }
  entry.sealed ||= isTerminal(delta)
  entry.deltas++
  entry.length += sizeOf(delta)
  // A fork copies every call.
  const due = entry.deltas >= GAP_DELTAS || entry.length >= GAP_LENGTH
  if (due && entry.deltas >= chunksOf.calls) mark(entry)
}

function mark(entry: Entry): void {
  const { seq, count, chunksOf } = entry.head
  const checkpoint = { seq, count, chunksOf: chunksOf.fork(), number: entry.marks++ }
  entry.checkpoints = thinned([...entry.checkpoints, checkpoint], entry.stride)
  if (entry.checkpoints.length > MAX_CHECKPOINTS) {
    entry.stride *= 2
    entry.checkpoints = thinned(entry.checkpoints, entry.stride)
  }
  entry.deltas = 0
  entry.length = 0
}

function thinned(checkpoints: readonly Mark[], stride: number): readonly Mark[] {
  const dense = checkpoints.length - DENSE
  return checkpoints.filter(({ number }, at) => number % stride === 0 || at >= dense)
}

/** What a checkpoint and a call in it take, roughly. */
const OBJECT_BYTES = 300

function bytesOf({ checkpoints, head }: Entry): number {
  return [...checkpoints, head].reduce((sum, { chunksOf: { calls, openLength } }) => {
    return sum + OBJECT_BYTES * (1 + calls) + 2 * openLength
  }, 0)
}
