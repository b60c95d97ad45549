import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type Simulator, type SimulatorRequest, startSimulator } from '../../simulator/index.ts'
import { ask, deltas, open, post } from '../hosts/client.ts'
import { describeRedis } from '../redis/gate.ts'
import { freePort, type RedisServer, startRedis } from '../redis/server.ts'
import { createLauncher, type Launcher, type ServerProcess } from './process.ts'
import { after, idOf, isOver, lastId, type Part, readPart } from './reading.ts'

const LEASE_MS = 2000

// Has every answer say which process it is from.
const telling = preload(`
  import http from 'node:http'
  import { syncBuiltinESMExports } from 'node:module'
  const { createServer } = http
  http.createServer = (options, listener) => createServer(options, listener && ((request, response) => {
    response.setHeader('x-worker', process.pid)
    listener(request, response)
  }))
  syncBuiltinESMExports()`)

function preload(script: string): string {
  return `--import "data:text/javascript,${encodeURIComponent(script)}"`
}

function workerOf({ headers }: Pick<Part, 'headers'>): number {
  return Number(headers['x-worker'])
}

/** Keeps a process from doing anything, until it is killed. */
function freeze(pid: number): void {
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
function textOf(response: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    response.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    response.on('error', () => {}).on('close', () => resolve(text))
  })
}

let launcher: Launcher
beforeAll(async () => {
  launcher = await createLauncher()
})
afterAll(async () => {
  await launcher.stopAll()
  await launcher.remove()
})

/** A server of one test. */
function launchOnce(
  environment: Readonly<Record<string, string>>,
  options?: { readonly group: boolean },
): ServerProcess {
  const server = launcher.launch(environment, options)
  onTestFinished(async () => {
    server.child.kill('SIGKILL')
    await server.exited
  })
  return server
}

test('without a Redis several workers are refused, with a sentence and exit code 1', async () => {
  const server = launchOnce({ WORKERS: '4' })

  expect(await server.exited).toBe(1)
  expect(server.stderr).toBe(
    'The environment has a problem:\n  - WORKERS must be 1 without REDIS_URL, because workers do not know the replies of each other: set REDIS_URL, or unset WORKERS; got "4"\n',
  )
  expect(server.stdout).toBe('')
})

test('one worker is the one process that it was, and needs no Redis', async () => {
  const server = launchOnce({ WORKERS: '1', OPENAI_API_KEY: 'any', NODE_OPTIONS: telling })
  const url = await server.ready

  expect(workerOf(await ask(url, { path: '/healthz' }))).toBe(server.child.pid)
  expect(server.stdout).toBe(`deltarelay is listening on ${url} (model gpt-4.1-mini at api.openai.com)\n`)
})

