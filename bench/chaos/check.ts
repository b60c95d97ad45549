import { agree } from './agree.ts'
import { explain } from './explain.ts'
import { type Fault, type History, isTerminal, type ReaderHistory, type Sighting } from './history.ts'
import type { Allowed, Finding, Judgement, Report } from './judgement.ts'
import { type Delta, deltasOf } from './truth.ts'

/** Judges what was seen of one question by what the model said and what was done to the service. Pure. */
export function check(history: History, faults: readonly Fault[]): Judgement {
  const findings: Finding[] = []
  const allowed: Allowed[] = []
  const { n } = history
  const report: Report = (category, at, text) => void findings.push({ n, category, at, text })

  for (const reader of history.readers) {
    const { name } = reader
    const found: Report = (category, at, text) => report(category, at, `${name}: ${text}`)
    checkOrder(reader, found)
    for (const seen of reader.sightings) checkDelta(seen, reader, found)
    checkEnd(reader, found)
  }
  agree(history, faults, { report, allow: (item) => void allowed.push(item) })
  checkCalls()
  checkStop()
  checkImposter()
  checkHead()
  return { findings, allowed }

  function checkDelta(seen: Sighting, reader: ReaderHistory, found: Report): void {
    const { seq, delta, at } = seen
    const truth = deltasOf(history.script)
    const expected = seq === undefined ? undefined : truth[seq - 1]
    if (delta.type === 'error') return judgeError(seen, found)
    if (delta.type === 'finish') return judgeFinish(seen, expected, found)
    if (seq === undefined) return found('wrong', at, `a ${delta.type} without an id`)
    if (delta.type === 'start') {
      if (seq !== 1 || delta['id'] !== reader.replyId) found('wrong', at, `seq ${seq} is ${show(delta)}`)
      return
    }
    if (!expected || JSON.stringify(expected) !== JSON.stringify(delta)) {
      found('wrong', at, `seq ${seq} is ${show(delta)} and should be ${show(expected)}`)
    }
  }

  function judgeFinish({ seq, delta, at }: Sighting, expected: Delta | undefined, found: Report): void {
    if (delta['reason'] !== 'cancelled') {
      if (expected && JSON.stringify(expected) === JSON.stringify(delta)) return
      return found('false-finish', at, `seq ${seq} is ${show(delta)} and should be ${show(expected)}`)
    }
    // An end that Redis did not take in time is for the readers of its producer alone.
    if (seq === undefined) need('unkept', at, 'a finish without an id', found)
    if (delta['raw'] === 'abandoned') {
      if (history.abandoned || unreadMs(history, at) > LINGER_MS - 300)
        return void allowed.push({ what: 'cancelled: abandoned', because: 'left' })
      return need('abandoned', at, `cancelled as abandoned at seq ${seq}, while it was read`, found)
    }
    const { stop } = history
    // One whose answer was lost may have stopped it all the same.
    if (stop && stop.at <= at && (stop.said !== 'ended' || stop.attempts > 1)) {
      allowed.push({ what: 'cancelled', because: 'stop' })
    } else found('lost', at, `cancelled at seq ${seq}, and nobody had stopped it`)
  }

  function judgeError({ seq, delta, at }: Sighting, found: Report): void {
    const code = String(delta['code'])
    const { pieces, ending } = history.script
    if (code.startsWith('upstream-')) {
      const failed = ending === 'cut' || ending === 'error' || ending === 'refused'
      const most = ending === 'refused' ? 2 : pieces.length + 2
      const whole = ending === 'cut' || seq === most
      if (!failed || seq === undefined || seq > most || !whole) {
        return found('lost', at, `${code} at seq ${seq}, where the model's answer is ${ending}`)
      }
      return void allowed.push({ what: code, because: 'model' })
    }
    need(code, at, `error ${code} at seq ${seq}`, found)
  }

  function checkEnd(reader: ReaderHistory, found: Report): void {
    const { end, afterEnd, sightings } = reader
    if (!end) return found('hang', reader.startedAt, 'was never done')
    if (end.how === 'hang') return found('hang', end.at, end.what)
    if (end.how === 'unexpected') return found('wrong', end.at, end.what)
    if (end.how === 'lost') {
      const cursor = sightings.at(-1)?.seq ?? 0
      // So is the model's own failure then.
      const unkept =
        end.what.startsWith('upstream-') && ['cut', 'error', 'refused'].includes(history.script.ending)
      return need(
        unkept ? 'unkept' : end.what,
        end.at,
        `told ${end.what} at cursor ${cursor}, by ${end.instance}`,
        found,
      )
    }
    if (end.how === 'refused') {
      if (end.what.startsWith('upstream-') && history.script.ending === 'refused') {
        return void allowed.push({ what: `HTTP ${end.what}`, because: 'model' })
      }
      return need(end.what, end.at, `refused by ${end.instance} with ${end.what}`, found)
    }
    if (afterEnd && afterEnd.status !== 204) {
      need(
        String(afterEnd.status),
        afterEnd.at,
        `${afterEnd.status} at the end, by ${afterEnd.instance}`,
        found,
      )
    }
  }

  /** What a reader was told is allowed when something that was done to the service explains it. */
  function need(what: string, at: number, text: string, found: Report): void {
    const fault = explain(what, at, history, faults)
    if (fault) allowed.push({ what, because: fault.kind })
    else found('lost', at, `${text}; nothing that was done explains it`)
  }

  function checkCalls(): void {
    const { posts, calls, stop } = history
    const replies = new Set(history.readers.flatMap(({ replyId }) => replyId ?? []))
    for (const { replyId } of posts) if (replyId !== undefined) replies.add(replyId)
    const [first = 0, last = 0] = [posts[0]?.at, calls.at(-1)?.at]
    const forgot = faults.find(({ kind, at }) => {
      return (kind.startsWith('redis-') || kind === 'flush') && at >= first - ROLLED_BACK_MS && at <= last
    })
    const killed = faults.find(({ kind, at, instance }) => {
      return (
        (kind === 'kill' || kind === 'drain' || kind.startsWith('redis-')) &&
        at >= first - ROLLED_BACK_MS &&
        (instance === undefined || posts.some((post) => post.instance === instance))
      )
    })
    if (replies.size > 1 || calls.length > Math.max(1, replies.size)) {
      const text = `one key, ${replies.size} replies, ${calls.length} calls of the model`
      if (forgot) allowed.push({ what: 'asked again under the same key', because: forgot.kind })
      else report('calls', last, text)
    } else if (calls.length < replies.size && !stop && !killed && !history.abandoned) {
      report('calls', first, `${replies.size} replies, ${calls.length} calls of the model`)
    }
  }

  /** Another question under a key is refused, as long as the key is known. */
  function checkImposter(): void {
    const { imposter } = history
    if (!imposter || imposter.status === 422) return
    const { status, at, instance } = imposter
    const forgot = explain('404', at, history, faults)
    if (forgot) allowed.push({ what: 'key forgotten', because: forgot.kind })
    else report('wrong', at, `${instance} answered another question under the same key with ${status}`)
  }

  /** The head of a reply that is over says so, and how long it is: as the last reader has just seen. */
  function checkHead(): void {
    const { head } = history
    const last = history.readers.at(-1)
    if (!head || last?.end?.how !== 'terminal') return
    const length = last.sightings.at(-1)?.seq
    if (head.status === 200 && head.state === 'ended' && head.length === length) return
    const { status, state, at, instance } = head
    report('wrong', at, `HEAD at ${instance}: ${status}, ${state}, ${head.length} of ${length} deltas`)
  }

  function checkStop(): void {
    const { stop, calls, readers } = history
    if (stop?.said !== 'stopped' || stop.ackAt === undefined) return
    const { ackAt } = stop
    for (const { closedAt, at } of calls) {
      if (at < stop.askedAt && (closedAt ?? Infinity) > ackAt + STOP_MS) {
        report('wrong', ackAt, `stopped, but the model was still asked ${STOP_MS} ms later`)
      }
    }
    for (const { name, sightings } of readers) {
      const terminal = sightings.find(({ delta }) => isTerminal(delta))
      if (terminal?.delta.type === 'finish' && terminal.delta['reason'] !== 'cancelled') {
        report('wrong', terminal.at, `${name}: stopped, and yet ${show(terminal.delta)}`)
      }
    }
  }
}

