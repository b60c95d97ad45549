import { once } from 'node:events'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type Host, host, hosts, relay } from './host.ts'
import { bare, dial, post, split } from './raw.ts'
import { createScript, saying } from './script.ts'

let running: Host | undefined

afterEach(async () => {
  await running?.close()
  running = undefined
})

const LIMIT = 262_144
const head = 'POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`

/** A body of exactly so many bytes. */
function body(bytes: number): string {
  const frame = '{"prompt":""}'
  return frame.replace(
    '""',
    `"${'é'.repeat((bytes - frame.length) >> 1)}${(bytes - frame.length) & 1 ? 'e' : ''}"`,
  )
}

describe.each(hosts)('on %s', (_, listen) => {
  test.each([
    [LIMIT, 'with a length', 200],
    [LIMIT + 1, 'with a length', 413],
    [LIMIT, 'in chunks', 200],
    [LIMIT + 1, 'in chunks', 413],
  ])('a body of %i bytes %s is %i', async (bytes, how, status) => {
    const text = body(bytes)
    running = await listen({ upstream: saying('hi') })
    const wire = await dial(running.port)

    wire.send(
      how === 'in chunks'
        ? `${head}Transfer-Encoding: chunked\r\n\r\n${chunk(text)}0\r\n\r\n`
        : post('/chat', text),
    )

    expect(split(await wire.until('\r\n\r\n')).status).toBe(status)
    wire.leave()
  })

  test.each([
    [LIMIT, LIMIT, 200],
    [3 * LIMIT, 3 * LIMIT, 200],
    [3 * LIMIT, 3 * LIMIT + 1, 413],
    [100, 100, 200],
    [100, 101, 413],
  ])(
    "the handler's own limit of %i bytes is the only one: %i are %i",
    async (maxBodyBytes, bytes, status) => {
      running = await listen({ upstream: saying('hi'), maxBodyBytes })

      const response = await fetch(`${running.url}/chat`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: body(bytes),
      })

      expect(response.status).toBe(status)
      expect(await response.text()).toContain(status === 200 ? '"finish"' : `at most ${maxBodyBytes} bytes`)
    },
  )

  test.each([
    ['with a length', `${head}Content-Length: ${64 * LIMIT}\r\n\r\n`, (text: string) => text],
    ['in chunks', `${head}Transfer-Encoding: chunked\r\n\r\n`, chunk],
  ])(
    'a client that sends too much %s reads the refusal while it is still sending',
    async (_, start, frame) => {
      const script = createScript()
      running = await listen({ upstream: script.upstream })
      const wire = await dial(running.port)
      const piece = frame('x'.repeat(64 * 1024))

      wire.send(start)
      let sent = 0
      while (!wire.text.includes('body-too-large') && sent < 64) {
        sent++
        if (!wire.socket.write(piece)) await once(wire.socket, 'drain')
        await new Promise(setImmediate)
      }
      // A client that reads only when it has sent everything must not be cut off before.
      for (let more = 0; more < 8; more++) if (!wire.socket.write(piece)) await once(wire.socket, 'drain')

      const text = await wire.until('body-too-large')
      expect(split(text).status).toBe(413)
      expect(JSON.parse(split(text).body)).toMatchObject({
        error: { message: expect.stringContaining('262144') },
      })
      expect(sent).toBeLessThan(64)
      expect(script.asked).toHaveLength(0)
      wire.leave()
    },
  )

  test('after a refused body the connection goes on with the next request', async () => {
    running = await listen({ upstream: saying('hi'), maxBodyBytes: 20 })
    const wire = await dial(running.port)

    wire.send(post('/chat', body(100_000)) + bare('GET /healthz'))

    expect(await wire.until('"status":"ok"')).toContain('413 Payload Too Large')
    wire.leave()
  })

  test('a body that comes too slowly is 408, and the connection ends', async () => {
    const script = createScript()
    running = await listen({ upstream: script.upstream, bodyTimeoutMs: 50 })
    const wire = await dial(running.port)

    wire.send(`${head}Content-Length: 100\r\n\r\n{"prompt"`)

    const { status, headers, body: text } = split(await wire.closed)
    expect(status).toBe(408)
    expect(headers['connection']).toBe('close')
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'request-timeout' } })
    expect(script.asked).toHaveLength(0)
  })

  test.each([
    ['', 'application/json', 400, 'invalid-json'],
    ['{"prompt":', 'application/json', 400, 'invalid-json'],
    ['[1]', 'application/json', 400, 'invalid-request'],
    ['{"prompt":"hi"}', 'text/plain', 415, 'unsupported-media-type'],
    ['{"prompt":"hi"}', 'application/jsonp', 415, 'unsupported-media-type'],
    ['{"prompt":"hi"}', 'application/json; charset=utf-16', 415, 'unsupported-media-type'],
    ['{"prompt":"hi"}', 'application/json; charset="iso-8859-1"', 415, 'unsupported-media-type'],
    [`${'['.repeat(40)}${']'.repeat(40)}`, 'application/json', 422, 'limit-exceeded'],
    ['{"messages":[{"role":"system","content":"x"}]}', 'application/json', 422, 'role-not-allowed'],
  ])('the body %j as %s is %i %s', async (text, type, status, code) => {
    const script = createScript()
    running = await listen({ upstream: script.upstream })

    const response = await fetch(`${running.url}/chat`, {
      method: 'POST',
      headers: { 'content-type': type },
      body: text,
    })

    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ error: { code } })
    expect(script.asked).toHaveLength(0)
  })

  test.each(['gzip', 'GZIP', 'br', 'deflate, gzip'])(
    'a body in %s is 415, with a sentence',
    async (encoding) => {
      const script = createScript()
      running = await listen({ upstream: script.upstream })

      const response = await fetch(`${running.url}/chat`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-encoding': encoding },
        body: gzipSync('{"prompt":"hi"}'),
      })

      expect(response.status).toBe(415)
      expect(await response.json()).toEqual({
        error: {
          code: 'unsupported-media-type',
          message: `The body must not be compressed; got content encoding "${encoding}".`,
        },
      })
      expect(script.asked).toHaveLength(0)
    },
  )

  test('a body that begins with a byte order mark is understood', async () => {
    running = await listen({ upstream: saying('hi') })

    const response = await fetch(`${running.url}/chat`, {
      method: 'POST',
      headers: { 'content-type': 'application/json; charset=utf-8' },
      body: '\ufeff{"prompt":"hi"}',
    })

    expect(await response.text()).toContain('"finish"')
  })
})