describeRedis('three workers and one Redis', () => {
  let simulator: Simulator
  let redis: RedisServer
  let questions = 0
  /** Of those tests that leave it as it is. */
  let shared: ServerProcess
  beforeAll(async () => {
    redis = await startRedis()
    simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: 400 })
    shared = launcher.launch(environment())
    await shared.ready
  })
  afterAll(async () => {
    await launcher.stopAll()
    await redis.stop()
    await simulator.close()
  })

  function environment(more: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
    return {
      WORKERS: '3',
      OPENAI_BASE_URL: simulator.url,
      OPENAI_API_KEY: 'any',
      REDIS_URL: redis.url,
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
    return simulator.requests.filter(({ body }) => JSON.stringify(body ?? '').includes(prompt))
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

  test('all of them share the one port, and one line says when they do', async () => {
    const url = await shared.ready

    const workers = await workersAt(url)

    expect(workers).toHaveLength(3)
    expect(workers).not.toContain(shared.child.pid)
    expect(shared.stdout).toBe(
      `deltarelay is listening on ${url} (model gpt-4.1-mini at ${new URL(simulator.url).host}; replies in Redis at 127.0.0.1:${redis.port}; 3 workers)\n`,
    )
    expect(shared.stderr).toBe('')
  })

  test('the line comes when the last of them listens', async () => {
    const port = await freePort()
    const file = `${redis.directory}/go`
    const late = preload(`
      import cluster from 'node:cluster'
      import { existsSync } from 'node:fs'
      while (cluster.worker?.id === 2 && !existsSync(${JSON.stringify(file)}))
        await new Promise((resolve) => setTimeout(resolve, 20))`)
    const server = launch({ PORT: String(port), NODE_OPTIONS: `${telling} ${late}` })
    const answering = (): Promise<readonly number[]> =>
      workersAt(`http://127.0.0.1:${port}`, 4).catch(() => [])
    await expect.poll(answering, { timeout: 10_000 }).toHaveLength(2)

    expect(server.stdout).toBe('')
    await writeFile(file, '')
    await server.ready

    expect(await answering()).toHaveLength(3)
  })

  test('they share one simulated model', async () => {
    const server = launcher.launch({
      WORKERS: '3',
      REDIS_URL: redis.url,
      DRAIN_MS: '0',
      NODE_OPTIONS: telling,
    })
    const url = await server.ready

    const asking = { path: '/stream?prompt=hello' }
    const parts = await Promise.all(Array.from({ length: 6 }, () => readPart(url, asking, 2)))

    expect(server.stdout).toContain(
      '(simulated model: set OPENAI_API_KEY or OPENAI_BASE_URL for a real one; ',
    )
    expect(new Set(parts.map(workerOf)).size).toBe(3)
    for (const { text } of parts) expect(text).toContain('"model":"simulator"')
  })

  test('forty readers of a reply, each on a connection of its own, get the same bytes from all workers', async () => {
    const url = await shared.ready
    const prompt = question('pause;after=8;ms=1000')
    const whole = readPart(url, post({ prompt }, key()))
    const started = await readPart(url, post({ prompt }, key()), 2)

    const parts = await Promise.all(
      Array.from({ length: 40 }, (_, n) => readPart(url, after(idOf(started), n % 8))),
    )

    const { text } = await whole
    expect(isOver(text)).toBe(true)
    expect(new Set(parts.map(workerOf)).size).toBe(3)
    for (const [n, part] of parts.entries()) {
      expect(text.endsWith(part.text)).toBe(true)
      expect(/^id: (\d+)$/m.exec(part.text)?.[1]).toBe(String((n % 8) + 1))
    }
    expect(askedOf(prompt)).toHaveLength(1)
  })

  test('a stop at another worker closes the upstream', async () => {
    const url = await shared.ready
    const pairs: (readonly [number, number])[] = []
    for (let n = 0; n < 6; n++) {
      const prompt = question('stall;after=3')
      const cut = await readPart(url, post({ prompt }), 3)

      const stopped = await ask(url, { method: 'DELETE', path: `/chat/${idOf(cut)}` })

      expect(JSON.parse(stopped.body)).toMatchObject({ status: 'stopped' })
      const [request] = askedOf(prompt)
      await request!.done
      expect(request!.hungUp).toBe(true)
      pairs.push([workerOf(cut), workerOf(stopped)])
    }
    expect(pairs.filter(([asked, told]) => asked !== told).length).toBeGreaterThan(2)
  })

  test('thirty questions under one key, at once, are one call of the upstream', async () => {
    const url = await shared.ready
    const prompt = question('pause;after=5;ms=300')
    const asking = post({ prompt }, key())

    const parts = await Promise.all(Array.from({ length: 30 }, () => readPart(url, asking)))

    expect(askedOf(prompt)).toHaveLength(1)
    expect(new Set(parts.map(workerOf)).size).toBe(3)
    expect(new Set(parts.map(idOf)).size).toBe(1)
    expect(new Set(parts.map(({ text }) => text)).size).toBe(1)
    expect(isOver(parts[0]!.text)).toBe(true)
  })

  test('SIGTERM lets a running answer get to its end, refuses new ones, and ends with 0', async () => {
    const server = launch({ DRAIN_MS: '20000' })
    const { url, text } = await streaming(server, 'pause;after=3;ms=1500')

    server.child.kill('SIGTERM')
    await expect
      .poll(() => ask(url, { path: '/readyz' }))
      .toMatchObject({ status: 503, body: '{"status":"draining"}' })
    const refused = await ask(url, post({ prompt: question() }))

    expect(refused).toMatchObject({ status: 503, body: expect.stringContaining('server-shutdown') })
    expect(deltas(await text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(await server.exited).toBe(0)
    expect(server.stderr).not.toContain('Worker')
  })

  test('SIGTERM while workers still start ends them at once, with 0', async () => {
    const stuck = preload(`
      if (process.argv[2] === 'worker') {
        console.error('starting')
        await new Promise((resolve) => setTimeout(resolve, 60_000))
      }`)
    const server = launch({ NODE_OPTIONS: stuck, DRAIN_MS: '60000' })
    await expect.poll(() => server.stderr, { timeout: 10_000 }).toBe('starting\n'.repeat(3))
    const since = performance.now()

    server.child.kill('SIGTERM')

    expect(await server.exited).toBe(0)
    expect(performance.now() - since).toBeLessThan(5000)
  })

  test('an answer that does not end in time is told so, and the server ends with 0', async () => {
    const server = launch({ DRAIN_MS: '300' })
    const { text } = await streaming(server, 'stall;after=3')

    server.child.kill('SIGTERM')

    expect(deltas(await text).at(-1)).toMatchObject({ type: 'error', code: 'server-shutdown' })
    expect(await server.exited).toBe(0)
  })

  test('SIGINT to all processes at once, as by a terminal, is one signal', async () => {
    const server = launchOnce(environment({ DRAIN_MS: '20000' }), { group: true })
    const { text } = await streaming(server, 'pause;after=3;ms=1000')

    process.kill(-server.child.pid!, 'SIGINT')

    expect(deltas(await text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(await server.exited).toBe(0)
    expect(server.stderr).not.toContain('Worker')
  })

  test.each([false, true])('a second signal ends all of them at once; to the group: %s', async (group) => {
    const server = launchOnce(environment({ DRAIN_MS: '60000' }), { group: true })
    const { url, text } = await streaming(server, 'stall;after=3')
    const pid = group ? -server.child.pid! : server.child.pid!
    process.kill(pid, 'SIGINT')
    await expect.poll(() => ask(url, { path: '/readyz' })).toMatchObject({ status: 503 })
    const since = performance.now()

    process.kill(pid, 'SIGINT')

    expect(await server.exited).toBe(1)
    expect(performance.now() - since).toBeLessThan(10_000) // of the 60 s that it would have
    expect(await text).not.toContain('"error"')
  })

  test('a worker that is killed is replaced, and its readers hear of it within the lease', async () => {
    const server = launch()
    const { url, id, pid } = await streaming(server, 'stall;after=3')
    const others = (await workersAt(url)).filter((each) => each !== pid)
    expect(others).toHaveLength(2)
    const readers = await Promise.all(Array.from({ length: 6 }, () => open(url, after(id, 0))))
    const elsewhere = readers.filter((reader) => workerOf(reader) !== pid).map(textOf)
    const since = performance.now()

    process.kill(pid, 'SIGKILL')

    expect(elsewhere.length).toBeGreaterThan(2)
    for (const text of await Promise.all(elsewhere))
      expect(deltas(text).at(-1)).toMatchObject({ type: 'error', code: 'producer-lost', retryable: true })
    expect(performance.now() - since).toBeLessThan(LEASE_MS + 4000)
    const late = await readPart(url, after(id, 3))
    expect(late.text).toContain('"code":"producer-lost"')
    await expect.poll(() => workersAt(url)).toHaveLength(3)
    expect(await workersAt(url)).toEqual(expect.arrayContaining(others))
    const lines = server.stderr.split('\n').filter((line) => line.includes('Worker'))
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        time: expect.any(String),
        level: 'error',
        message: `Worker ${pid} ended with SIGKILL: another one takes its place in 100 ms.`,
      },
    ])
  })

  test('a connection that was on its way to a worker that is killed is closed, and not forgotten', async () => {
    const server = launch()
    const url = await server.ready
    const [pid] = await workersAt(url)
    freeze(pid!)
    const asked = Array.from({ length: 3 }, () => ask(url, { path: '/healthz' }))
    const answers = Promise.allSettled(asked)
    // The others have answered: this one waits for a worker that does not take it.
    await expect.poll(() => workersAt(url, 4)).toHaveLength(2)

    process.kill(pid!, 'SIGKILL')

    const states = (await answers).map(({ status }) => status)
    expect(states.toSorted()).toEqual(['fulfilled', 'fulfilled', 'rejected'])
  })

  test('where all of them are killed at once, the others have the port again', async () => {
    const server = launch()
    const url = await server.ready
    const before = await workersAt(url)

    for (const pid of before) process.kill(pid, 'SIGKILL')

    const answered = (): Promise<readonly number[]> => workersAt(url).catch(() => [])
    await expect.poll(answered, { timeout: 10_000 }).toHaveLength(3)
    expect((await workersAt(url)).filter((pid) => before.includes(pid))).toEqual([])
    expect(server.stdout.split('\n')).toHaveLength(2)
  })

  test('workers whose primary process is killed end their answers, and then themselves', async () => {
    const server = launch({ DRAIN_MS: '20000' })
    const { text, id } = await streaming(server, 'pause;after=3;ms=1000')

    server.child.kill('SIGKILL')
    await once(server.child, 'exit')

    expect(deltas(await text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(await server.exited).toBe(null)
    const next = await readPart(await launch().ready, after(id, 0))
    expect(next.text).toBe(await text)
  })

  test('workers whose primary process is killed while they end are gone in time, whatever runs', async () => {
    const server = launch({ DRAIN_MS: '1000' })
    const { url, text } = await streaming(server, 'stall;after=3')
    server.child.kill('SIGTERM')
    await expect.poll(() => ask(url, { path: '/readyz' })).toMatchObject({ status: 503 })
    const since = performance.now()

    server.child.kill('SIGKILL')

    expect(await server.exited).toBe(null)
    expect(performance.now() - since).toBeLessThan(1000 + 2000 + 3000)
    expect(await text).toContain('server-shutdown')
  })

  test('a worker that hangs does not keep the server', async () => {
    const server = launch({ DRAIN_MS: '100' })
    const [pid] = await workersAt(await server.ready)
    freeze(pid!)
    const since = performance.now()

    server.child.kill('SIGTERM')

    expect(await server.exited).toBe(1)
    expect(performance.now() - since).toBeLessThan(100 + 3000 + 3000)
  })

  test('a port in use is one sentence and exit code 1', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as { port: number } // TCP
    const server = launch({ PORT: String(port) })

    const code = await server.exited
    taken.close()

    expect(code).toBe(1)
    expect(server.stderr).toBe(
      `Cannot listen on 127.0.0.1:${port}: something else uses it; set PORT to another one.\n`,
    )
    expect(server.stdout).toBe('')
  })

  test('a port that is named is theirs', async () => {
    const port = await freePort()

    const url = await launch({ PORT: String(port) }).ready

    expect(url).toBe(`http://127.0.0.1:${port}`)
    expect(await workersAt(url)).toHaveLength(3)
  })

  test('when no worker can start the server says so and ends with 1', async () => {
    const server = launch({ NODE_OPTIONS: preload('if (process.argv[2] === "worker") process.exit(7)') })

    expect(await server.exited).toBe(1)
    expect(server.stdout).toBe('')
    expect(JSON.parse(server.stderr)).toEqual({
      time: expect.any(String),
      level: 'error',
      message: expect.stringMatching(
        /^Worker \d+ ended with exit code 7 before it listened, and no other one listens: giving up\.$/,
      ),
    })
  })

  test('a worker that cannot be replaced is tried again with a growing wait, while the others serve', async () => {
    const file = `${redis.directory}/upstreams.json`
    const good = JSON.stringify([{ name: 'one', baseURL: simulator.url }])
    await writeFile(file, good)
    const server = launch({ UPSTREAMS: file })
    const url = await server.ready
    const [pid] = await workersAt(url)
    const waits = (): readonly number[] =>
      [...server.stderr.matchAll(/takes its place in (\d+) ms/g)].map(([, ms]) => Number(ms))
    await writeFile(file, 'nothing')

    process.kill(pid!, 'SIGKILL')

    await expect.poll(waits, { timeout: 20_000 }).toEqual([100, 200, 400])
    expect(server.stderr).toContain('UPSTREAMS names must be JSON')
    expect(await workersAt(url)).toHaveLength(2)
    await writeFile(file, good)
    await expect.poll(() => workersAt(url), { timeout: 20_000 }).toHaveLength(3)
    expect(server.stdout.split('\n')).toHaveLength(2)
  })

  test('when none is left, and none can be replaced, the server gives up', async () => {
    const file = `${redis.directory}/upstreams-gone.json`
    await writeFile(file, JSON.stringify([{ name: 'one', baseURL: simulator.url }]))
    const server = launch({ UPSTREAMS: file })
    const pids = await workersAt(await server.ready)
    await writeFile(file, 'nothing')

    for (const pid of pids) process.kill(pid, 'SIGKILL')

    expect(await server.exited).toBe(1)
    expect(server.stderr).toMatch(
      /ended with exit code 1 before it listened, and no other one listens: giving up\."\}\n/,
    )
  })

  test('a reader that comes back to a worker that did not know its reply has what it missed', async () => {
    const { url, id } = await streaming(shared, 'stall;after=6')
    const seen: number[] = []
    for (let seq = 0; seq < 6; seq++) {
      const part = await readPart(url, after(id, seq), 1)
      expect(lastId(part.text)).toBe(seq + 1)
      seen.push(workerOf(part))
    }
    expect(new Set(seen).size).toBe(3)
  })
})
