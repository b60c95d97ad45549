// Readers that take nothing of their responses: what the process and the kernel keep for them, and for how long.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { toExpress } from '../../adapters/express.ts'
import type { Upstream } from '../../src/index.ts'
import type { Frames, Handler } from '../../src/types.ts'
import { fixed, type Host, host, relay } from '../adapters/host.ts'
import { bare, dial, post, type Wire } from '../adapters/raw.ts'
import { size } from './size.ts'

const MIB = 1024 * 1024
/** More than the kernel takes for one connection on the loopback interface: 4 MiB to send, and what is received. */
const LARGE = 12 * MIB
const STALL_MS = 1500

let running: Host | undefined
afterEach(async () => {
  await running?.close()
  running = undefined
})

/** What the kernel keeps for the server's connections: how many there are, and bytes that no client has taken. */
async function kernelHolds(port: number): Promise<{ readonly connections: number; readonly bytes: number }> {
  const table = await readFile('/proc/net/tcp', 'utf8')
  const mine = table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(`:${hex(port)}`) && state !== '0A' && state !== '06')
  const bytes = mine.map(([, , , , queues]) => Number.parseInt(queues?.split(':')[0] ?? '0', 16))
  return { connections: mine.length, bytes: bytes.reduce((sum, each) => sum + each, 0) }
}

function hex(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0')
}

async function neverReading(request: string): Promise<Wire> {
  const wire = await dial(running?.port ?? 0)
  wire.socket.pause()
  wire.send(request)
  onTestFinished(() => wire.leave('RST'))
  return wire
}

/** Answers everything with this body. */
function answering(body: () => string | Frames): Handler {
  return async () => ({ status: 200, headers: {}, body: body(), settled: Promise.resolve() })
}

async function* inFrames(length: number, count: number): Frames {
  for (let n = 0; n < count; n++) yield 'x'.repeat(length)
}

async function listen(handler: Handler): Promise<Host> {
  const answer = toExpress(handler, { stallTimeoutMs: STALL_MS })
  return host((request, response) => void answer(request, response))
}

describe.skipIf(!existsSync('/proc/net/tcp'))('of a reader that takes nothing', () => {
  test.each([
    ['a document', () => 'x'.repeat(LARGE)],
    ['a stream of small frames', () => inFrames(1000, LARGE / 1000)],
    ['a stream of large frames', () => inFrames(64 * 1024, LARGE / 64 / 1024)],
    ['a stream of one frame', () => inFrames(LARGE, 1)],
  ])('the connection and its memory are freed within the stall limit: %s', async (_what, body) => {
    running = await listen(answering(body))
    const { port } = running

    await Promise.all(Array.from({ length: 5 }, () => neverReading(bare('GET /any'))))
    await vi.waitUntil(async () => (await kernelHolds(port)).bytes > MIB, { timeout: 10_000 })
    const start = performance.now()
    await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 20_000 })

    expect(performance.now() - start).toBeLessThan(STALL_MS + 10_000)
    await vi.waitUntil(async () => (await kernelHolds(port)).bytes === 0, { timeout: 2000 })
  })

  test('the end of a response is freed too that the process could not hand to the kernel', async () => {
    let handled = 0
    running = await listen((request) => {
      handled++
      return answering(() => 'x'.repeat(60_000))(request)
    })
    const { port, sockets } = running
    const wire = await neverReading('')

    // One request at a time: each response ends, until the kernel takes no more.
    for (let sent = 1; sockets.size > 0 && sent < 1000; sent++) {
      wire.send(bare('GET /any'))
      await vi.waitUntil(() => handled === sent || sockets.size === 0, { timeout: 20_000, interval: 2 })
    }

    expect(sockets.size).toBe(0)
    await vi.waitUntil(async () => (await kernelHolds(port)).bytes === 0, { timeout: 2000 })
  })

  test(
    'many readers of one reply leave nothing, and another reader gets its answer',
    { timeout: 180_000 },
    async () => {
      const count = size(40, 1000)
      const upstream: Upstream = async function* () {
        for (let n = 0; n < 96; n++) yield { type: 'text', text: 'x'.repeat(64 * 1024) }
        yield { type: 'finish', reason: 'stop' }
      }
      const stallTimeoutMs = size(STALL_MS, 10_000)
      const answer = relay({ ...fixed, upstream, stallTimeoutMs, lingerMs: 60_000 })
      running = await host((request, response) => void answer(request, response))
      const { port, url, sockets } = running
      const first = await fetch(`${url}/chat`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        body: '{"prompt":"hi"}',
      })
      await first.text()

      const start = performance.now()
      await Promise.all(Array.from({ length: count }, () => neverReading(bare('GET /chat/reply-1'))))
      let most = { connections: 0, bytes: 0 }
      while (sockets.size > 0 && performance.now() - start < 120_000) {
        const now = await kernelHolds(port)
        if (now.bytes > most.bytes) most = now
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      const ms = performance.now() - start
      const after = await kernelHolds(port)
      const other = await fetch(`${url}/chat/reply-1`, {
        // Each text is recorded in four pieces: only the end is left.
        headers: { 'last-event-id': String(1 + 4 * 96), connection: 'close' },
      })

      console.info(
        `${count} readers: the kernel held ${(most.bytes / MIB).toFixed(0)} MiB at most; after ${ms.toFixed(0)} ms ${after.connections} connections and ${after.bytes} bytes`,
      )
      expect(most.bytes).toBeGreaterThan(count * 100_000)
      expect(sockets.size).toBe(0)
      expect(after.bytes).toBe(0)
      expect(await other.text()).toContain('"finish"')
    },
  )
})

test('a reader that takes a document slowly is not disconnected', async () => {
  running = await listen(answering(() => 'é'.repeat(LARGE / 2)))
  const wire = await dial(running.port)
  const timer = setInterval(() => {
    wire.socket.pause()
    setTimeout(() => wire.socket.resume(), 100)
  }, 110)

  wire.send(post('/any', {}, ['Connection: close']))
  const text = await wire.closed
  clearInterval(timer)

  const body = text.slice(text.indexOf('\r\n\r\n') + 4)
  expect(text).toContain(`content-length: ${LARGE}`)
  expect(body).toBe('é'.repeat(LARGE / 2))
})
