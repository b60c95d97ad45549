// What it costs that every reply is a log, in memory and in Redis: `npm run bench:log [-- --quick] [--json]`.
import { availableParallelism, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { findRedis, startRedis } from '../test/redis/server.ts'
import { cache, serverArgs, startServer } from './lab.ts'
import { measureGenerator } from './log/generator.ts'
import { load, type Round } from './log/load.ts'
import { measureRoom } from './log/room.ts'
import { median, rotated, table, verdict } from './stats.ts'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    replies: { type: 'string', default: '100' },
  },
})
const { quick } = options
const rounds = Number(options.rounds ?? (quick ? 3 : 7))
const replies = Number(options.replies)
/** 50 tokens a second. */
const order = { events: quick ? 100 : 250, everyMs: 20 }
const ROOM_DELTAS = 300

if (!findRedis()) {
  console.log('This needs a redis-server: install one, or set REDIS_SERVER_PATH.')
  process.exit(1)
}
const generator = await measureGenerator(quick ? 5 : 11, quick ? 4 : 10)

const node = process.execPath
const redis = await startRedis({ appendonly: true })
const upstream = await startServer(node, [`${cache}servers.mjs`, 'upstream'])
const env = { OPENAI_BASE_URL: `${upstream.url}/v1`, OPENAI_API_KEY: 'any', PORT: '0' }
const memory = await startServer(node, serverArgs, env, 'ignore')
const shared = await startServer(node, serverArgs, { ...env, REDIS_URL: redis.url }, 'ignore')

const subjects = [
  { name: 'memory', url: `${memory.url}/chat`, pid: memory.pid },
  { name: 'redis', url: `${shared.url}/chat`, pid: shared.pid },
] as const
type Name = (typeof subjects)[number]['name']

const results: Record<Name, Round>[] = []
try {
  const few = { replies: 20, order: { events: 50, everyMs: 20 }, redis }
  for (const subject of subjects) await load(subject, few)
  for (let round = 0; round < rounds; round++) {
    const done: [Name, Round][] = []
    for (const subject of rotated(subjects, round)) {
      done.push([subject.name, await load(subject, { replies, order, redis })])
    }
    results.push(Object.fromEntries(done) as Record<Name, Round>) // every subject was asked
  }
} finally {
  await Promise.all([upstream, memory, shared].map(({ stop }) => stop()))
}
await redis.command(['FLUSHALL'])
const room = await measureRoom(redis, ROOM_DELTAS)
await redis.stop()

const of = (name: Name, field: keyof Round): number => median(results.map((round) => round[name][field]))
const added = (field: keyof Round): number =>
  median(results.map(({ memory, redis }) => redis[field] - memory[field]))
const ratio = (field: keyof Round): number =>
  median(results.map(({ memory, redis }) => redis[field] / memory[field]))

const added50 = added('p50')
const roundTripMs = of('redis', 'roundTripMs')
const beyondTripMs = added('firstMs') - roundTripMs
if (options.json) {
  const figures = subjects.map(({ name }) => ({
    name,
    cpuUs: of(name, 'cpuUs'),
    redisCpuUs: of(name, 'redisCpuUs'),
    p50: of(name, 'p50'),
    p99: of(name, 'p99'),
    firstMs: of(name, 'firstMs'),
  }))
  const load = {
    replies,
    ...order,
    rounds,
    figures,
    cpuRatio: ratio('cpuUs'),
    roundTripMs,
    added50,
    beyondTripMs,
  }
  console.log(JSON.stringify({ node: process.version, generator, load, room }, null, 2))
} else {
  print()
}

function print(): void {
  const cell = (value: number): string => value.toFixed(2)
  const { aloneUs, loggedUs, addedUs, quietAddedUs } = generator
  console.log(`Node ${process.version}; medians, each row measured in turns with the other\n`)
  console.log(
    table([
      ['one process, no sockets', 'to the first', 'CPU µs per delta'],
      ['generator alone', '1.00', cell(aloneUs)],
      ['through a log in memory', cell(loggedUs / aloneUs), cell(loggedUs)],
    ]),
  )
  console.log(
    `\n${replies} answers at once, ${1000 / order.everyMs} tokens a second each, ${rounds} rounds\n`,
  )
  const row = (label: string, name: Name, cpu: number): string[] => [
    label,
    ...[
      cpu,
      of(name, 'cpuUs'),
      of(name, 'redisCpuUs'),
      of(name, 'p50'),
      of(name, 'p99'),
      of(name, 'firstMs'),
    ].map(cell),
  ]
  console.log(
    table([
      ['', 'CPU to memory', 'CPU µs per delta', 'of Redis', 'p50 ms', 'p99 ms', 'first ms'],
      row('log in memory', 'memory', 1),
      row('log in Redis', 'redis', ratio('cpuUs')),
    ]),
  )
  console.log(`\none round trip to Redis: ${cell(roundTripMs)} ms`)
  const [load = 0] = loadavg()
  // Five processes of ours are at work, none of them all the time.
  if (load > availableParallelism() + 1)
    console.log(
      `the load of this machine was ${cell(load)} on ${availableParallelism()} processors: latencies are those of waiting for one`,
    )
  console.log(
    `a finished reply of ${ROOM_DELTAS} deltas in Redis: ${(room.perReply / 1024).toFixed(1)} KiB, ${room.perDelta.toFixed(0)} bytes per delta\n`,
  )
  console.log(verdict('CPU that the log in memory adds to each delta', addedUs, 2, ' µs'))
  console.log(verdict('the same, lowest of each', quietAddedUs, 2, ' µs'))
  console.log(verdict('p50 that Redis adds to the deltas after the first', added50, 0.5, ' ms'))
  console.log(verdict('what Redis adds to the first delta, beyond one round trip', beyondTripMs, 0.5, ' ms'))
}
