import type { Figures } from './figures.ts'
import { plan, type Plan } from './plan.ts'
import { type Outcome, simulate } from './simulate.ts'

/** Running answers at the busiest time. */
const sizes = [10_000, 100_000, 1_000_000]
const INSTANCES = 30

/** What docs/scaling.md shows, as Markdown. */
export function tables(figures: Figures): string {
  return `${planTable(figures)}\n\n${incidentTable(figures)}`
}

const whole = (value: number): string => Math.round(value).toLocaleString('en-US')
const short = (value: number): string => (value < 10 ? value.toFixed(1) : whole(value))
const dollars = (value: number): string => `$${whole(value)}`

function planTable(figures: Figures): string {
  const plans = sizes.map((streams) => plan(streams, figures))
  const row = (label: string, cell: (plan: Plan) => string): string[] => [label, ...plans.map(cell)]
  return markdown([
    row('answers that run at once', ({ streams }) => whole(streams)),
    row('new answers a second', ({ repliesPerSecond }) => whole(repliesPerSecond)),
    row('deltas a second', ({ deltasPerSecond }) => whole(deltasPerSecond)),
    row('processors that the workers use', ({ cores }) => short(cores)),
    row(`instances of ${figures.processors} workers`, ({ instances }) => whole(instances)),
    row('answers on each', ({ streamsEach }) => whole(streamsEach)),
    row('memory of each, a zone being gone', ({ gibEach }) => `${gibEach.toFixed(1)} GiB`),
    row('to readers', ({ toReaders }) => `${short(toReaders)} Gbit/s`),
    row('from models', ({ fromModels }) => `${short(fromModels)} Gbit/s`),
    row('to and from Redis', ({ withRedis }) => `${short(withRedis)} Gbit/s`),
    row('scripts a second in Redis', ({ scriptsPerSecond }) => whole(scriptsPerSecond)),
    row('processors that Redis uses', ({ redisCores }) => short(redisCores)),
    row('Redis servers, each with a replica', ({ shards }) => whole(shards)),
    row('answers for each of them', ({ streams, shards }) => whole(streams / shards)),
    row('memory of all of them', ({ redisGiB }) => `${short(redisGiB)} GiB`),
    row('instances, a month', ({ instancesCost }) => dollars(instancesCost)),
    row('Redis, a month', ({ redisCost }) => dollars(redisCost)),
    row('bytes to readers, a month', ({ egressCost }) => dollars(egressCost)),
    row('all three, a month', ({ cost }) => dollars(cost)),
    row('for a thousand answers', ({ costPerThousand }) => `$${costPerThousand.toFixed(4)}`),
  ])
}

function incidentTable(figures: Figures): string {
  const zone = INSTANCES / figures.zones
  const outcomes = [1, zone].map((gone) => simulate({ instances: INSTANCES, gone, seed: 1 }, figures))
  const row = (label: string, cell: (outcome: Outcome) => string): string[] => [label, ...outcomes.map(cell)]
  return markdown([
    [`of ${INSTANCES} instances are gone at once`, '1', `${zone} (a zone)`],
    row('answers on one before: mean', ({ mean }) => whole(mean)),
    row('answers on one before: the most', ({ most }) => whole(most)),
    row('answers that are cut', ({ cut }) => whole(cut)),
    row('a survivor in its worst second: readers come back', ({ comingBack }) => whole(comingBack)),
    row('a survivor in its worst second: questions asked again', ({ askedAgain }) => whole(askedAgain)),
    row('a survivor at its worst: answers', ({ mostAfter }) => whole(mostAfter)),
    row('a survivor at its worst: of its processors', ({ use }) => `${whole(use * 100)} %`),
    row('scripts in Redis at the worst, to before', ({ scripts }) => scripts.toFixed(2)),
    row('as many answers as before after', ({ backAfter }) => `${backAfter} s`),
  ])
}

/** A table as Prettier writes it, numbers to the right; the first row is its head. */
function markdown(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, n) => (n === 0 ? cell.padEnd(widths[n]!) : cell.padStart(widths[n]!))).join(' | ')} |`
  const rule = widths.map((width, n) => (n === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  const [head, ...rest] = rows
  return [line(head!), `| ${rule.join(' | ')} |`, ...rest.map(line)].join('\n')
}
