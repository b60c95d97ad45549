import type { ServerResponse } from 'node:http'
import { afterEach, expect, test, vi } from 'vitest'
import { createMemoryStore, type Upstream } from '../../src/index.ts'
import { fixed, type Host, host, relay } from './host.ts'
import { bare, dial, post, split } from './raw.ts'

let running: Host | undefined

afterEach(async () => {
  await running?.close()
  running = undefined
})

const MIB = 1024 * 1024
const PIECE = 'x'.repeat(16_000) // one delta of the log

/** Offers so many pieces as fast as they are taken. */
function offering(pieces: number): Upstream {
  return async function* () {
    for (let index = 0; index < pieces; index++) {
      yield { type: 'text', text: `${index}:${PIECE}` }
      if (index % 64 === 63) await new Promise(setImmediate)
    }
    yield { type: 'finish', reason: 'stop' }
  }
}

/** The server, and how much a response of it ever held back. */
async function listen(pieces: number, stallTimeoutMs: number, ttlMs = 600_000) {
  const store = createMemoryStore({ ttlMs })
  const upstream = offering(pieces)
  const answer = relay({
    ...fixed,
    upstream,
    store,
    maxReplyBytes: 100 * MIB,
    stallTimeoutMs,
    lingerMs: 60_000,
  })
  const held = { most: 0 }
  const watch = (response: ServerResponse): void => {
    const write = response.write.bind(response)
    response.write = (chunk: unknown) => {
      const more = write(chunk)
      held.most = Math.max(held.most, response.writableLength)
      return more
    }
  }
  running = await host((request, response) => {
    watch(response)
    void answer(request, response)
  })
  return { store, held, host: running }
}

test('a client that reads nothing costs a small buffer, then its connection, never the answer', async () => {
  const { store, held, host } = await listen(3200, 2000)
  const wire = await dial(host.port)
  wire.socket.pause()

  wire.send(post('/chat', { prompt: 'hi' }))

  // The producer does not wait for it.
  await vi.waitUntil(async () => (await store.state('reply-1'))?.sealed, { timeout: 10_000 })
  expect(await store.state('reply-1')).toMatchObject({ length: 3202, sealed: true })
  expect(host.sockets.size).toBe(1)
  await vi.waitUntil(() => host.sockets.size === 0, { timeout: 10_000 })
  expect(held.most).toBeGreaterThan(0)
  expect(held.most).toBeLessThan(256 * 1024)

  const again = await dial(host.port)
  again.send(bare('GET /chat/reply-1', ['Last-Event-ID: 3200', 'Connection: close']))
  const { body } = split(await again.closed)
  expect(body.match(/^id: .*$/gm)).toEqual(['id: 3201', 'id: 3202'])
  wire.leave()
})

test('a reader that pauses again and again gets every byte once, and is not taken for one that is gone', async () => {
  const { held, host } = await listen(640, 1000)
  const wire = await dial(host.port)

  wire.send(bare('GET /stream?prompt=hi', ['Connection: close']))
  const timer = setInterval(() => {
    wire.socket.pause()
    setTimeout(() => wire.socket.resume(), 15)
  }, 30)
  const { body } = split(await wire.closed)
  clearInterval(timer)

  const texts = body
    .split('\n\n')
    .filter((frame) => frame.includes('"text"'))
    .map((frame) => (JSON.parse(frame.slice(frame.indexOf('{'))) as { text: string }).text)
  expect(texts).toHaveLength(640)
  expect(texts.every((text, index) => text === `${index}:${PIECE}`)).toBe(true)
  expect(body.endsWith('data: {"type":"finish","reason":"stop"}\n\n')).toBe(true)
  expect(held.most).toBeLessThan(256 * 1024)
})

test('twenty clients that read nothing cost twenty small buffers', async () => {
  const upstream = offering(256)
  const answer = relay({ upstream, stallTimeoutMs: 60_000 })
  const responses: ServerResponse[] = []
  running = await host((request, response) => {
    responses.push(response)
    void answer(request, response)
  })

  const wires = await Promise.all(Array.from({ length: 20 }, () => dial(running?.port ?? 0)))
  for (const wire of wires) {
    wire.socket.pause()
    wire.send(post('/chat', { prompt: 'hi' }))
  }
  await vi.waitUntil(() => responses.length === 20 && responses.every((each) => each.writableNeedDrain), {
    timeout: 10_000,
  })

  const total = responses.reduce((sum, { writableLength }) => sum + writableLength, 0)
  expect(total).toBeLessThan(20 * 256 * 1024)
  for (const wire of wires) wire.leave('RST')
  await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 10_000 })
})

test('a slow client reads an answer to its end that is kept for no time at all', async () => {
  const { store, held, host } = await listen(1000, 20_000, 0)
  const wire = await dial(host.port)
  wire.socket.pause()
  wire.send(post('/chat', { prompt: 'hi' }, ['Connection: close']))
  await vi.waitUntil(() => held.most > 0, { timeout: 10_000 })
  // Whoever asks for anything makes the store forget what is over.
  await vi.waitUntil(async () => (await store.state('reply-1')) === undefined, { timeout: 10_000 })
  const other = await fetch(`${host.url}/chat/reply-1`)

  wire.socket.resume()

  const { body } = split(await wire.closed)
  expect(other.status).toBe(404)
  expect(body.match(/^id: .*$/gm)).toHaveLength(1002)
  expect(body.slice(-60)).toContain('id: 1002\ndata: {"type":"finish","reason":"stop"}\n\n')
})
