import { gzipSync } from 'node:zlib'
import express, { type RequestHandler } from 'express'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createHandler, withCors } from '../../src/index.ts'
import { toExpress } from '../../adapters/express.ts'
import { fixed, type Host, host, hosts, relay } from './host.ts'
import { bare, dial, post, split } from './raw.ts'
import { createScript, saying } from './script.ts'

let running: Host | undefined

afterEach(async () => {
  await running?.close()
  running = undefined
})

const json = { method: 'POST', headers: { 'content-type': 'application/json' } }
const question = { ...json, body: '{"prompt":"hi"}' }
const hello =
  'id: 1\ndata: {"type":"start","id":"reply-1","model":"test-model","createdAt":1700000000000}\n\n' +
  'id: 2\ndata: {"type":"text","text":"Hél"}\n\n' +
  'id: 3\ndata: {"type":"text","text":"lo 🌍"}\n\n' +
  'id: 4\ndata: {"type":"finish","reason":"stop"}\n\n'

describe.each(hosts)('on %s', (_, listen) => {
  test('a stream has exactly the promised headers and the bytes of the answer', async () => {
    running = await listen({ ...fixed, upstream: saying('Hél', 'lo 🌍') })

    const response = await fetch(`${running.url}/chat`, {
      ...question,
      headers: { ...question.headers, 'accept-encoding': 'gzip, br' },
    })

    const { 'x-powered-by': _express, ...headers } = Object.fromEntries(response.headers)
    expect(response.status).toBe(200)
    expect(headers).toEqual({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      'x-reply-id': 'reply-1',
      connection: 'keep-alive',
      'keep-alive': 'timeout=5',
      date: expect.any(String),
      'transfer-encoding': 'chunked',
    })
    expect(await response.text()).toBe(hello)
  })

  test('a JSON answer says how long it is, in bytes', async () => {
    running = await listen({ ...fixed, upstream: saying('Hél', 'lo 🌍') })

    const response = await fetch(`${running.url}/chat`, { ...json, body: '{"prompt":"hi","stream":false}' })
    const bytes = await response.arrayBuffer()

    expect(response.headers.get('content-length')).toBe(String(bytes.byteLength))
    expect(response.headers.get('transfer-encoding')).toBeNull()
    expect(JSON.parse(new TextDecoder().decode(bytes))).toMatchObject({
      text: 'Héllo 🌍',
      finishReason: 'stop',
    })
  })

  test('the headers leave, and so does every token, before there is a next one', async () => {
    const script = createScript()
    running = await listen({ upstream: script.upstream, acceptWaitMs: 0 })
    const wire = await dial(running.port)

    wire.send(post('/chat', { prompt: 'hi' }))
    await wire.until('\r\n\r\n')
    for (const word of ['one', 'two', 'three', 'four']) {
      await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
      const before = wire.reads.length
      script.asked[0]?.say(word)
      await wire.until(`"text":"${word}"`)
      expect(
        wire.reads
          .slice(before)
          .join('')
          .match(/"type":"text"/g),
      ).toHaveLength(1)
    }
    script.asked[0]?.finish()

    expect(await wire.until('"type":"finish"')).toContain('"four"')
    wire.leave()
  })

  test.each([
    ['HEAD /stream?prompt=hi', 200],
    ['HEAD /healthz', 200],
    ['HEAD /chat/unknown', 404],
    ['HEAD /nowhere', 404],
    ['HEAD /chat', 405],
    ['OPTIONS /stream?prompt=hi', 204],
    ['OPTIONS /chat', 204],
    ['OPTIONS /chat/some-id/stop', 204],
  ])('%s answers %i without a body and without a generation', async (line, status) => {
    const script = createScript()
    running = await listen({ upstream: script.upstream })
    const wire = await dial(running.port)

    wire.send(bare(line, ['Connection: close']))

    const answer = split(await wire.closed)
    expect(answer).toMatchObject({ status, body: '' })
    expect(script.asked).toHaveLength(0)
  })

  test.each([
    'GET /%0d%0aset-cookie:%20a=b',
    'GET /chat/%0d%0aset-cookie:%20a=b',
    'GET /stream?prompt=%0d%0aset-cookie:%20a=b',
    'GET /stream?prompt=hi&model=%0d%0aset-cookie:%20a=b',
    'GET /stream?last_event_id=%0d%0aset-cookie:%20a=b.1',
    'GET /chat/reply-1?last_event_id=%0d%0aset-cookie:%20a=b',
    'DELETE /chat/%0d%0aset-cookie:%20a=b',
  ])('a line break in the address makes no header: %s', async (line) => {
    running = await listen({ ...fixed, models: '*', upstream: saying('fine') })
    const wire = await dial(running.port)

    wire.send(bare(line, ['Connection: close']))

    const { headers, status } = split(await wire.closed)
    expect(status).toBeLessThan(500)
    expect(headers).not.toHaveProperty('set-cookie')
  })

  test('a header that the platform does not accept is a 500 of ours, with nothing of it in the body', async () => {
    running = await listen({ upstream: saying('hi'), createId: () => 'a\r\nset-cookie: a=b' })

    const response = await fetch(`${running.url}/chat`, question)

    expect(response.status).toBe(500)
    expect(response.headers.get('set-cookie')).toBeNull()
    expect(await response.json()).toMatchObject({ error: { code: 'internal' } })
  })

  test('a failure before the first delta is a status, with its code and the reply id', async () => {
    const script = createScript()
    running = await listen({ upstream: script.upstream, retries: 0 })

    const asking = fetch(`${running.url}/chat`, question)
    await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
    script.asked[0]?.fail(new Error('a secret of ours'))
    const response = await asking
    const text = await response.text()

    expect(response.status).toBe(500)
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'internal' } })
    expect(text).not.toContain('secret')
    expect(response.headers.get('x-reply-id')).toMatch(/^[\w-]{22}$/)
  })
})

