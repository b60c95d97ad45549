import { setTimeout as sleep } from 'node:timers/promises'
import { quantile } from '../stats.ts'
import { createConnection } from './connection.ts'
import { openStream, type Problem, type Question, type Stream } from './stream.ts'
import type { Order } from './tokens.ts'
import { cpuNs } from './usage.ts'

/** Clients that ask at once, each one question after the other. */
export interface LoadJob {
  readonly question: Question
  readonly order: Order
  readonly clients: number
  /** Questions of each. Default 1. */
  readonly each?: number | undefined
  /** Over how long they begin. */
  readonly rampMs: number
  /** Measured while all are active, from so long after the last one has its first token. Default: from the first question to the last answer. */
  readonly window?: { readonly settleMs: number; readonly ms: number } | undefined
  /** Whose use of the processor is measured. */
  readonly pids: readonly number[]
  /** The model and the clients, which must not be what is slow. */
  readonly beside: readonly number[]
  /** After that what is not whole has failed. */
  readonly limitMs: number
}

type Reading = Pick<Load, 'ms' | 'cpuNs' | 'besideNs'>

/** What was seen of it, in what was measured; `firstMs` and problems are of all. */
export interface Load {
  readonly ms: number
  readonly deltas: number
  readonly bytes: number
  readonly cpuNs: number
  /** Of the model and the clients. */
  readonly besideNs: number
  readonly p50: number
  readonly p99: number
  /** From a question to its first token, in milliseconds. */
  readonly firstMs: readonly number[]
  readonly problems: readonly Problem[]
}

/** Runs it. Never rejects for what a server does: that is among the problems. */
export async function runLoad(job: LoadJob): Promise<Load> {
  const { question, order, clients, each = 1, rampMs, window, pids, beside, limitMs } = job
  const firstMs: number[] = []
  const problems: Problem[] = []
  const streams = new Set<Stream>()
  const delays: number[] = []
  let measuring = window === undefined
  let bytes = 0
  let stopped = false
  let over: () => void = () => {}
  const someoneEnded = new Promise<void>((resolve) => (over = resolve))

  function ask(connection: ReturnType<typeof createConnection>): Promise<void> {
    return new Promise((resolve) => {
      const stream = openStream(connection, question, order, {
        onFirst: (afterMs) => void firstMs.push(afterMs),
        onToken: (delayMs) => void (measuring && delays.push(delayMs)),
        onBytes: (count) => void (measuring && (bytes += count)),
        onEnd(problem) {
          streams.delete(stream)
          if (problem) problems.push(problem)
          over()
          resolve()
        },
      })
      streams.add(stream)
    })
  }

  async function client(n: number): Promise<void> {
    // Not in step with the pace of the answers, nor all at once.
    await sleep((n * rampMs) / clients)
    const connection = createConnection()
    for (let n = 0; n < each && !stopped; n++) await ask(connection)
    connection.close()
  }

  const limit = new AbortController()
  const everyone = Promise.all(Array.from({ length: clients }, (_, n) => client(n)))
  const read = (): Reading => ({ ms: performance.now(), cpuNs: cpuNs(pids), besideNs: cpuNs(beside) })
  let before = read()
  let measured: Reading = { ms: 0, cpuNs: 0, besideNs: 0 }
  const measure = (): void => {
    const { ms, cpuNs, besideNs } = read()
    measured = { ms: ms - before.ms, cpuNs: cpuNs - before.cpuNs, besideNs: besideNs - before.besideNs }
    measuring = false
  }

  async function measureWindow({ settleMs, ms }: NonNullable<LoadJob['window']>): Promise<void> {
    while (firstMs.length < clients && streams.size + problems.length > 0) {
      if ((await Promise.race([sleep(10), someoneEnded.then(() => 'ended')])) === 'ended') return
    }
    await sleep(settleMs)
    before = read()
    measuring = true
    // The first that ends would leave less to do.
    await Promise.race([sleep(ms), someoneEnded])
    measure()
  }

  const whole = Promise.all([everyone, window && measureWindow(window)])
  const late = sleep(limitMs, 'late' as const, { signal: limit.signal }).catch(() => undefined)
  if ((await Promise.race([whole, late])) === 'late') {
    problems.push({ kind: 'failed', text: `${streams.size} answers were not whole after ${limitMs} ms.` })
    stopped = true
    for (const stream of streams) stream.destroy()
  }
  limit.abort()
  if (!window) measure()
  const [p50, p99] = [quantile(delays, 0.5), quantile(delays, 0.99)]
  return { ...measured, deltas: delays.length, bytes, p50, p99, firstMs, problems }
}
