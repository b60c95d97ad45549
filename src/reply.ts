import { errorOf, terminalFor, withoutRetry } from './chat.ts'
import { ChatError, toChatError } from './errors.ts'
import { sizeOf } from './size.ts'
import { splitLong } from './split.ts'
import { setTimer } from './timer.ts'
import { type ChatDelta, isTerminal, type StreamStore, type Usage } from './types.ts'

export interface ReplyOptions {
  readonly id: string
  /** Whose it is. Default `''`. */
  readonly owner?: string | undefined
  readonly store: StreamStore
  /** What the reply begins with when it is ended before its producer said anything. */
  readonly start: ChatDelta
  /** Makes the deltas, from `start` on, in batches; ends soon after its signal aborts, and says what no delta says. */
  readonly produce: (signal: AbortSignal, told: Told) => AsyncIterable<readonly ChatDelta[]>
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
  /** Told when a reader has read to the end for the first time: it can be before `onEnd`, or after. Must not reject. */
  readonly onSeen?: (() => Promise<void>) | undefined
  /** Runs last, once; `settled` waits for it. Must not reject. */
  readonly onEnd?: ((end: ReplyEnd) => Promise<void>) | undefined
}

/** How a reply ended, where its last delta does not say it. */
export interface ReplyEnd {
  readonly failure: ChatError | undefined
  readonly upstream: string | undefined
  /** Whether nobody has read to its end yet, and nobody had asked for that end. */
  readonly missed: boolean
}

export interface Told {
  /** The failure behind an `error`. */
  readonly onError: (error: ChatError) => void
  /** The model's server has taken the request; which one, where there are several. */
  readonly onAccept: (upstream?: string) => void
  /** What the steps so far have cost. */
  readonly onUsage: (usage: Usage) => void
  /** A tool of this service runs: asking again would run it twice. */
  readonly onToolRun: () => void
}

/** A reply that is being produced. */
export interface Reply {
  readonly id: string
  readonly owner: string
  /** Resolves, never rejects, when the producer has ended and the log is sealed. */
  readonly settled: Promise<void>
  /** What ended the reply, when it ended as an error. */
  readonly failure: ChatError | undefined
  /** Whether the model's server has taken the request: before that it costs nothing. */
  readonly accepted: boolean
  /** Which upstream answers, where there are several, as soon as one has taken the request. */
  readonly upstream: string | undefined
  /** Whether nothing more will be said, though its end may still be on its way into the log. */
  readonly over: boolean
  /** Seals the log with what `reason` says and aborts the upstream. False when the reply was over already. */
  stop(reason: ChatError): Promise<boolean>
  /** Its conversation went on: it ends as soon as nobody reads it any more, without waiting for who may come back. */
  supersede(): void
  /** How many readers there are, here. */
  readonly readers: number
  /** A reader came; call the result when it left. Without readers the reply ends after `lingerMs`. */
  join(): Leave
}

/** Says that a reader has left, and whether it had read to the end. Resolves, never rejects, when all have heard of it. */
export type Leave = (toTheEnd?: boolean) => Promise<void> | undefined

/**
 * Starts a reply: records what is produced at the upstream's pace, whoever reads and however slowly.
 * Its log must exist already.
 */