describe("in somebody's own app", () => {
  const own: RequestHandler = (request, response) =>
    void response.send(`own ${request.method} ${request.url}`)

  test.each(['/', '/ai/v2'])(
    'mounted at %s, our routes are answered and all others are passed on',
    async (path) => {
      running = await host(
        express()
          .use(path, relay({ upstream: saying('Hél', 'lo 🌍') }))
          .use(own),
      )
      const base = running.url + (path === '/' ? '' : path)

      const streamed = await fetch(`${base}/chat`, question)
      const asked = await fetch(`${base}/stream?prompt=hi`)
      const foreign = await fetch(`${base}/orders?id=7`, { method: 'PUT' })
      const root = await fetch(`${base}/`)

      expect(await streamed.text()).toContain('"Hél"')
      expect(await asked.text()).toContain('"Hél"')
      expect(await foreign.text()).toContain('own PUT')
      expect(await root.text()).toContain('own GET')
    },
  )

  test.each([
    ['express.json()', express.json()],
    ['express.text()', express.text({ type: 'application/json' })],
    ['express.raw()', express.raw({ type: 'application/json' })],
    ['a parser of another type', express.urlencoded()],
  ])('a body that %s has seen before is understood', async (_, parser) => {
    running = await host(
      express()
        .use(parser)
        .use(relay({ ...fixed, upstream: saying('Hél', 'lo 🌍') })),
    )

    const response = await fetch(`${running.url}/chat`, { ...json, body: '{"prompt":"grüß dich"}' })

    expect(await response.text()).toBe(hello)
  })

  test('a body that a parser before us has decompressed is understood', async () => {
    running = await host(
      express()
        .use(express.json())
        .use(relay({ ...fixed, upstream: saying('Hél', 'lo 🌍') })),
    )

    const response = await fetch(`${running.url}/chat`, {
      method: 'POST',
      headers: { ...json.headers, 'content-encoding': 'gzip' },
      body: gzipSync('{"prompt":"grüß dich"}'),
    })

    expect(await response.text()).toBe(hello)
  })

  test('a body that was consumed before, and kept nowhere, is refused at once', async () => {
    const consume: RequestHandler = (request, _, next) => void request.resume().once('end', () => next())
    running = await host(
      express()
        .use(consume)
        .use(relay({ upstream: saying('hi') })),
    )

    const response = await fetch(`${running.url}/chat`, { ...question, signal: AbortSignal.timeout(3000) })

    expect(response.status).toBe(500)
    expect(await response.text()).toContain('did not leave it in `request.body`')
  })

  test.each([post('/chat', { prompt: 'hi' }), bare('GET /stream?prompt=hi')])(
    'a client that left while middleware before us was waiting costs nothing: %j',
    async (request) => {
      const script = createScript()
      const answered = vi.fn()
      const answer = relay({ upstream: script.upstream, lingerMs: 0 })
      const slow: RequestHandler = (_, response, next) => void response.once('close', next)
      running = await host(
        express()
          .use(slow)
          .use((incoming, response) => void answer(incoming, response).then(answered)),
      )
      const wire = await dial(running.port)

      wire.send(request)
      await vi.waitUntil(() => running?.sockets.size === 1, { timeout: 10_000 })
      wire.leave()

      await vi.waitUntil(() => answered.mock.calls.length === 1, { timeout: 10_000 })
      expect(script.asked).toHaveLength(0)
    },
  )

  test('a preflight of a listed origin, or a page of another site, asks for what is ours only', async () => {
    const handler = withCors(createHandler({ model: 'm', upstream: saying('hi') }), {
      origins: ['https://chat.example'],
    })
    running = await host(express().use(toExpress(handler)).use(own))
    const foreign = {
      origin: 'https://evil.example',
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'cors',
    }
    const preflight = { origin: 'https://chat.example', 'access-control-request-method': 'PUT' }
    const wire = await dial(running.port)
    const lines = (headers: object) => Object.entries(headers).map(([name, value]) => `${name}: ${value}`)

    wire.send(bare('GET /orders', lines(foreign)))
    await wire.until('own GET /orders')
    wire.send(bare('GET /stream?prompt=hi', lines(foreign)))
    await wire.until('origin-not-allowed')
    wire.send(bare('OPTIONS /orders', lines(preflight)))
    await wire.until('own OPTIONS /orders')

    wire.leave()
  })
})