test.each([
  ['FIN', 'Content-Length: 100\r\n\r\n{"prompt":"hi"}'],
  ['RST', 'Content-Length: 100\r\n\r\n{"prompt":"hi"}'],
  ['FIN', `Transfer-Encoding: chunked\r\n\r\n${chunk('{"prompt":"hi"}')}`],
  ['RST', `Transfer-Encoding: chunked\r\n\r\n${chunk('{"prompt":"hi"}')}`],
] as const)(
  'a body that breaks off by %s starts nothing, and nobody waits for the rest: %j',
  async (how, rest) => {
    const script = createScript()
    const onError = vi.fn()
    const asked = vi.fn()
    const answered = vi.fn()
    const answer = relay({ upstream: script.upstream, onError, bodyTimeoutMs: 60_000 })
    running = await host((request, response) => {
      asked()
      void answer(request, response).then(answered)
    })
    const wire = await dial(running.port)

    wire.send(head + rest)
    await vi.waitUntil(() => asked.mock.calls.length === 1, { timeout: 10_000 })
    wire.leave(how)

    await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 10_000 })
    await vi.waitUntil(() => answered.mock.calls.length > 0, { timeout: 10_000 })
    expect(script.asked).toHaveLength(0)
    expect(onError).not.toHaveBeenCalled()
  },
)
