import { deltasFrom, extend, lengthOf, type Log, terminalOf, toUnkept } from '../../log.ts'
import { bytesOfAll } from '../../memory.ts'
import { type Ask, type ChatDelta, isTerminal } from '../../types.ts'
import { type Answer, type Commands, MAX_SMALL_BYTES, MAX_SMALL_LENGTH } from './commands.ts'
import { utf8Length } from './utf8.ts'

export interface UplinkOptions {
  readonly id: string
  /** What the readers here see. */
  readonly log: Log
  /** The first delta, where Redis has it already. */
  readonly start?: ChatDelta | undefined
  readonly commands: Commands
  readonly leaseMs: number
  readonly onAsk: (ask: Ask) => void
  /** Whether an end that Redis did not take in time may still be written after its readers here were told. Default true. */
  readonly writesLate?: boolean | undefined
  /** Runs once, when nothing more is sent. */
  readonly onDone: () => void
}

/** Carries one reply from its producer into Redis, and shows what is kept to its readers here. */
export interface Uplink {
  /** As `append` of a store. */
  append(deltas: readonly ChatDelta[]): ChatDelta | undefined | Promise<ChatDelta | undefined>
  /** To be called every `TICK_MS`: readers are not held up by a Redis that is late. `renews`: it is time to renew the lease. */
  tick(renews: boolean): void
  /** Says that the producer is alive, and hears what is asked of it. Never rejects. */
  renew(): Promise<void>
  /** About how many bytes of Redis' memory the reply takes: 0 when Redis has lost it. */
  readonly storedBytes: number
  /** How long ago, in milliseconds, the reply was read on another instance; undefined = never. */
  readonly readAgoMs: number | undefined
}

export const TICK_MS = 100
/** Readers wait for Redis for so many ticks; then they go on without it. Busy machines are late by two, now and then. */
const PATIENT_TICKS = 3

/** Deltas, and about how many characters of them, in one command. */
const GROUP_LENGTH = 500
const GROUP_BYTES = 256 * 1024

/**
 * Bytes that Redis 7.0 takes for a finished reply beside its deltas, measured with MEMORY USAGE: its two keys and its
 * place on the account of its caller; for a log that was not rewritten at its end the rest of its last node as well; and
 * for each delta what the stream keeps with it.
 */
const REPLY_BYTES = 1200
const OPEN_NODE_BYTES = 4096
const ENTRY_BYTES = 16

/** The end of a reply on its way into the log. */
interface Closing {
  readonly terminal: ChatDelta
  readonly since: number
  readonly settle: (end: ChatDelta | undefined) => void
}

/** How long an end that claims nothing is held back when Redis does not take it, in milliseconds. */
const END_WAIT_MS = 1000

/** What the readers here are told when the end could not be kept: they have seen everything, but nobody will again. */
const incomplete: ChatDelta = {
  type: 'error',
  code: 'log-incomplete',
  message: 'The whole answer was sent, but it could not be kept: it cannot be read again.',
  retryable: false,
}

/**
 * Starts to carry a reply. Deltas are sent in groups: while one group is on its way the next one gathers. Readers see
 * them when Redis has them, so that nobody can have seen what is lost with this process; while Redis is late or away,
 * they see them at once, and it gets what it missed when it is back. The end is shown only when all of it is kept; if
 * that does not succeed within a lease, `finish` becomes an `error`.
 */
