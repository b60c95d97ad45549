import { check } from './check.ts'
import type { Fault, History } from './history.ts'
import type { Allowed, Category, Finding } from './judgement.ts'
import type { World } from './world.ts'

/** What a run came to. */
export interface Report {
  readonly seed: number
  readonly tookMs: number
  /** The longest time that the clients' process stood still: servers did too, and a lease may have run out. */
  readonly pauseMs: number
  readonly replies: number
  readonly calls: number
  readonly counts: Readonly<Record<string, number>>
  /** What readers had to be told, by what and why. */
  readonly allowed: Readonly<Record<string, number>>
  /** Questions of which each of them is true, the first few. */
  readonly examples: Readonly<Record<string, readonly number[]>>
  readonly findings: readonly Finding[]
  readonly faults: readonly Fault[]
  readonly broken: Readonly<Record<Category, number>>
  /** From the acknowledgement of a stop to the end of the model's connection; `calm`: nothing else was going on. */
  readonly stopMs: { readonly all: readonly number[]; readonly calm: readonly number[] }
  /** From the death of a producer to the reader's knowing. */
  readonly lostMs: readonly number[]
}

/** Judges everything that happened. */
export function judge(world: World, pauseMs: number): Report {
  const { histories, faults, counts, crashes, seed } = world
  const judgements = histories.map((history) => check(history, faults))
  const findings = [
    ...judgements.flatMap((judgement) => judgement.findings),
    ...crashes.map((text): Finding => ({ n: 0, category: 'lost', at: 0, text })),
  ]
  const broken: Record<Category, number> = {
    lost: 0,
    duplicated: 0,
    wrong: 0,
    hang: 0,
    'false-finish': 0,
    calls: 0,
  }
  for (const { category } of findings) broken[category]++
  const count = (kind: Fault['kind']): number => faults.filter((fault) => fault.kind === kind).length
  const stops = histories.flatMap(({ stop }) => stop?.said ?? [])
  return {
    seed,
    tookMs: Math.round(world.now()),
    pauseMs: Math.round(pauseMs),
    replies: sum(histories.map((history) => repliesOf(history).size)),
    calls: sum(histories.map(({ calls }) => calls.length)),
    counts: {
      questions: histories.length,
      readers: sum(histories.map(({ readers }) => readers.length)),
      deltas: sum(histories.map(({ readers }) => sum(readers.map(({ sightings }) => sightings.length)))),
      ...counts,
      kills: count('kill'),
      drains: count('drain'),
      'Redis kills': count('redis-kill'),
      'Redis rollbacks': count('redis-rollback'),
      'Redis pauses': count('redis-pause'),
      flushes: count('flush'),
      'stalls of the machine': count('stall'),
      stops: stops.length,
      'stops that stopped': stops.filter((said) => said === 'stopped').length,
    },
    allowed: tally(judgements.flatMap((judgement) => judgement.allowed)),
    examples: examplesOf(judgements.map(({ allowed }, at) => [histories[at]!.n, allowed])),
    findings,
    faults,
    broken,
    stopMs: stopTimes(world),
    lostMs: lossTimes(world),
  }
}

function repliesOf({ posts, readers }: History): ReadonlySet<string> {
  return new Set([...posts, ...readers].flatMap(({ replyId }) => replyId ?? []))
}

function tally(items: readonly Allowed[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const item of items) counts[nameOf(item)] = (counts[nameOf(item)] ?? 0) + 1
  return counts
}

function examplesOf(
  judged: readonly (readonly [n: number, allowed: readonly Allowed[]])[],
): Readonly<Record<string, readonly number[]>> {
  const examples: Record<string, number[]> = {}
  for (const [n, allowed] of judged) {
    for (const name of new Set(allowed.map(nameOf))) {
      const list = (examples[name] ??= [])
      if (list.length < 5) list.push(n)
    }
  }
  return examples
}

function nameOf({ what, because }: Allowed): string {
  return `${what} (${because})`
}

function stopTimes({ histories, faults }: World): Report['stopMs'] {
  const all: number[] = []
  const calm: number[] = []
  for (const { stop, calls } of histories) {
    if (stop?.said !== 'stopped' || stop.ackAt === undefined) continue
    const { askedAt, ackAt } = stop
    const open = calls.find(({ at, closedAt = Infinity }) => at < askedAt && closedAt > askedAt)
    if (!open) continue
    const tookMs = (open.closedAt ?? Infinity) - askedAt
    all.push(tookMs)
    if (!faults.some(({ at, until }) => at < ackAt + tookMs && until > askedAt - 3000)) calm.push(tookMs)
  }
  return { all, calm }
}

function lossTimes({ histories, faults }: World): readonly number[] {
  return histories.flatMap(({ readers, posts }) => {
    const told = readers.flatMap(({ name, sightings }) => {
      return name === 'audit' ? [] : sightings.filter(({ delta }) => delta['code'] === 'producer-lost')
    })
    const first = told.sort((a, b) => a.at - b.at)[0]
    const kill = faults.findLast(({ kind, instance, at }) => {
      return (
        kind === 'kill' &&
        first &&
        at < first.at &&
        (posts[0]?.at ?? at) < at &&
        posts.some((post) => post.instance === instance)
      )
    })
    if (!first || !kill) return []
    // A store that is away knows of no death.
    const away = faults.some(({ kind, at, until }) => {
      return kind.startsWith('redis-') && at < first.at && until > kill.at - 3000
    })
    return away ? [] : [first.at - kill.at]
  })
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
