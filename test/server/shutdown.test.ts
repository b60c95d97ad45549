import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { bare, dial, post, type Wire } from '../adapters/raw.ts'
import { createLauncher, type Launcher, portOf, type ServerProcess } from './process.ts'

let launcher: Launcher
let simulator: Simulator
beforeAll(async () => {
  launcher = await createLauncher()
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
})
afterEach(() => launcher.stopAll())
afterAll(async () => {
  await launcher.remove()
  await simulator.close()
})

/** A server with one answer running, and the reader of it. */
async function streaming(
  fault: string,
  drainMs: number,
): Promise<{ server: ServerProcess; wire: Wire; port: number; url: string; id: string }> {
  const server = launcher.launch({
    OPENAI_BASE_URL: simulator.url,
    OPENAI_API_KEY: 'any',
    DRAIN_MS: String(drainMs),
  })
  const url = await server.ready
  const port = portOf(url)
  const wire = await dial(port)
  wire.send(post('/chat', { prompt: `hi fault:${fault}` }))
  const text = await wire.until('"text"', 3)
  return { server, wire, port, url, id: /x-reply-id: (\S+)/i.exec(text)?.[1] ?? '' }
}

test.each(['SIGTERM', 'SIGINT'] as const)(
  '%s with nothing to do ends the server with 0, at once',
  async (signal) => {
    const server = launcher.launch({ OPENAI_BASE_URL: simulator.url })
    const url = await server.ready
    await (await fetch(`${url}/healthz`)).text() // a connection that is kept
    const since = stopwatch()

    server.child.kill(signal)

    expect(await server.exited).toBe(0)
    expect(since()).toBeLessThan(1000)
    expect(server.stderr).toBe('')
  },
)

test.each([20_000, 2 ** 31 - 1])(
  'a running answer gets to its end, then the server ends, long before %i ms',
  async (ms) => {
    const { server, wire } = await streaming('pause;after=3;ms=600', ms)
    const since = stopwatch()

    server.child.kill('SIGTERM')

    expect(await wire.until('"type":"finish"')).not.toContain('server-shutdown')
    expect(await server.exited).toBe(0)
    expect(since()).toBeLessThan(10_000)
  },
)

test('while it ends new questions are refused, and who comes back is served', async () => {
  const { server, url, id } = await streaming('stall;after=3', 20_000)
  const ready = () =>
    fetch(`${url}/readyz`).then(async (response) => [response.status, await response.json()])
  expect(await ready()).toEqual([200, { status: 'ready' }])

  server.child.kill('SIGTERM')

  await expect.poll(ready).toEqual([503, { status: 'draining' }])
  const asked = await fetch(`${url}/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'hi' }),
  })
  expect([asked.status, asked.headers.get('retry-after'), await asked.json()]).toEqual([
    503,
    '1',
    { error: { code: 'server-shutdown', message: expect.any(String) } },
  ])
  const back = await fetch(`${url}/chat/${id}`, { headers: { 'last-event-id': '2' } })
  expect(back.status).toBe(200)
  const { value } = await back.body!.pipeThrough(new TextDecoderStream()).getReader().read()
  expect(value).toMatch(/^id: 3\ndata: /)
})

test('an answer that does not end in time is told so, and its upstream is closed', async () => {
  const { server, wire } = await streaming('stall;after=3', 300)
  const since = stopwatch()

  server.child.kill('SIGTERM')
  const text = await wire.until('server-shutdown')

  expect(since()).toBeGreaterThan(250)
  expect(text).toMatch(
    /id: 5\ndata: \{"type":"error","code":"server-shutdown","message":"[^"]+","retryable":true\}\n\n/,
  )
  expect(await server.exited).toBe(0)
  expect(since()).toBeLessThan(300 + 2000 + 1000)
  expect(await wire.closed).toMatch(/\r\n0\r\n\r\n$/)
  await expect.poll(() => simulator.openStreams()).toBe(0)
})

test('a question before its first token is refused with 503 when the time is up', async () => {
  const server = launcher.launch({ OPENAI_BASE_URL: simulator.url, OPENAI_API_KEY: 'any', DRAIN_MS: '300' })
  const wire = await dial(portOf(await server.ready))
  wire.send(post('/chat', { prompt: 'fault:no-response early' }))
  await expect
    .poll(() => simulator.requests.some(({ body }) => JSON.stringify(body).includes('early')))
    .toBe(true)

  server.child.kill('SIGTERM')

  expect(await wire.until('server-shutdown')).toContain('HTTP/1.1 503 ')
  expect(await server.exited).toBe(0)
})

test('a second signal ends the server at once, whatever runs', async () => {
  const { server, wire } = await streaming('stall;after=3', 60_000)
  server.child.kill('SIGTERM')
  await sleep(50) // two signals at once are one
  const since = stopwatch()

  server.child.kill('SIGTERM')

  expect(await server.exited).toBe(1)
  expect(since()).toBeLessThan(1000)
  await wire.closed
})

test('a reader that takes nothing does not keep the server', async () => {
  const { server, port } = await streaming('stall;after=3', 200)
  const stuck = await dial(port)
  stuck.socket.pause()
  stuck.send(bare('GET /stream?prompt=fault:endless'))
  const since = stopwatch()

  server.child.kill('SIGTERM')

  expect(await server.exited).toBe(0)
  expect(since()).toBeLessThan(200 + 2000 + 1000)
  stuck.leave()
})
