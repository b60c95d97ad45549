import { setTimeout as sleep } from 'node:timers/promises'
import type { RedisServer } from '../../test/redis/server.ts'
import { receive } from '../lab.ts'
import { quantile } from '../stats.ts'
import { cpuUs, residentKiB, sum } from './processes.ts'

/** A server and its workers. */
export interface Subject {
  readonly url: string
  /** The processes that answer. */
  readonly workers: readonly number[]
  /** Those, and the one that started them. */
  readonly all: readonly number[]
}

/** What a load cost and how it arrived; each figure for one delta where nothing else is said. */
export interface Cost {
  readonly cpuUs: number
  /** What the busiest worker used, to what each would use if all used the same. */
  readonly busiest: number
  readonly redisCpuUs: number
  /** Scripts that Redis ran, and bytes to it and from it. */
  readonly scripts: number
  readonly bytesIn: number
  readonly bytesOut: number
  readonly p50: number
  readonly p99: number
  readonly perSecond: number
}

/** 20 tokens a second. */
const EVERY_MS = 50
/** Streams begin one after the other, in so much time. */
const RAMP_MS = 1000

/** Asks for so many answers at once, a little after one another, and waits for the last token. */
export async function load(
  subject: Subject,
  {
    streams,
    events,
    redis,
  }: { readonly streams: number; readonly events: number; readonly redis: RedisServer },
): Promise<Cost> {
  const before = await usage(subject, redis)
  const since = performance.now()
  const arrivals = await begin(subject.url, streams, events)
  const seconds = (performance.now() - since) / 1000
  const after = await usage(subject, redis)
  const deltas = streams * events
  const used = after.workers.map((us, n) => us - before.workers[n]!)
  const per = (field: 'all' | 'redis' | 'scripts' | 'bytesIn' | 'bytesOut'): number =>
    (after[field] - before[field]) / deltas
  const later = arrivals.flatMap(({ delays }) => delays.slice(1))
  return {
    cpuUs: per('all'),
    busiest: (Math.max(...used) * used.length) / sum(used),
    redisCpuUs: per('redis'),
    scripts: per('scripts'),
    bytesIn: per('bytesIn'),
    bytesOut: per('bytesOut'),
    p50: quantile(later, 0.5),
    p99: quantile(later, 0.99),
    perSecond: deltas / seconds,
  }
}

/** Holds so many streams for a while: what was added to a token while all of them ran, and the memory then. */
export async function hold(
  { url, all }: Subject,
  streams: number,
  holdMs: number,
): Promise<{ readonly p99: number; readonly residentKiB: number }> {
  const held = holdMs / EVERY_MS
  const events = RAMP_MS / EVERY_MS + held
  const resident = sleep(RAMP_MS + holdMs / 2).then(() => sum(all.map(residentKiB)))
  const arrivals = await begin(url, streams, events)
  const within = arrivals.flatMap(({ delays }, n) => {
    // The last to begin is still to come.
    const skipped = Math.ceil((RAMP_MS * (1 - n / streams)) / EVERY_MS)
    return delays.slice(skipped, skipped + held - 1)
  })
  return { p99: quantile(within, 0.99), residentKiB: await resident }
}

/** CPU of the workers for one answer of one token, in microseconds. */
export async function requestUs(subject: Subject, answers: number): Promise<number> {
  const { url, all } = subject
  const before = sum(all.map(cpuUs))
  await askInTurns(subject, answers, () => receive(url, { events: 1, everyMs: 0 }))
  return (sum(all.map(cpuUs)) - before) / answers
}

/** Has every worker answer so often that its code is compiled: with more workers each of them sees less of the load. */
export async function warmUp(
  subject: Subject,
  { answers, redis }: { readonly answers: number; readonly redis: RedisServer },
): Promise<void> {
  const { url, workers } = subject
  await askInTurns(subject, answers * workers.length, () => receive(url, { events: 40, everyMs: 0 }))
  await load(subject, { streams: 40 * workers.length, events: 20, redis })
}

async function askInTurns(
  { workers }: Subject,
  answers: number,
  once: () => Promise<unknown>,
): Promise<void> {
  let left = answers
  async function client(): Promise<void> {
    while (left-- > 0) await once()
  }
  await Promise.all(Array.from({ length: 4 * workers.length }, client))
}

function begin(url: string, streams: number, events: number) {
  return Promise.all(
    Array.from({ length: streams }, async (_, n) => {
      await sleep((n / streams) * RAMP_MS)
      return receive(url, { events, everyMs: EVERY_MS })
    }),
  )
}

async function usage({ workers, all }: Subject, redis: RedisServer) {
  const info = String(await redis.command(['INFO', 'everything']))
  const field = (name: RegExp): number => Number(name.exec(info)?.[1] ?? 0)
  return {
    workers: workers.map(cpuUs),
    all: sum(all.map(cpuUs)),
    redis: cpuUs(redis.pid),
    scripts: field(/^cmdstat_evalsha:calls=(\d+)/m),
    bytesIn: field(/^total_net_input_bytes:(\d+)/m),
    bytesOut: field(/^total_net_output_bytes:(\d+)/m),
  }
}
