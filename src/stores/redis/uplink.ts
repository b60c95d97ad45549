import { extend, lengthOf, type Log, terminalOf } from '../../log.ts'
import { type Ask, type ChatDelta, isTerminal } from '../../types.ts'
import type { Answer, Commands } from './commands.ts'

export interface UplinkOptions {
  readonly id: string
  readonly log: Log
  /** What the log begins with where others end it before it began. */
  readonly start?: ChatDelta | undefined
  readonly commands: Commands
  readonly leaseMs: number
  readonly onAsk: (ask: Ask) => void
  /** Runs once, when the log is sealed and nothing more is sent. */
  readonly onDone: () => void
}

/** Carries one reply from its producer into Redis, while its readers here read along. */
export interface Uplink {
  /** As `append` of a store. */
  append(deltas: readonly ChatDelta[]): ChatDelta | undefined | Promise<ChatDelta | undefined>
  /** Says that the producer is alive, and hears what is asked of it. Never rejects. */
  renew(): Promise<void>
  /** How long ago, in milliseconds, the reply was read on another instance; undefined = never. */
  readonly readAgoMs: number | undefined
}

/** Deltas, and about how many characters of them, in one command. */
const GROUP_LENGTH = 500
const GROUP_BYTES = 256 * 1024

/** What the readers here are told when the end could not be kept: they have seen everything, but nobody will again. */
const incomplete: ChatDelta = {
  type: 'error',
  code: 'log-incomplete',
  message: 'The whole answer was sent, but it could not be kept: it cannot be read again.',
  retryable: false,
}

/**
 * Starts to carry a reply. Deltas are sent in groups: while one group is on its way the next one gathers. What Redis
 * has lost, or never got, is sent again as long as the reply runs. The end is shown to readers only when all of it
 * is kept; if that does not succeed within a lease, `finish` becomes an `error`.
 */
export function createUplink(options: UplinkOptions): Uplink {
  const { id, log, start, commands, leaseMs, onAsk, onDone } = options
  /** Deltas that are known to be in Redis. */
  let kept = 0
  let closing: { terminal: ChatDelta; since: number; settle(end: ChatDelta | undefined): void } | undefined
  let closed: Promise<ChatDelta | undefined> | undefined
  let sending = false
  let renewing: Promise<void> | undefined
  let lost = false
  let readAt: number | undefined

  function finish(end: ChatDelta): void {
    if (log.sealed) return
    const mine = closing?.terminal === end
    extend(log, !mine && start && lengthOf(log) === 0 ? [start, end] : [end])
    closing?.settle(mine ? undefined : end)
    onDone()
  }

  /** The end did not get into the log. Only `finish` says something that is not true then. */
  function giveUp(): void {
    if (!closing) return
    const { terminal } = closing
    const claimsAll = terminal.type === 'finish' && terminal.reason !== 'cancelled'
    finish(claimsAll ? incomplete : terminal)
  }

  /** Takes an answer, to what was just sent where it is `sent`: then an end that is not ours is somebody else's. */
  function hear(answer: Answer, keptBefore: number, sent = false): void {
    if (log.sealed) return
    switch (answer.status) {
      case 'ok':
        if (answer.readAgoMs >= 0) readAt = performance.now() - answer.readAgoMs
        // A shorter log than before: the server has lost the rest.
        if (answer.length > kept || answer.length < keptBefore) kept = answer.length
        if (answer.ask !== '') onAsk(answer.ask)
        break
      case 'gap':
        kept = answer.length
        break
      case 'sealed':
        // It can be our own end, whose answer is still on its way.
        if (!sent && closing && answer.terminal === JSON.stringify(closing.terminal)) break
        if (answer.terminal === '') return lose()
        finish(JSON.parse(answer.terminal) as ChatDelta) // our own words again
        onAsk('stop')
        break
      case 'gone':
        lose()
        break
    }
  }

  function lose(): void {
    lost = true
    giveUp()
  }

  async function send(): Promise<void> {
    if (sending) return
    sending = true
    let waitMs = 50
    while (!log.sealed && !lost && (kept < lengthOf(log) || closing)) {
      const deltas = nextGroup()
      const last = kept + deltas.length === lengthOf(log) ? closing?.terminal : undefined
      if (last) deltas.push(JSON.stringify(last))
      try {
        const answer = await commands.append(id, kept + 1, deltas, last !== undefined)
        waitMs = 50
        if (last && answer.status === 'ok') finish(last)
        else hear(answer, kept, true)
      } catch {
        // Redis is away, or full: the readers here go on, and it gets what it missed when it is back.
        if (closing && performance.now() - closing.since >= leaseMs) giveUp()
        else await new Promise((resolve) => setTimeout(resolve, waitMs * (0.5 + Math.random())))
        waitMs = Math.min(1000, waitMs * 2)
      }
    }
    sending = false
  }

  async function renewNow(): Promise<void> {
    const keptBefore = kept
    try {
      hear(await commands.renew(id), keptBefore)
    } catch {
      return // The next one comes soon; a lease lasts several of them.
    }
    void send() // never rejects
  }

  function nextGroup(): string[] {
    const group: string[] = []
    let size = 0
    for (let at = kept; at < log.deltas.length && group.length < GROUP_LENGTH && size < GROUP_BYTES; at++) {
      const text = JSON.stringify(log.deltas[at])
      size += text.length
      group.push(text)
    }
    return group
  }

  return {
    append(deltas) {
      if (log.sealed) return terminalOf(log)
      if (closed) return closed.then(() => terminalOf(log))
      const end = deltas.findIndex(isTerminal)
      const terminal = deltas[end]
      extend(log, terminal ? deltas.slice(0, end) : deltas)
      if (terminal) {
        closed = new Promise((settle) => (closing = { terminal, since: performance.now(), settle }))
        if (lost) giveUp()
      }
      void send() // never rejects
      return closed
    },

    renew() {
      if (lost || log.sealed) return Promise.resolve()
      return (renewing ??= renewNow().finally(() => (renewing = undefined)))
    },

    get readAgoMs() {
      return readAt === undefined ? undefined : performance.now() - readAt
    },
  }
}
