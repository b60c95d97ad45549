// A request body that goes on after its response was decided.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import express from 'express'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createApp } from '../../handlers/app.ts'
import { readOptions } from '../../handlers/options.ts'
import { createHandler, type HandlerOptions } from '../../src/index.ts'
import { type Host, host, hosts, relay } from '../adapters/host.ts'
import { bare, dial, post, split } from '../adapters/raw.ts'
import { saying } from '../adapters/script.ts'
import { size } from './size.ts'

const MIB = 1024 * 1024
/** What is read after a response, and for how long. */
const MAX_BYTES = MIB
const MAX_MS = 2000
/** One read of Node, and what its streams hold before they stop reading. */
const SLACK_BYTES = 512 * 1024

let running: Host | undefined
afterEach(async () => {
  await running?.close()
  running = undefined
})

const json = 'Content-Type: application/json'
const options: HandlerOptions & { bodyTimeoutMs: number } = {
  upstream: saying('hi'),
  model: 'm',
  maxBodyBytes: 1000,
  bodyTimeoutMs: 200,
}

/** A request line and headers, the framing excepted. */
const requests: Readonly<Record<string, readonly [head: string, status: number]>> = {
  'an unknown reply': [`GET /chat/unknown HTTP/1.1\r\nHost: a`, 404],
  'an unknown path': [`POST /nowhere HTTP/1.1\r\nHost: a\r\n${json}`, 404],
  'a method that is not possible': [`PUT /chat HTTP/1.1\r\nHost: a\r\n${json}`, 405],
  'another content type': ['POST /chat HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain', 415],
  'a body above the limit': [`POST /chat HTTP/1.1\r\nHost: a\r\n${json}`, 413],
  'a health check with a body': ['GET /healthz HTTP/1.1\r\nHost: a', 200],
  'a stream with a body': ['GET /stream?prompt=hi HTTP/1.1\r\nHost: a', 200],
  'a preflight with a body': ['OPTIONS /chat HTTP/1.1\r\nHost: a', 204],
  'a HEAD with a body': ['HEAD /healthz HTTP/1.1\r\nHost: a', 200],
  'a stop with a body': ['DELETE /chat/unknown HTTP/1.1\r\nHost: a', 404],
  'a client that wants to close': [`PUT /chat HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${json}`, 405],
}

const piece = Buffer.alloc(64 * 1024, 'x')
/** How a body is framed: its header, and how a piece of it is sent. */
const framings: Readonly<Record<string, readonly [header: string, frame: (bytes: Buffer) => Buffer]>> = {
  'with a length': [`Content-Length: ${2 ** 40}`, (bytes) => bytes],
  'in chunks': [
    'Transfer-Encoding: chunked',
    (bytes) => Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]),
  ],
  // Six times as much is sent as what counts as content.
  'in chunks of one byte': [
    'Transfer-Encoding: chunked',
    (bytes) => Buffer.from('1\r\nx\r\n'.repeat(bytes.length / 8)),
  ],
  // Two hundred times as much.
  'in chunks with long extensions': [
    'Transfer-Encoding: chunked',
    (bytes) => Buffer.from(`1;${'e'.repeat(200)}=v\r\nx\r\n`.repeat(bytes.length / 256)),
  ],
}

/** Sends without end, as fast as it is taken, until the connection is closed. */
async function flood(socket: Socket, bytes: Buffer): Promise<void> {
  const closed = once(socket, 'close').catch(() => {})
  let over = false
  void closed.then(() => (over = true))
  while (!over) {
    if (!socket.write(bytes)) await Promise.race([once(socket, 'drain').catch(() => {}), closed])
    await new Promise(setImmediate)
  }
}

/** The server's own app beside the two: it answers unknown paths by itself. */
const places: typeof hosts = [
  ...hosts,
  [
    'the server',
    ({ bodyTimeoutMs, ...rest }) => {
      const env = { BODY_TIMEOUT_MS: String(bodyTimeoutMs) }
      return host(createApp(createHandler({ model: 'm', ...rest }), readOptions(env)))
    },
  ],
]

