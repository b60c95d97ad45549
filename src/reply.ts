import { terminalFor } from './chat.ts'
import { ChatError, toChatError } from './errors.ts'
import { setTimer } from './timer.ts'
import { type ChatDelta, isTerminal, type StreamStore } from './types.ts'

export interface ReplyOptions {
  readonly id: string
  readonly store: StreamStore
  /** What the reply begins with when it is ended before its producer said anything. */
  readonly start: ChatDelta
  /** Makes the deltas, from `start` on; ends soon after its signal aborts, and says what no delta says. */
  readonly produce: (signal: AbortSignal, told: Told) => AsyncIterable<ChatDelta>
  /** How long the reply goes on without a reader, in milliseconds. */
  readonly lingerMs: number
  /** How long the whole answer may take, in milliseconds. */
  readonly totalTimeoutMs: number
  /** How many characters the answer may have. */
  readonly maxBytes: number
  /** Told of every delta that went into the log. */
  readonly onDelta?: ((delta: ChatDelta) => void) | undefined
  /** Told when the model's server has taken the request. */
  readonly onAccept?: (() => void) | undefined
  /** Runs last, once; `settled` waits for it. Must not reject. */
  readonly onEnd?: ((reply: Pick<Reply, 'failure' | 'upstream'>) => Promise<void>) | undefined
}

export interface Told {
  /** The failure behind an `error`. */
  readonly onError: (error: ChatError) => void
  /** The model's server has taken the request; which one, where there are several. */
  readonly onAccept: (upstream?: string) => void
}

/** A reply that is being produced. */
export interface Reply {
  readonly id: string
  /** Resolves, never rejects, when the producer has ended and the log is sealed. */
  readonly settled: Promise<void>
  /** What ended the reply, when it ended as an error. */
  readonly failure: ChatError | undefined
  /** Whether the model's server has taken the request: before that it costs nothing. */
  readonly accepted: boolean
  /** Which upstream answers, where there are several, as soon as one has taken the request. */
  readonly upstream: string | undefined
  /** How many are reading it. */
  readonly readers: number
  /** Seals the log with what `reason` says and aborts the upstream. False when the reply was over already. */
  stop(reason: ChatError): Promise<boolean>
  /** A reader came; call the result when it left. Without readers the reply ends after `lingerMs`. */
  join(): () => void
}

/**
 * Starts a reply: records what is produced at the upstream's pace, whoever reads and however slowly.
 * Its log must exist already.
 */
export function startReply(options: ReplyOptions): Reply {
  const { id, store, start, produce, lingerMs, totalTimeoutMs, maxBytes, onDelta } = options
  const controller = new AbortController()
  let readers = 0
  let recorded = 0
  let size = 0
  let over = false
  let failure: ChatError | undefined
  let accepted = false
  let upstream: string | undefined
  const told: Told = {
    onError: (error) => void (failure ??= error),
    onAccept: (name) => {
      accepted = true
      upstream = name
      options.onAccept?.()
    },
  }
  let linger: ReturnType<typeof setTimeout> | undefined
  const deadline = setTimer(() => {
    const text = `The answer was not complete after ${totalTimeoutMs} ms, which is all the time it may take.`
    end(new ChatError('deadline', text))
  }, totalTimeoutMs)

  async function append(delta: ChatDelta): Promise<boolean> {
    const deltas = recorded === 0 && delta.type !== 'start' ? [start, delta] : [delta]
    recorded++
    const added = store.append(id, deltas)
    if (added === true || (typeof added !== 'boolean' && (await added)))
      for (const one of deltas) onDelta?.(one)
    return added
  }

  // The log is sealed first: readers see the end at once, even when the upstream is slow to obey.
  async function stop(reason: ChatError): Promise<boolean> {
    if (over) return false
    over = true
    try {
      const terminal = terminalFor(reason)
      if (terminal.type === 'error') failure ??= reason
      return await append(terminal)
    } finally {
      controller.abort(reason)
    }
  }

  function end(reason: ChatError): void {
    stop(reason).catch(() => {
      // The store is failing: the producer, aborted all the same, meets that error too.
    })
  }

  async function record(): Promise<void> {
    for await (const delta of produce(controller.signal, told)) {
      if (over) return
      size += lengthOf(delta)
      if (size > maxBytes) {
        await stop(new ChatError('reply-too-large', `The answer grew larger than ${maxBytes} bytes.`))
        return
      }
      recorded++
      const added = store.append(id, [delta])
      if (!(typeof added === 'boolean' ? added : await added)) return
      onDelta?.(delta)
      // Goes on even so: the generator's next step cleans up after its last delta.
      if (isTerminal(delta)) over = true
    }
  }

  async function run(): Promise<void> {
    try {
      await record()
    } catch (error) {
      // The store failed, or the producer broke its promise not to: the log says so if it still can.
      failure ??= toChatError(error)
      await stop(failure).catch(() => false)
    } finally {
      over = true
      clearTimeout(deadline)
      clearTimeout(linger)
      controller.abort()
      await options.onEnd?.({ failure, upstream })
    }
  }

  function join(): () => void {
    readers++
    clearTimeout(linger)
    let joined = true
    return () => {
      if (!joined) return
      joined = false
      readers--
      if (readers > 0 || over) return
      const reason = new ChatError('cancelled', 'Nobody was reading.')
      if (lingerMs <= 0) end(reason)
      else linger = setTimer(() => end(reason), lingerMs)
    }
  }

  return {
    id,
    settled: run(),
    get failure() {
      return failure
    },
    get readers() {
      return readers
    },
    get accepted() {
      return accepted || recorded > 0
    },
    get upstream() {
      return upstream
    },
    stop,
    join,
  }
}

function lengthOf(delta: ChatDelta): number {
  if (delta.type === 'tool-call') return delta.arguments.length
  if (delta.type === 'tool-result') return JSON.stringify(delta.result)?.length ?? 0
  return 'text' in delta ? delta.text.length : 0
}
