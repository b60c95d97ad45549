// What several workers cost and carry on this machine: `npm run bench:workers [-- --quick] [--json]`.
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { findRedis, startRedis } from '../test/redis/server.ts'
import { cache, serverArgs, startServer } from './lab.ts'
import { median, rotated, table } from './stats.ts'
import { type Cost, hold, load, requestUs, type Subject, warmUp } from './workers/load.ts'
import { familyOf, residentKiB, sum } from './workers/processes.ts'

const { quick, json } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
}).values
const rounds = quick ? 1 : 3
const fixed = quick ? { streams: 100, events: 60 } : { streams: 200, events: 120 }
const holdMs = quick ? 1500 : 2500
const steps = quick ? [100, 300, 600] : [100, 250, 400, 550, 700, 900, 1200]
/** Of what the server, and everything beside it, may add to a token. */
const P99_MS = 50

if (!findRedis()) {
  console.log('This needs a redis-server: install one, or set REDIS_SERVER_PATH.')
  process.exit(1)
}
const node = process.execPath
const redis = await startRedis({ appendonly: true })
const upstream = await startServer(node, [`${cache}servers.mjs`, 'upstream'])
const env = {
  OPENAI_BASE_URL: `${upstream.url}/v1`,
  OPENAI_API_KEY: 'any',
  PORT: '0',
  DRAIN_MS: '0',
  // More than the most that is looked for.
  MAX_REPLIES: '100000',
}

const names = ['1, memory', '1, Redis', '2, Redis', '4, Redis'] as const
type Name = (typeof names)[number]

async function start(name: Name): Promise<Subject & { readonly name: Name; stop(): Promise<void> }> {
  const count = Number(name[0])
  const shared = name.endsWith('Redis') ? { REDIS_URL: redis.url } : {}
  const { url, pid, stop } = await startServer(
    node,
    serverArgs,
    { ...env, ...shared, WORKERS: String(count) },
    'ignore',
  )
  const all = familyOf(pid)
  return { name, url: `${url}/chat`, all, workers: count === 1 ? all : all.slice(1), stop }
}

const subjects = await Promise.all(names.map(start))
const costs: Record<Name, Cost[]> = { '1, memory': [], '1, Redis': [], '2, Redis': [], '4, Redis': [] }
const most: Partial<Record<Name, { readonly streams: number; readonly kib: number; readonly p99: number }>> =
  {}
const requests: Partial<Record<Name, number>> = {}
try {
  for (const subject of subjects) {
    await warmUp(subject, { answers: quick ? 200 : 600, redis })
    requests[subject.name] = await requestUs(subject, quick ? 200 : 500)
  }
  for (let round = 0; round < rounds; round++) {
    for (const subject of rotated(subjects, round))
      costs[subject.name].push(await load(subject, { ...fixed, redis }))
  }
  for (const subject of subjects) most[subject.name] = await findMost(subject)
} finally {
  await Promise.all([upstream, ...subjects].map(({ stop }) => stop()))
  await redis.stop()
}
print()

/** The largest of the steps that is carried in time. A second try, because anything else on this machine counts too. */
async function findMost(subject: Subject) {
  const idle = sum(subject.all.map(residentKiB))
  let best = { streams: 0, kib: 0, p99: 0 }
  for (const streams of steps) {
    let held = await hold(subject, streams, holdMs)
    if (held.p99 >= P99_MS && !quick) held = await hold(subject, streams, holdMs)
    if (held.p99 >= P99_MS) break
    best = { streams, kib: (held.residentKiB - idle) / streams, p99: held.p99 }
  }
  return best
}

function print(): void {
  const rows = names.map((name) => {
    const of = (field: keyof Cost): number => median(costs[name].map((cost) => cost[field]))
    return { name, of, most: most[name]!, requestUs: requests[name]! }
  })
  const processors = availableParallelism()
  if (json) {
    const figures = rows.map(({ name, of, ...rest }) => ({
      name,
      ...Object.fromEntries(Object.keys(costs[name][0]!).map((key) => [key, of(key as keyof Cost)])),
      ...rest,
    }))
    console.log(JSON.stringify({ node: process.version, processors, fixed, rounds, figures }, null, 2))
    return
  }
  const [, one] = rows
  const cell = (value: number, digits = 1): string => value.toFixed(digits)
  console.log(`Node ${process.version}, ${processors} processors`)
  console.log(
    `${fixed.streams} answers at once, 20 tokens a second each; of each delta; medians of ${rounds}\n`,
  )
  console.log(
    table([
      [
        'workers',
        'CPU µs',
        'to 1, Redis',
        'busiest',
        'Redis µs',
        'scripts',
        'bytes to',
        'from',
        'p50 ms',
        'p99 ms',
        'deltas/s',
      ],
      ...rows.map(({ name, of }) => [
        name,
        cell(of('cpuUs')),
        cell(of('cpuUs') / one!.of('cpuUs'), 2),
        cell(of('busiest'), 2),
        cell(of('redisCpuUs')),
        cell(of('scripts'), 2),
        cell(of('bytesIn'), 0),
        cell(of('bytesOut'), 0),
        cell(of('p50'), 2),
        cell(of('p99'), 2),
        cell(of('perSecond'), 0),
      ]),
    ]),
  )
  console.log('\nCPU: of all processes of the server. busiest: the busiest worker to the mean of all.\n')
  console.log(
    table([
      ['workers', `streams, p99 < ${P99_MS} ms`, 'p99 ms', 'KiB each', 'CPU µs of a request'],
      ...rows.map(({ name, most: { streams, kib, p99 }, requestUs }) => [
        name,
        `${streams}${streams === steps.at(-1) ? ' or more' : ''}`,
        cell(p99),
        cell(kib, 0),
        cell(requestUs, 0),
      ]),
    ]),
  )
  console.log(
    `\n${processors} processors carry everything here: the workers, the model, the readers and Redis. Where these use them up, more\nworkers cannot carry more streams. Look at the CPU per delta, and whether all workers have the same to do: of a load that stays\nthe same each of many wakes up for less, so that a delta costs somewhat more. Redis is one process for all of them.`,
  )
}