describe.each(places)('on %s', (name, listen) => {
  const asked = Object.entries(requests).filter(([what]) => name !== 'Express' || what !== 'an unknown path')

  test.each(Object.entries(framings))(
    'a body without end, %s: after the response at most 1 MiB is read for 2 s',
    async (_how, [header, frame]) => {
      running = await listen(options)
      const read = new Map<number | undefined, Socket>()
      running.server.on('connection', (socket: Socket) => read.set(socket.remotePort, socket))
      const bytes = frame(piece)

      const results = await Promise.all(
        asked.slice(0, header.startsWith('Content') ? 20 : 4).map(async ([what, [head]]) => {
          const wire = await dial(running?.port ?? 0)
          const port = wire.socket.localPort
          wire.send(`${head}\r\n${header}\r\n\r\n`)
          const start = performance.now()
          await flood(wire.socket, bytes)
          const ms = performance.now() - start
          return { what, status: split(wire.text).status, read: read.get(port)?.bytesRead ?? Infinity, ms }
        }),
      )

      for (const { what, status, read: size, ms } of results) {
        expect([what, status]).toEqual([what, requests[what]?.[1]])
        expect(size, what).toBeLessThan(MAX_BYTES + SLACK_BYTES)
        expect(ms, what).toBeGreaterThan(MAX_MS - 100)
        expect(ms, what).toBeLessThan(MAX_MS + 20_000)
      }
      await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 10_000 })
    },
  )

  test('a body that comes one byte at a time ends after 2 s', async () => {
    running = await listen(options)
    const start = performance.now()

    const results = await Promise.all(
      asked.map(async ([what, [head]]) => {
        const wire = await dial(running?.port ?? 0)
        wire.send(`${head}\r\nTransfer-Encoding: chunked\r\n\r\n`)
        const timer = setInterval(() => wire.send('1\r\nx\r\n'), 20)
        await wire.closed
        clearInterval(timer)
        return [what, split(wire.text).status]
      }),
    )

    // A body that is read has the time of a body before that.
    const expected = asked.map(([what, [, status]]) => [what, status === 413 ? 408 : status])
    expect(results).toEqual(expected)
    expect(performance.now() - start).toBeLessThan(MAX_MS + options.bodyTimeoutMs + 10_000)
    await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 10_000 })
  })

  test.each([
    ['a refusal', `PUT /chat HTTP/1.1\r\nHost: a\r\n${json}\r\nContent-Length: 600000\r\n\r\n`, '405'],
    [
      'a body above the limit',
      `POST /chat HTTP/1.1\r\nHost: a\r\n${json}\r\nContent-Length: 600000\r\n\r\n`,
      '413',
    ],
    ['a health check', 'GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n', '200'],
    ['a stream', 'GET /stream?prompt=hi HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n', '200'],
  ])(
    'after %s whose body ends within the limits the connection can be used again',
    async (_what, head, status) => {
      running = await listen(options)
      const wire = await dial(running.port)

      wire.send(head)
      await wire.until(`HTTP/1.1 ${status}`)
      wire.send('x'.repeat(600_000) + bare('GET /readyz'))
      await wire.until('"status":"ready"')
      wire.send(post('/chat', { prompt: 'again', stream: false }))
      await wire.until('"text":"hi"')

      expect(running.sockets.size).toBe(1)
      wire.leave()
    },
  )

  test.each([3, 8])(
    'a client that sends %i MiB and reads nothing for a while still reads the refusal',
    async (mebibytes) => {
      running = await listen(options)
      const socket = connect(running.port, '127.0.0.1')
      await once(socket, 'connect')
      socket.pause()
      socket.on('error', () => {}) // it still sends when the server closes
      const closed = new Promise((resolve) => socket.once('close', resolve))
      const bytes = mebibytes * MIB

      socket.write(`POST /chat HTTP/1.1\r\nHost: a\r\n${json}\r\nContent-Length: ${bytes}\r\n\r\n`)
      socket.write(Buffer.alloc(bytes, 'x'))
      let text = ''
      socket.setEncoding('utf8').on('data', (part: string) => (text += part))
      setTimeout(() => socket.resume(), 500)
      await closed

      expect(split(text).status).toBe(413)
      expect(text).toContain('body-too-large')
    },
  )
})

test('a body of a request that is passed on is the business of the app', async () => {
  let size = 0
  running = await host(
    express()
      .use(relay(options))
      .use((request, response) => {
        request.on('data', (chunk: Buffer) => (size += chunk.length))
        request.on('end', () => response.send(String(size)))
      }),
  )

  const response = await fetch(`${running.url}/upload`, { method: 'POST', body: Buffer.alloc(5 * MIB, 'x') })

  expect(await response.text()).toBe(String(5 * MIB))
})

test(
  'many connections that go on sending cost what each may send, and then nothing',
  { timeout: 120_000 },
  async () => {
    const count = size(20, 100)
    running = await hosts[0]![1](options)
    const { port, sockets } = running
    const seen = new Set<Socket>()
    running.server.on('connection', (socket: Socket) => seen.add(socket))
    const start = performance.now()

    await Promise.all(
      Array.from({ length: count }, async () => {
        const wire = await dial(port)
        wire.send(`PUT /chat HTTP/1.1\r\nHost: a\r\n${json}\r\nContent-Length: ${2 ** 40}\r\n\r\n`)
        await flood(wire.socket, piece)
        expect(split(wire.text).status).toBe(405)
      }),
    )

    const read = [...seen].reduce((sum, { bytesRead }) => sum + bytesRead, 0)
    const ms = performance.now() - start
    console.info(`${count} connections: ${(read / MIB).toFixed(1)} MiB read in ${ms.toFixed(0)} ms`)
    await vi.waitUntil(() => sockets.size === 0, { timeout: 10_000 })
    expect(read).toBeLessThan(count * (MAX_BYTES + SLACK_BYTES))
  },
)