export function startReply(options: ReplyOptions): Reply {
  const { id, owner = '', store, start, produce, lingerMs, totalTimeoutMs, maxBytes, onDelta } = options
  const controller = new AbortController()
  let readers = 0
  let recorded = 0
  let size = 0
  let over = false
  let endTold = false
  let superseded = false
  let stopped = false
  let seen = false
  let failure: ChatError | undefined
  let accepted = false
  let upstream: string | undefined
  let spent: Usage | undefined
  let ran = false
  /** The end that somebody else than the producer is putting into the log. */
  let ending: Promise<boolean> | undefined
  const told: Told = {
    onError: (error) => void (failure ??= error),
    onAccept: (name) => {
      accepted = true
      upstream = name
      options.onAccept?.()
    },
    onUsage: (usage) => void (spent = usage),
    onToolRun: () => void (ran = true),
  }
  let linger: ReturnType<typeof setTimeout> | undefined
  const deadline = setTimer(() => {
    const text = `The answer was not complete after ${totalTimeoutMs} ms, which is all the time it may take.`
    end(new ChatError('deadline', text))
  }, totalTimeoutMs)

  async function seal(reason: ChatError, terminal: ChatDelta): Promise<boolean> {
    const deltas: ChatDelta[] = recorded === 0 ? [start, terminal] : [terminal]
    if (spent) deltas.splice(-1, 0, { type: 'usage', ...spent })
    recorded++
    const end = await store.append(id, deltas)
    // The producer's own end, or another instance's, was there first.
    if (end) return otherEnd(end)
    if (terminal.type === 'error') failure ??= reason
    for (const one of deltas) tellDelta(one)
    return true
  }

  function otherEnd(end: ChatDelta): false {
    if (!endTold && end.type === 'error') failure ??= errorOf(end)
    if (!endTold) tellDelta(end)
    return false
  }

  function tellDelta(delta: ChatDelta): void {
    endTold ||= isTerminal(delta)
    onDelta?.(delta)
  }

  // The log is sealed first: readers see the end at once, even when the upstream is slow to obey. A store that is slow
  // is not waited for: what the upstream still says costs, and nobody hears it.
  async function stop(cause: ChatError, end?: ChatDelta): Promise<boolean> {
    if (over) return false
    const reason = ran ? withoutRetry(cause) : cause
    const terminal = end ?? terminalFor(reason)
    over = true
    stopped = terminal.type === 'finish' && terminal.raw === undefined
    ending = seal(reason, terminal)
    controller.abort(reason)
    return ending
  }

  function end(reason: ChatError, terminal?: ChatDelta): void {
    stop(reason, terminal).catch(() => {
      // The store is failing: run() tries once more, and tells.
    })
  }

  async function record(): Promise<void> {
    for await (const made of produce(controller.signal, told)) {
      if (over) return
      const deltas = fitting(splitLong(made))
      recorded += deltas.length
      // Goes on even so: the generator's next step cleans up after its last delta.
      over = deltas.some(isTerminal)
      const appending = deltas.length > 0 ? store.append(id, deltas) : undefined
      const end = appending && ('then' in appending ? await appending : appending)
      if (end) {
        // Sealed already, and not from here: another instance did it, or the store lost it.
        over = true
        otherEnd(end)
        return
      }
      for (const delta of deltas) tellDelta(delta)
      if (size > maxBytes) {
        await stop(new ChatError('reply-too-large', `The answer grew larger than ${maxBytes} bytes.`))
        return
      }
    }
  }

  /** As many of them as the reply may still have. */
  function fitting(deltas: readonly ChatDelta[]): readonly ChatDelta[] {
    for (const [at, delta] of deltas.entries()) {
      size += sizeOf(delta)
      if (size > maxBytes) return deltas.slice(0, at)
    }
    return deltas
  }

  // A log without an end would let its readers wait for ever: what could not be written is tried once more.
  async function settleEnd(): Promise<void> {
    try {
      await ending
    } catch (error) {
      const reason = toChatError(error)
      failure ??= reason
      await seal(reason, terminalFor(reason)).catch(() => false)
    }
  }

  async function run(): Promise<void> {
    try {
      await record()
    } catch (error) {
      // The store failed, or the producer broke its promise not to: the log says so if it still can.
      failure ??= toChatError(error)
      if (!ending) over = false
      await stop(failure).catch(() => false)
    } finally {
      over = true
      clearTimeout(deadline)
      clearTimeout(linger)
      controller.abort(ended)
      await settleEnd()
      await options.onEnd?.({ failure, upstream, missed: !seen && !stopped })
    }
  }

  function leave(): void {
    readers--
    if (readers > 0 || over) return
    if (patienceMs() > 0) linger = setTimer(() => void lingerOn(), lingerMs)
    else leaveAlone()
  }

  function patienceMs(): number {
    return superseded ? 0 : Math.max(0, lingerMs)
  }

  function leaveAlone(): void {
    if (store.readAgoMs)
      void lingerOn() // never rejects
    else abandon()
  }

  function abandon(): void {
    end(new ChatError('cancelled', 'Nobody was reading.'), abandoned)
  }

  // Who reads it on another instance keeps it going just as well. Never rejects.
  async function lingerOn(): Promise<void> {
    let agoMs = Infinity
    try {
      if (store.readAgoMs) agoMs = (await store.readAgoMs(id)) ?? Infinity
    } catch {
      // Nobody can read it elsewhere when the store is away.
    }
    if (readers > 0 || over) return
    const leftMs = patienceMs() + READ_MARGIN_MS - agoMs
    if (leftMs > 0) linger = setTimer(() => void lingerOn(), leftMs)
    else abandon()
  }

  function join(): Leave {
    readers++
    clearTimeout(linger)
    let joined = true
    return (toTheEnd = false) => {
      const hearing = toTheEnd && !seen ? options.onSeen?.() : undefined
      seen ||= toTheEnd
      if (joined) leave()
      joined = false
      return hearing
    }
  }

  return {
    id,
    owner,
    settled: run(),
    get failure() {
      return failure
    },
    get over() {
      return over
    },
    get accepted() {
      return accepted || recorded > 0
    },
    get upstream() {
      return upstream
    },
    get readers() {
      return readers
    },
    stop,
    supersede() {
      superseded = true
      clearTimeout(linger)
      if (readers === 0 && !over) leaveAlone()
    },
    join,
  }
}

/** One for all: the platform would make an error, with a stack, for every reply. */
const ended = new ChatError('cancelled', 'The reply is over.')

/** Somebody who was there so long ago on another instance may still be there. */
const READ_MARGIN_MS = 2500

/** The end of a reply that nobody asked to end: whoever comes back all the same sees that it is not whole. */
const abandoned: ChatDelta = { type: 'finish', reason: 'cancelled', raw: 'abandoned' }
