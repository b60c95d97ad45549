import type { IncomingMessage } from 'node:http'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import { type Simulator, type SimulatorRequest, startSimulator } from '../../simulator/index.ts'
import { ask, open, post } from '../hosts/client.ts'
import { type RedisServer, startRedis } from '../redis/server.ts'
import { createLaunch } from './launch.ts'
import type { ServerProcess } from './process.ts'
import { after, type Part, readPart } from './reading.ts'

export const LEASE_MS = 2000

// Has every answer say which process it is from.
export const telling = preload(`
  import http from 'node:http'
  import { syncBuiltinESMExports } from 'node:module'
  const { createServer } = http
  http.createServer = (options, listener) => createServer(options, listener && ((request, response) => {
    response.setHeader('x-worker', process.pid)
    listener(request, response)
  }))
  syncBuiltinESMExports()`)

export function preload(script: string): string {
  return `--import "data:text/javascript,${encodeURIComponent(script)}"`
}

export function workerOf({ headers }: Pick<Part, 'headers'>): number {
  return Number(headers['x-worker'])
}

/** Keeps a process from doing anything, until it is killed. */
export function freeze(pid: number): void {
  process.kill(pid, 'SIGSTOP')
  onTestFinished(() => {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It is gone, as it should be.
    }
  })
}

/** Everything that comes, also when it is cut. */
export function textOf(response: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    response.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    response.on('error', () => {}).on('close', () => resolve(text))
  })
}

/** Three workers at a time, a Redis and a model, for the tests of a `describe`. */
export function createCrew() {
  const { launchOnce, launchShared } = createLaunch()
  let questions = 0
  const crew = {} as { simulator: Simulator; redis: RedisServer; shared: ServerProcess } // before any test runs
  beforeAll(async () => {
    crew.redis = await startRedis()
    crew.simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: 400 })
    crew.shared = launchShared(environment())
    await crew.shared.ready
  })
  afterAll(async () => {
    crew.shared.child.kill('SIGKILL')
    await crew.redis.stop()
    await crew.simulator.close()
  })

  function environment(more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
    return {
      WORKERS: '3',
      OPENAI_BASE_URL: crew.simulator.url,
      OPENAI_API_KEY: 'any',
      REDIS_URL: crew.redis.url,
      LEASE_MS: String(LEASE_MS),
      // What a test leaves behind does not hold up the next one.
      DRAIN_MS: '0',
      UPSTREAM_RETRIES: '0',
      NODE_OPTIONS: telling,
      ...more,
    }
  }
  const launch = (more?: Readonly<Record<string, string>>): ServerProcess => launchOnce(environment(more))
  const question = (fault = ''): string => `worker question ${++questions}. ${fault && `fault:${fault}`}`
  const key = (): { readonly 'idempotency-key': string } => ({ 'idempotency-key': `worker-key-${questions}` })

  function askedOf(prompt: string): readonly SimulatorRequest[] {
    return crew.simulator.requests.filter(({ body }) => JSON.stringify(body ?? '').includes(prompt))
  }

  /** Which processes answer so many new connections. */
  async function workersAt(url: string, connections = 12): Promise<readonly number[]> {
    const answers: number[] = []
    for (let n = 0; n < connections; n++) answers.push(workerOf(await ask(url, { path: '/healthz' })))
    return [...new Set(answers)]
  }

  /** A server with an answer that is running, the worker that writes it, and its reader. */
  async function streaming(server: ServerProcess, fault: string) {
    const url = await server.ready
    const prompt = question(fault)
    const { body, ...asking } = post({ prompt })
    const response = await open(url, { ...asking, body: body! })
    const id = String(response.headers['x-reply-id'])
    const text = textOf(response)
    // What comes after the fault's words is there for others too.
    await readPart(url, after(id, 0), 3)
    return { url, prompt, id, text, pid: workerOf(response) }
  }

  return { crew, launchOnce, environment, launch, question, key, askedOf, workersAt, streaming }
}
