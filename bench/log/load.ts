import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RedisServer } from '../../test/redis/server.ts'
import { type Arrival, receive } from '../lab.ts'
import type { Order } from '../servers.ts'
import { median, quantile } from '../stats.ts'

/** What one round of answers was like at one server. */
export interface Round {
  readonly cpuUs: number
  /** Of Redis itself; 0 where nothing is asked of it. */
  readonly redisCpuUs: number
  /** From sending the request to the first token, in milliseconds. */
  readonly firstMs: number
  /** Of all tokens after the first: from the moment the model wrote it, in milliseconds. */
  readonly p50: number
  readonly p99: number
  /** From asking Redis to its answer, in milliseconds. */
  readonly roundTripMs: number
}

/** Asks `replies` questions at once, one a little after the other, so that the tokens do not come in time. */
export async function load(
  { url, pid }: { readonly url: string; readonly pid: number },
  { replies, order, redis }: { readonly replies: number; readonly order: Order; readonly redis: RedisServer },
): Promise<Round> {
  const [cpuBefore, redisBefore] = [cpuMs(pid), cpuMs(redis.pid)]
  const trips: number[] = []
  let over = false
  async function ping(): Promise<void> {
    while (!over) {
      const since = performance.now()
      await redis.command(['PING'])
      trips.push(performance.now() - since)
      await sleep(50)
    }
  }
  const pinging = ping()
  const arrivals: Arrival[] = await Promise.all(
    Array.from({ length: replies }, async (_, n) => {
      await sleep(n * 7) // no divisor of the pace
      return receive(url, order)
    }),
  )
  over = true
  await pinging
  const deltas = replies * order.events
  const later = arrivals.flatMap(({ delays }) => delays.slice(1))
  return {
    cpuUs: ((cpuMs(pid) - cpuBefore) * 1000) / deltas,
    redisCpuUs: ((cpuMs(redis.pid) - redisBefore) * 1000) / deltas,
    firstMs: median(arrivals.map(({ firstMs }) => firstMs)),
    p50: quantile(later, 0.5),
    p99: quantile(later, 0.99),
    roundTripMs: median(trips),
  }
}

/** How long a process has used a processor, to 10 ms: where Linux tells it. */
function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // After the name, which is in brackets and can hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}
