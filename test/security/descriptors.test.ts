// More connections and replies than the process may open files.
import { type EventEmitter, once } from 'node:events'
import { existsSync } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { limitConnections } from '../../handlers/descriptors.ts'
import { bare, dial, post, type Wire } from '../adapters/raw.ts'
import { redisAvailable } from '../redis/gate.ts'
import { startRedis } from '../redis/server.ts'
import { createLaunch } from '../server/launch.ts'
import { portOf, type ServerProcess } from '../server/process.ts'
import { size } from './size.ts'

const REFUSED = '"code":"too-many-files"'

/** Opens so many connections and asks for the server's health on each. Resolves with those that were answered. */
async function connectMany(port: number, count: number): Promise<readonly Wire[]> {
  const wires = await Promise.all(Array.from({ length: count }, () => dial(port)))
  onTestFinished(() => wires.forEach((wire) => wire.leave()))
  for (const wire of wires) wire.send(bare('GET /healthz'))
  const answered = await Promise.all(
    wires.map((wire) =>
      Promise.race([
        wire.until('"status":"ok"').then(
          () => true,
          () => false,
        ),
        wire.closed.then(() => false),
      ]),
    ),
  )
  return wires.filter((_, at) => answered[at])
}

async function expectAnswer(url: string): Promise<void> {
  const answer = async (): Promise<boolean> => {
    const response = await fetch(`${url}/chat`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: '{"prompt":"hello","stream":false}',
    }).catch(() => undefined)
    return (await response?.text())?.includes('"finishReason":"stop"') ?? false
  }
  await vi.waitUntil(answer, { timeout: 40_000, interval: 200 })
}

function reports({ stderr }: ServerProcess): readonly { refused: number; message: string }[] {
  const lines = stderr.split('\n').filter((line) => line.includes(REFUSED))
  return lines.map((line) => JSON.parse(line) as { refused: number; message: string })
}

describe.skipIf(!existsSync('/proc/self/limits'))('a server that may open 64 files', () => {
  const { launchOnce } = createLaunch()

  test('refuses connections before it runs out, reports it once, and answers again', async () => {
    const server = launchOnce({}, { files: 64 })
    const url = await server.ready
    const port = portOf(url)

    const answered = await connectMany(port, size(60, 300))
    await vi.waitUntil(() => reports(server).length > 0, { timeout: 10_000 })
    const [first] = reports(server)

    expect(answered.length).toBeGreaterThan(2)
    expect(answered.length).toBeLessThan(32)
    expect(reports(server)).toHaveLength(1)
    expect(first?.message).toContain('64')
    expect(first?.message).toContain('ulimit -n')
    // Those that were taken are served, and their replies have descriptors left.
    for (const wire of answered) wire.send(post('/chat', { prompt: 'hello' }))
    for (const wire of answered) await wire.until('"type":"finish"')
    for (const wire of answered) wire.leave()
    await expectAnswer(url)
    expect(server.child.exitCode).toBeNull()
  })

  test.skipIf(!redisAvailable())('does so with workers', { timeout: 60_000 }, async () => {
    const redis = await startRedis()
    onTestFinished(() => redis.stop())
    const server = launchOnce({ WORKERS: '2', REDIS_URL: redis.url }, { files: 64 })
    const url = await server.ready

    const answered = await connectMany(portOf(url), size(60, 300))
    await vi.waitUntil(() => reports(server).length > 0, { timeout: 10_000 })

    expect(answered.length).toBeGreaterThan(2)
    expect(answered.length).toBeLessThan(50)
    for (const wire of answered) wire.leave()
    await expectAnswer(url)
    expect(server.child.exitCode).toBeNull()
    expect(server.stderr).not.toContain('Worker')
  })
})

describe('the limit of connections', () => {
  const logged = vi.spyOn(console, 'error').mockImplementation(() => {})
  let server: Server | undefined
  afterEach(() => {
    vi.useRealTimers()
    logged.mockClear()
    server?.close()
  })

  async function listen(limit: number): Promise<Server> {
    server = createServer((_request, response) => response.writeHead(204).end())
    limitConnections(server, { perClient: 2, limit })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return server
  }

  const lines = (): unknown[] => logged.mock.calls.map(([line]) => JSON.parse(String(line)) as unknown)

  test('comes at once, then at most every 10 s, with what was refused in between', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const emitter: EventEmitter = await listen(1000)
    const error = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE', syscall: 'accept' })

    for (let n = 0; n < 6; n++) emitter.emit('error', error)
    expect(lines()).toMatchObject([{ code: 'too-many-files', level: 'error', refused: 1 }])
    vi.advanceTimersByTime(10_000)
    expect(lines()).toMatchObject([{ refused: 1 }, { refused: 5 }])
    vi.advanceTimersByTime(60_000)
    expect(lines()).toHaveLength(2)
  })

  // Replies continue without their clients, and keep their connections to the upstream.
  test.skipIf(!existsSync('/proc/self/fd'))('counts everything that the process has open', async () => {
    const limit = (await readdir('/proc/self/fd')).length + 60
    const { port } = (await listen(limit)).address() as AddressInfo // it listens on TCP
    async function isTaken(): Promise<boolean> {
      const wire = await dial(port)
      wire.send(bare('GET /any'))
      const taken = await wire.until('204').then(
        () => true,
        () => false,
      )
      wire.leave()
      return taken
    }
    const before = await isTaken()

    const files = await Promise.all(Array.from({ length: 60 }, () => open('/dev/null')))
    await vi.waitUntil(async () => !(await isTaken()), { timeout: 10_000 })
    await Promise.all(files.map((file) => file.close()))
    await vi.waitUntil(isTaken, { timeout: 10_000 })

    expect(before).toBe(true)
    expect(lines()).toMatchObject([{ code: 'too-many-files', refused: 1 }])
  })

  test('is for descriptors only', async () => {
    const emitter: EventEmitter = await listen(1000)

    emitter.emit('error', Object.assign(new Error('accept'), { code: 'ECONNABORTED' }))

    expect(lines()).toEqual([])
  })
})
