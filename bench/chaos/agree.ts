import { type Fault, type History, isTerminal, type Sighting } from './history.ts'
import type { Allowed, Report } from './judgement.ts'

export interface Hearing {
  readonly report: Report
  readonly allow: (item: Allowed) => void
}

/**
 * Readers of one reply see the same delta under every number, and none beyond the end that another saw.
 *
 * One disagreement is allowed, and told: who read at the producer may be a little ahead of the log. When the producer
 * dies, or the log loses its tail, the end is written in the place of what was seen and never kept.
 */
export function agree(history: History, faults: readonly Fault[], { report, allow }: Hearing): void {
  const told = new Set<string>()
  for (const sightings of byReply(history)) {
    const first = new Map<number, Sighting>()
    const end = sightings.find(({ delta }) => isTerminal(delta))
    for (const seen of sightings) {
      const seq = seen.seq!
      const other = first.get(seq)
      if (!other) first.set(seq, seen)
      else if (!same(other, seen)) disagree(other, seen)
    }
    for (const seen of sightings) {
      if (end && seen.seq! > end.seq! && !isTerminal(seen.delta)) disagree(seen, end)
    }
  }

  function disagree(one: Sighting, two: Sighting): void {
    const ended = isLoss(two) ? two : one
    const seen = ended === two ? one : two
    const fault = isLoss(ended) ? tailLost(seen, ended, faults) : undefined
    if (fault) {
      const what = fault.kind.startsWith('redis-')
        ? 'tail lost with its store'
        : 'tail lost with its producer'
      // However many deltas, and readers.
      if (!told.has(what)) allow({ what, because: fault.kind })
      told.add(what)
      return
    }
    const text = (sighting: Sighting): string =>
      `${JSON.stringify(sighting.delta).slice(0, 100)} at seq ${sighting.seq} from ${sighting.instance}`
    report('wrong', two.at, `readers disagree: ${text(one)}, ${text(two)}`)
  }
}

/** The end that others write for a producer that cannot: they take it for lost, or somebody stopped it. */
function isLoss({ delta }: Sighting): boolean {
  if (delta.type === 'finish') return delta['reason'] === 'cancelled' && delta['raw'] === undefined
  return delta.type === 'error' && ['producer-lost', 'log-incomplete', 'gone'].includes(String(delta['code']))
}

function isWhole({ delta }: Sighting): boolean {
  return delta.type === 'finish' && delta['reason'] !== 'cancelled'
}

/** How late what a server had sent may be seen: it lies in a socket, and this machine is busy. */
const LATE_MS = 1500

function tailLost(seen: Sighting, ended: Sighting, faults: readonly Fault[]): Fault | undefined {
  return faults.findLast(({ kind, instance, at, until }) => {
    // A whole answer is shown when all of it is kept: only a store that forgets what it had kept can take it back.
    if (isWhole(seen)) return kind === 'redis-rollback' && at >= seen.at - LATE_MS && at <= ended.at
    if (kind === 'kill') return instance === seen.instance && at >= seen.at - LATE_MS && at <= ended.at
    return (kind.startsWith('redis-') || kind === 'stall') && until >= seen.at - LATE_MS && at <= ended.at
  })
}

/** What was seen under a number of each reply, in the order of time. */
function byReply({ readers }: History): readonly (readonly Sighting[])[] {
  const replies = new Map<string, Sighting[]>()
  for (const { replyId, sightings } of readers) {
    if (replyId === undefined) continue
    const all = replies.get(replyId) ?? []
    all.push(...sightings.filter(({ seq }) => seq !== undefined))
    replies.set(replyId, all)
  }
  return [...replies.values()].map((all) => all.sort((a, b) => a.at - b.at))
}

function same({ delta: a }: Sighting, { delta: b }: Sighting): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
