// Three servers on one Redis, a thousand questions, and everything that can go wrong: `npm run chaos [-- --quick]`.
import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import { type RedisServer, startRedis } from '../test/redis/server.ts'
import { LINGER_MS } from './chaos/check.ts'
import type { History } from './chaos/history.ts'
import { createInstance, type Instance } from './chaos/instance.ts'
import { startModel } from './chaos/model.ts'
import { createMonkey, type Doses, DRAIN_MS } from './chaos/monkey.ts'
import { ask, audit } from './chaos/question.ts'
import { print } from './chaos/print.ts'
import { judge } from './chaos/report.ts'
import { watchStalls } from './chaos/stalls.ts'
import { note, type World } from './chaos/world.ts'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    questions: { type: 'string' },
    reconnects: { type: 'string' },
    seconds: { type: 'string' },
    crowd: { type: 'string', default: '40' },
    json: { type: 'string' },
    /** Whose story is told at the end: a question's number, or what its readers were told. */
    tell: { type: 'string' },
    /** One server that keeps its replies in memory, and nothing is done to it. */
    memory: { type: 'boolean', default: false },
  },
})
const { quick, memory } = options
const questions = Number(options.questions ?? (quick ? 120 : 1100))
const reconnects = Number(options.reconnects ?? (quick ? 800 : 10_000))
const limitMs = 1000 * Number(options.seconds ?? (quick ? 30 : 600))
const doses: Doses = quick
  ? { kill: 4, drain: 1, 'redis-kill': 2, 'redis-rollback': 1, 'redis-pause': 1, flush: 1 }
  : { kill: 40, drain: 6, 'redis-kill': 10, 'redis-rollback': 6, 'redis-pause': 6, flush: 6 }

const began = performance.now()
const now = (): number => performance.now() - began
const crashes: string[] = []
const model = await startModel(now)
const redis = memory ? undefined : await startRedis({ appendonly: true })
const env = {
  OPENAI_BASE_URL: model.url,
  OPENAI_API_KEY: 'any',
  OPENAI_MODEL: 'chaos',
  UPSTREAM_RETRIES: '0',
  HEARTBEAT_MS: '1000',
  LINGER_MS: String(LINGER_MS),
  // The readers are anonymous.
  ON_DISCONNECT_CONTINUE: 'always',
  MAX_REPLIES: '100000',
  DRAIN_MS: String(DRAIN_MS),
  ...(redis ? { REDIS_URL: redis.url, LEASE_MS: '3000' } : {}),
}
const instances: Instance[] = []
for (const name of memory ? ['A'] : ['A', 'B', 'C']) {
  instances.push(
    await createInstance(name, { env, onLine, onCrash: (name, what) => crashes.push(`${name} ${what}`) }),
  )
}
await Promise.all(instances.map((instance) => instance.start()))
const world: World = {
  seed: Number(options.seed),
  instances,
  model,
  faults: [],
  histories: [],
  crashes,
  counts: { reconnects: 0, cuts: 0, broken: 0, turnedAway: 0, doubled: 0 },
  now,
}
console.log(
  `seed ${world.seed}: ${questions} questions, ${reconnects} reconnects, ${instances.length} servers`,
)
const stalls = watchStalls(world)
const progress = setInterval(() => console.log(progressLine()), 5000)
await run(redis)
clearInterval(progress)
stalls.stop()

const report = judge(world, stalls.longestMs)
print(report, world, options.tell)
if (options.json) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`)
await Promise.all(instances.map((instance) => instance.end('SIGKILL')))
await Promise.all([redis?.stop(), model.stop()])
const short = report.counts['reconnects']! < reconnects || report.counts['questions']! < questions
if (short) console.log('It fell short: not as many questions or reconnects as wanted, in the time it had.')
process.exit(report.findings.length > 0 || (short && !quick) ? 1 : 0)

async function run(redis: RedisServer | undefined): Promise<void> {
  const monkey = redis && createMonkey(world, redis, { doses, questions })
  let next = 1
  const wanted = (): boolean => next <= questions || world.counts.reconnects < reconnects
  async function client(): Promise<void> {
    while (wanted() && now() < limitMs) {
      const n = next++
      monkey?.onQuestion(n)
      await ask(world, n)
    }
  }
  await Promise.all(
    Array.from({ length: Number(options.crowd) }, async (_, at) => {
      await sleep(at * 20)
      await client()
    }),
  )
  await monkey?.settled()
  await inTurns(world.histories, 16, (history) => audit(world, history))
}

async function inTurns<Item>(
  items: readonly Item[],
  atOnce: number,
  task: (item: Item) => Promise<void>,
): Promise<void> {
  const rest = items.values()
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const item of rest) await task(item)
    }),
  )
}

/** A server's own line about a reply belongs to its story. */
function onLine(name: string, line: string): void {
  const id = /"replyId":"([^"]+)"/.exec(line)?.[1]
  // A log has the beginning of an id.
  const start = id?.replace('…', '')
  const history = world.histories.findLast(({ readers }) =>
    readers.some(({ replyId }) => start !== undefined && replyId?.startsWith(start)),
  )
  if (id !== undefined && history) note(world, history, `${name} logs ${line}`)
}

function progressLine(): string {
  const { counts, faults, histories } = world
  const open = histories.filter(({ readers }: History) => readers.some(({ end }) => !end)).length
  const struck = (kind: string): number => faults.filter((fault) => fault.kind === kind).length
  return (
    `${(now() / 1000).toFixed(0)} s: ${histories.length} questions (${open} open), ${counts.reconnects} reconnects, ` +
    `${struck('kill')} kills, ${faults.length - struck('kill')} other faults, ${counts.turnedAway} turned away`
  )
}
