import { quantile, table, verdict } from '../stats.ts'
import { check } from './check.ts'
import type { Fault, History, Note } from './history.ts'
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
    findings,
    faults,
    broken,
    stopMs: stopTimes(world),
    lostMs: lossTimes(world),
  }
}

/** Prints a report for people. */
export function print(report: Report, stories: readonly History[], faults: readonly Fault[]): void {
  const { seed, tookMs, replies, calls, counts, allowed, broken, stopMs, lostMs } = report
  const line = ([name, value]: readonly [string, number]): readonly string[] => [
    name,
    value.toLocaleString('en'),
  ]
  console.log(`\nseed ${seed}, ${(tookMs / 1000).toFixed(1)} s\n`)
  console.log(table([line(['replies', replies]), ...Object.entries(counts).map(line)]))
  const told = Object.entries(allowed).sort(([, a], [, b]) => b - a)
  if (told.length > 0) console.log(`\nwhat readers were told, and why\n\n${table(told.map(line))}`)
  console.log('')
  if (stopMs.all.length > 0) {
    console.log(
      verdict(
        `${stopMs.calm.length} stops, to the model's connection, p99`,
        quantile(stopMs.calm, 0.99),
        500,
        ' ms',
      ),
    )
    console.log(
      `        of all ${stopMs.all.length}, with faults around: p99 ${quantile(stopMs.all, 0.99).toFixed(0)} ms`,
    )
  }
  if (lostMs.length > 0) {
    const [middle, late] = [quantile(lostMs, 0.5), quantile(lostMs, 0.99)]
    console.log(
      `        told that a killed producer is lost: p50 ${middle.toFixed(0)} ms, p99 ${late.toFixed(0)} ms`,
    )
  }
  console.log(`        the machine stood still for ${report.pauseMs} ms at most`)
  const first = report.findings[0]
  if (first) tell(first, report, stories, faults)
  console.log(
    `\n${broken.lost} lost, ${broken.duplicated} duplicated, ${broken.wrong} wrong prefixes, ${broken.hang} hangs, ` +
      `${broken['false-finish']} false finish, upstream calls ${broken.calls === 0 ? '=' : '≠'} replies (${calls} = ${replies})`,
  )
}

/** The story of the first question that went wrong, and the rest in a line each. */
function tell(
  first: Finding,
  { seed, findings }: Report,
  histories: readonly History[],
  faults: readonly Fault[],
): void {
  console.log(`\n${findings.length} findings; again with --seed ${seed}\n`)
  for (const { n, category, at, text } of findings.slice(0, 25))
    console.log(`  ${n}: ${category} at ${ms(at)}: ${text}`)
  const history = histories.find(({ n }) => n === first.n)
  if (!history) return
  const { script, prompt, calls } = history
  const { pieces, everyMs, silentMs, silentAt, ending } = script
  console.log(
    `\nthe story of ${first.n} (${prompt}): ${pieces.length} pieces, one in ${everyMs} ms, ` +
      `${silentMs > 0 ? `silent for ${silentMs} ms before ${silentAt}, ` : ''}${ending}\n`,
  )
  const from = (history.story[0]?.at ?? 0) - 3000
  const to = (history.story.findLast(({ text }) => !text.startsWith('audit'))?.at ?? 0) + 1000
  const struck = faults
    .filter(({ at, until }) => until >= from && at <= to)
    .flatMap(({ kind, instance = '', at, until }): Note[] => [
      { at, text: `*** ${kind} ${instance}` },
      { at: until, text: `*** up again after ${kind} ${instance}` },
    ])
  const asked = calls.flatMap(({ at, closedAt = Infinity }): Note[] => [
    { at, text: 'the model is asked' },
    { at: closedAt, text: 'the model has done, or is left' },
  ])
  const all = [...history.story, ...struck, ...asked].sort((a, b) => a.at - b.at)
  for (const { at, text } of all) console.log(`  ${ms(at).padStart(12)}  ${text}`)
}

function repliesOf({ posts, readers }: History): ReadonlySet<string> {
  return new Set([...posts, ...readers].flatMap(({ replyId }) => replyId ?? []))
}

function tally(items: readonly Allowed[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const { what, because } of items) {
    const key = `${what} (${because})`
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
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

function ms(at: number): string {
  return `${(at / 1000).toFixed(3)} s`
}