export function createUplink(options: UplinkOptions): Uplink {
  const { id, log, start, commands, leaseMs, writesLate = true, onAsk, onDone } = options
  /** What readers do not see yet, behind what is in the log. */
  const pending: ChatDelta[] = []
  /** Deltas that are known to be in Redis. */
  let kept = start ? 1 : 0
  let closing: Closing | undefined
  let closed: Promise<ChatDelta | undefined> | undefined
  let sending = false
  let renewing: Promise<void> | undefined
  /** Whether Redis is late: what it has not is shown all the same. */
  let late = false
  let lost = false
  /** Whether Redis could not be told that the producer is alive. */
  let unheard = false
  let readAt: number | undefined
  /** Deltas that were sent at least once, and their bytes. */
  let sentCount = kept
  let sentBytes = start ? utf8Length(JSON.stringify(start)) + ENTRY_BYTES : 0
  let rewritten = false
  /** How much was shown at the last tick, where something was waiting then; for how many ticks that is so. */
  let shownBefore: number | undefined
  let stuck = 0

  /** Whether nothing more is sent: the readers here may have been told of the end before that. */
  let done = false

  /** Deltas of the reply, and those of them that are shown; an end that is in no log is neither. */
  const shown = (): number => lengthOf(log) - (log.sealed ? 1 : 0)
  const total = (): number => shown() + pending.length

  /** Shows readers what they may see, or everything up to a number. */
  function show(upTo = late || lost ? Infinity : kept): void {
    if (log.sealed) return
    const count = Math.min(upTo, total()) - lengthOf(log)
    if (count > 0) {
      const deltas = pending.splice(0, count)
      log.account?.add(-bytesOfAll(deltas))
      extend(log, deltas)
    }
    if (kept >= total()) late = false
  }

  /** Ends the log. `instead`: with another end than the producer's own; `length`: what it has before that. */
  function finish(end: ChatDelta, { instead = false, length = Infinity } = {}): void {
    if (!log.sealed) {
      show(length)
      extend(log, start && lengthOf(log) === 0 ? [start, end] : [end])
      closing?.settle(instead ? end : undefined)
    }
    complete()
  }

  function complete(): void {
    if (done) return
    done = true
    onDone()
  }

  /** Whether an end says that everything is in the log. */
  function claimsAll({ terminal }: Closing): boolean {
    return terminal.type === 'finish' && terminal.reason !== 'cancelled'
  }

  /** The end did not get into the log. Only one that claims all says something that is not true then. */
  function giveUp(): void {
    if (!closing) return complete()
    const instead = claimsAll(closing)
    finish(toUnkept(instead ? incomplete : closing.terminal), { instead })
  }

  /** The same for the readers here, who wait no longer; it may still get there, for the others. */
  function tellEnd({ terminal, settle }: Closing): void {
    if (log.sealed) return
    show(Infinity)
    extend(log, [toUnkept(terminal)])
    settle(undefined)
    if (!writesLate) complete()
  }

  /** Takes an answer, to what was just sent where it is `sent`: then an end that is not ours is somebody else's. */
  function hear(answer: Answer, keptBefore: number, sent = false): void {
    if (done) return
    switch (answer.status) {
      case 'ok':
        if (answer.readAgoMs >= 0) readAt = performance.now() - answer.readAgoMs
        // A shorter log than before: the server has lost the rest.
        if (answer.length > kept || answer.length < keptBefore) kept = answer.length
        show()
        if (answer.ask !== '') onAsk(answer.ask)
        break
      case 'gap':
        kept = answer.length
        break
      case 'sealed':
        // It can be our own end, whose answer is still on its way.
        if (!sent && closing && answer.terminal === JSON.stringify(closing.terminal)) break
        if (answer.terminal === '') return lose()
        finish(JSON.parse(answer.terminal) as ChatDelta, { instead: true, length: answer.length - 1 }) // our own words
        onAsk('stop')
        break
      case 'gone':
        lose()
        break
    }
  }

  function lose(): void {
    lost = true
    show()
    if (closing) giveUp()
  }

  async function send(): Promise<void> {
    if (sending) return
    sending = true
    let waitMs = 50
    while (!done && !lost && (kept < total() || closing)) {
      const deltas = nextGroup()
      const last = kept + deltas.length === total() ? closing?.terminal : undefined
      if (last) deltas.push(JSON.stringify(last))
      try {
        const small = kept + deltas.length <= MAX_SMALL_LENGTH && sentBytes <= MAX_SMALL_BYTES
        const end = last ? (small ? 'small-end' : 'end') : 'none'
        const answer = await commands.append(id, kept + 1, deltas, end)
        waitMs = 50
        if (last && answer.status === 'ok') {
          rewritten = small
          finish(last)
        } else hear(answer, kept, true)
      } catch {
        // Redis is away, or full.
        late = true
        show()
        await new Promise((resolve) => setTimeout(resolve, waitMs * (0.5 + Math.random())))
        waitMs = Math.min(1000, waitMs * 2)
      }
    }
    sending = false
  }

  function renew(): Promise<void> {
    if (lost || done) return Promise.resolve()
    return (renewing ??= renewNow().finally(() => (renewing = undefined)))
  }

  async function renewNow(): Promise<void> {
    const keptBefore = kept
    try {
      hear(await commands.renew(id), keptBefore)
      unheard = false
    } catch {
      unheard = true
      return // The next one comes soon; a lease lasts many of them.
    }
    void send() // never rejects
  }

  /** What Redis does not have yet, in order. */
  function* missing(): Generator<ChatDelta> {
    const seen = shown()
    for (let at = kept; at < seen;) {
      const next = deltasFrom(log, at)
      if (!next) return // dropped, when nothing more is sent
      const { deltas, from } = next
      const some = deltas.slice(from, from + seen - at)
      yield* some
      at += some.length
    }
    yield* pending.slice(Math.max(0, kept - seen))
  }

  function nextGroup(): string[] {
    const group: string[] = []
    let size = 0
    for (const delta of missing()) {
      const text = JSON.stringify(delta)
      size += text.length
      group.push(text)
      if (kept + group.length > sentCount) {
        sentCount++
        sentBytes += utf8Length(text) + ENTRY_BYTES
      }
      if (group.length >= GROUP_LENGTH || size >= GROUP_BYTES) break
    }
    return group
  }

  return {
    append(deltas) {
      if (log.sealed) return terminalOf(log)
      if (closed) return closed.then(() => terminalOf(log))
      const end = deltas.findIndex(isTerminal)
      const terminal = deltas[end]
      const said = terminal ? deltas.slice(0, end) : deltas
      pending.push(...said)
      log.account?.add(bytesOfAll(said))
      show()
      if (terminal) {
        closed = new Promise((settle) => (closing = { terminal, since: performance.now(), settle }))
        if (lost) giveUp()
      }
      void send() // never rejects
      return closed
    },

    tick(renews) {
      if (renews || unheard) void renew() // never rejects
      stuck = pending.length > 0 && shown() === shownBefore ? stuck + 1 : 0
      if (stuck >= PATIENT_TICKS) {
        late = true
        show()
      }
      shownBefore = pending.length > 0 ? shown() : undefined
      if (!closing) return
      const waitedMs = performance.now() - closing.since
      if (waitedMs >= leaseMs) giveUp()
      else if (waitedMs >= END_WAIT_MS && !claimsAll(closing)) tellEnd(closing)
    },

    renew,

    get storedBytes() {
      return lost ? 0 : REPLY_BYTES + (rewritten ? 0 : OPEN_NODE_BYTES) + sentBytes
    },

    get readAgoMs() {
      return readAt === undefined ? undefined : performance.now() - readAt
    },
  }
}
