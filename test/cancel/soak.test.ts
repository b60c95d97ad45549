import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { bare, dial, post, type Wire } from '../adapters/raw.ts'
import { redisAvailable } from '../redis/gate.ts'
import { startRedis } from '../redis/server.ts'
import { type Bundle, bundle } from '../server/bundle.ts'
import type { Holding } from './soak-server.ts'

const WARM_UP = 600
const CYCLES = 1000
/** Answers that are abandoned half way: `SOAK=10000` for what a day brings. */
const ABANDONED = Number(process.env['SOAK'] ?? 500)
const ABANDONED_REDIS = ABANDONED * 0.75
const SAMPLES = 5
const AT_ONCE = 20
const MAX_SLOPE = 1024

let script: Bundle
let simulator: Simulator
let subject: Subject
beforeAll(async () => {
  script = await bundle('test/cancel/soak-server.ts')
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
})
afterEach(() => subject?.stop())
afterAll(async () => {
  await simulator.close()
  await script.remove()
})

interface Subject {
  readonly port: number
  /** Connections that it keeps: one for commands, one to hear what is published. */
  readonly keeps: number
  holding(): Promise<Holding>
  stop(): Promise<void>
}

async function start(environment: Record<string, string> = {}): Promise<Subject> {
  const child: ChildProcess = fork(script.path, {
    execArgv: ['--expose-gc'],
    env: { UPSTREAM: simulator.url, ...environment },
  })
  const [{ port }] = (await once(child, 'message')) as [{ port: number }] // its first message
  return {
    port,
    keeps: environment['REDIS_URL'] ? 2 : 0,
    async holding() {
      const answer = once(child, 'message') as Promise<[Holding]>
      child.send('measure')
      return (await answer)[0]
    },
    async stop() {
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

/** Runs one cycle after the other, so many at once. */
async function run(first: number, count: number, cycle: (index: number) => Promise<void>): Promise<void> {
  let next = first
  const worker = async (): Promise<void> => {
    while (next < first + count) await cycle(next++)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

/** What is held once connections and timers that end by themselves have ended. */
async function atRest({ holding, keeps }: Subject, expected?: Holding['resources']): Promise<Holding> {
  let last = await holding()
  await vi
    .waitUntil(
      async () => {
        last = await holding()
        return expected
          ? JSON.stringify(sorted(last.resources)) === JSON.stringify(sorted(expected))
          : (last.resources['TCPSocketWrap'] ?? 0) <= keeps && !last.resources['Timeout']
      },
      { timeout: 10_000, interval: 100 },
    )
    .catch(() => {}) // what is left is said by the comparison
  return last
}

function sorted(resources: Holding['resources']): [string, number][] {
  return Object.entries(resources).toSorted(([a], [b]) => a.localeCompare(b))
}

/** Bytes per cycle: the least-squares line through the samples. */
function slope(samples: readonly number[], cyclesBetween: number): number {
  const middle = (samples.length - 1) / 2
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length
  const rise = samples.reduce((sum, value, index) => sum + (index - middle) * (value - mean), 0)
  const run = samples.reduce((sum, _, index) => sum + (index - middle) ** 2, 0)
  return rise / run / cyclesBetween
}

async function soak(cycle: (index: number) => Promise<void>, cycles = CYCLES): Promise<void> {
  await run(0, WARM_UP, cycle)
  const before = await atRest(subject)
  const heaps = [before.heapUsed]
  for (let sample = 0; sample < SAMPLES; sample++) {
    await run(WARM_UP + sample * (cycles / SAMPLES), cycles / SAMPLES, cycle)
    heaps.push((await atRest(subject, before.resources)).heapUsed)
  }
  const after = await atRest(subject, before.resources)
  const perCycle = slope(heaps, cycles / SAMPLES)

  expect(after.resources).toEqual(before.resources)
  expect(after.complaints).toEqual([])
  expect(simulator.openStreams()).toBe(0)
  expect(perCycle, `heap after each ${cycles / SAMPLES} cycles: ${heaps.join(', ')}`).toBeLessThan(MAX_SLOPE)
  console.info(`heap: ${perCycle.toFixed(0)} bytes per cycle`)
}

const positions: readonly (readonly [fault: string, reached: (wire: Wire) => Promise<unknown>])[] = [
  ['no-response', () => Promise.resolve()],
  ['stall-after-headers', () => Promise.resolve()],
  ['no-response', (wire) => wire.until('\r\n\r\n')],
  ['stall-after-headers', (wire) => wire.until('\r\n\r\n')],
  ['stall;after=3', (wire) => wire.until('"text"', 3)],
  ['endless', (wire) => wire.until('"text"', 20)],
]

test(
  'a thousand clients that leave, at every stage, leave nothing behind',
  { timeout: 240_000 },
  async () => {
    subject = await start({ ACCEPT_WAIT_MS: '20' })
    let asked = 0

    await soak(async (index) => {
      const [fault, reached] = positions[index % positions.length]!
      const wire = await dial(subject.port)
      const prompt = `cycle ${index}. fault:${fault}`
      wire.send(
        index % 2 ? post('/chat', { prompt }) : bare(`GET /stream?prompt=${encodeURIComponent(prompt)}`),
      )
      // Some leave before the question has reached the upstream at all.
      if (index % 7) {
        const mark = `cycle ${index}. `
        await vi.waitUntil(
          () => simulator.requests.findLast(({ body }) => JSON.stringify(body ?? '').includes(mark)),
          { interval: 5, timeout: 10_000 },
        )
        asked++
        await reached(wire)
      }
      wire.leave(index % 3 ? 'RST' : 'FIN')
    })

    expect(asked).toBeGreaterThan(CYCLES / 2)
    expect(simulator.requests.every(({ closed }) => closed)).toBe(true)
  },
)

/** An answer that is left when some of it is there, and goes on for a while without a reader. */
async function abandon(index: number): Promise<void> {
  const wire = await dial(subject.port)
  const fault = index % 2 ? 'pause;after=10;ms=60000' : 'stall;after=10'
  wire.send(post('/chat', { prompt: `cycle ${index}. fault:${fault}` }))
  await wire.until('"text"', 10)
  wire.leave(index % 3 ? 'RST' : 'FIN')
}

test(
  `${ABANDONED} answers that are abandoned half way leave nothing behind`,
  { timeout: 900_000 },
  async () => {
    subject = await start({ LINGER_MS: '20' })

    await soak(abandon, ABANDONED)
  },
)

test.skipIf(!redisAvailable())(
  `${ABANDONED_REDIS} answers in Redis that are abandoned half way leave nothing behind`,
  { timeout: 900_000 },
  async () => {
    const redis = await startRedis()
    subject = await start({ LINGER_MS: '20', REDIS_URL: redis.url })

    try {
      await soak(abandon, ABANDONED_REDIS)
    } finally {
      await redis.stop()
    }
  },
)

test('a thousand answers that are read to the end leave nothing behind', { timeout: 240_000 }, async () => {
  subject = await start()

  await soak(async (index) => {
    const stream = index % 4 !== 0
    const response = await fetch(`http://127.0.0.1:${subject.port}/chat`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify({ prompt: `hello ${index}`, stream }),
    })
    expect(await response.text()).toContain(stream ? '"type":"finish"' : '"finishReason"')
  })
})