/** How long an answer goes on without a reader. */
export const LINGER_MS = 2000

/** The longest time before `until` in which nobody read. */
function unreadMs({ visits }: History, until: number): number {
  let [readUntil, longest] = [Infinity, 0]
  for (const { from, to } of [...visits].sort((a, b) => a.from - b.from)) {
    if (from > until) break
    longest = Math.max(longest, from - readUntil)
    readUntil = readUntil === Infinity ? to : Math.max(readUntil, to)
  }
  return Math.max(longest, until - readUntil)
}

/** Long after a stop: how soon the model's connection is closed is measured, that it is closed is a promise. */
const STOP_MS = 5000
const ROLLED_BACK_MS = 1000

/** Each delta is the one after the last; after the terminal one there is none. */
function checkOrder({ sightings }: ReaderHistory, found: Report): void {
  let cursor = 0
  let over = false
  for (const { seq, at, delta, instance } of sightings) {
    if (over) found('wrong', at, `${show(delta)} after the end, from ${instance}`)
    if (isTerminal(delta)) over = true
    if (seq === undefined) continue
    if (seq <= cursor) found('duplicated', at, `seq ${seq} at cursor ${cursor}, from ${instance}`)
    else if (seq > cursor + 1) found('lost', at, `seq ${seq} at cursor ${cursor}, from ${instance}: a gap`)
    cursor = Math.max(cursor, seq)
  }
}

function show(delta: Delta | undefined): string {
  return delta ? JSON.stringify(delta).slice(0, 120) : 'nothing'
}
