import { describe, expect, test } from 'vitest'
import { withCors } from '../../src/cors.ts'
import { createHandler } from '../../src/handler.ts'
import { type Asking, http, script, stop, textOf } from './kit.ts'

const listed = 'https://chat.example'
const asks = '/stream?prompt=hi'

function service() {
  const scripted = script([stop])
  const handler = withCors(createHandler({ upstream: scripted.upstream, model: 'm' }), { origins: [listed] })
  return { handler, asked: scripted.asked }
}

async function answer(url: string, headers: Record<string, string>, more: Asking = {}) {
  const { handler, asked } = service()
  const reply = await handler(http(url, { ...more, headers }))
  return { reply, body: await textOf(reply), asked: asked.length }
}

describe('where browsers say nothing but the origin, on plain http', () => {
  const host = 'relay.example:3000'
  const origin = `http://${host}`

  test.each<[string, Record<string, string>, number]>([
    ['our own page', { origin, host }, 200],
    ['our own page behind a proxy', { origin, host: 'app:8080', 'x-forwarded-host': host }, 200],
    ['our own page behind a proxy with https', { origin: `https://${host}`, host }, 200],
    ['a page on another port', { origin: 'http://relay.example:4000', host }, 403],
    ['a page whose host ends like ours', { origin: `http://evil-${host}`, host }, 403],
    ['a page whose host begins like ours', { origin: `http://${host}.evil.example`, host }, 403],
    ['a sandboxed frame', { origin: 'null', host }, 403],
    ['a listed page', { origin: listed, host }, 200],
    ['a program', { host }, 200],
  ])('%s that asks is answered with its due', async (_, headers, status) => {
    const { reply, asked } = await answer(asks, headers)

    expect([reply.status, asked]).toEqual([status, status === 200 ? 1 : 0])
  })
})

describe('where browsers say where a request comes from', () => {
  test.each<[site: string, mode: string, url: string, status: number]>([
    ['same-origin', 'cors', asks, 200],
    ['none', 'navigate', asks, 200],
    ['same-site', 'cors', asks, 403],
    ['cross-site', 'no-cors', asks, 403],
    ['cross-site', 'navigate', asks, 403],
    ['cross-site', 'navigate', '/stream', 403],
    ['cross-site', 'navigate', '/ai/../stream?prompt=hi', 403],
    ['cross-site', 'navigate', '//stream?prompt=hi', 403],
    ['cross-site', 'navigate', '/healthz', 200],
    ['cross-site', 'cors', '/healthz', 403],
    ['same-site', 'no-cors', '/healthz', 403],
  ])('%s, %s: GET %s is %i', async (site, mode, url, status) => {
    const { reply } = await answer(url, { 'sec-fetch-site': site, 'sec-fetch-mode': mode })

    expect(reply.status).toBe(status)
  })

  test('a refused HEAD has no body', async () => {
    const { reply, body } = await answer(asks, { 'sec-fetch-site': 'cross-site' }, { method: 'HEAD' })

    expect([reply.status, body]).toEqual([403, ''])
  })
})

describe('a stop, which is asked without a preflight', () => {
  const host = 'relay.example:3000'
  const evil = 'http://evil.example'

  test.each<[who: string, headers: Record<string, string>, status: number]>([
    ['a foreign page on plain http', { origin: evil, host }, 403],
    ['a sandboxed frame', { origin: 'null', host }, 403],
    ['a foreign form', { origin: evil, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }, 403],
    ['our own page', { origin: `http://${host}`, host }, 404],
    ['a listed page', { origin: listed, host }, 404],
    ['a program', { host }, 404],
  ])('by %s is answered with its due', async (_, headers, status) => {
    for (const url of ['/chat/r1/stop', '/api/chat/c1/stop', '/api/chat/c1/stop?x=1']) {
      expect((await answer(url, headers, { method: 'POST' })).reply.status).toBe(status)
    }
  })
})

describe('JSON that says it is plain text, as a chat of the AI SDK may send it', () => {
  const messages = [{ id: 'u1', role: 'user', parts: [{ type: 'text', text: 'Hi?' }] }]
  const plain = { 'content-type': 'text/plain;charset=UTF-8' }

  test.each<[who: string, headers: Record<string, string>, status: number]>([
    ['a listed page', { origin: listed, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' }, 200],
    ['a listed page of our site', { origin: listed, 'sec-fetch-site': 'same-site' }, 200],
    ['a listed page on plain http', { origin: listed, host: 'relay.example' }, 200],
    ['a page that is not listed, on plain http', { origin: 'http://a.example', host: 'relay.example' }, 415],
    ['a page that is not listed', { origin: 'https://a.example', 'sec-fetch-site': 'cross-site' }, 403],
  ])('from %s is answered with its due', async (_, headers, status) => {
    const { reply, asked } = await answer(
      '/api/chat',
      { ...plain, ...headers },
      { method: 'POST', body: { messages } },
    )

    expect([reply.status, asked]).toEqual([status, status === 200 ? 1 : 0])
  })
})

describe('a cache is told that answers differ by origin', () => {
  const foreign = { origin: 'https://a.example', 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' }
  const preflight = { 'access-control-request-method': 'POST' }

  test.each<[who: string, headers: Record<string, string>, more?: Asking]>([
    ['a listed page', { origin: listed }],
    ['a page that is refused', foreign],
    ['a page that may not preflight', { ...foreign, ...preflight }, { method: 'OPTIONS' }],
    ['a page that may', { origin: listed, ...preflight }, { method: 'OPTIONS' }],
    ['a program', {}],
  ])('for %s, where some are listed', async (_, headers, more) => {
    expect((await answer('/healthz', headers, more)).reply.headers).toMatchObject({ vary: 'origin' })
  })

  test.each<[who: string, headers: Record<string, string>]>([
    ['a page', foreign],
    ['a program', {}],
  ])('and %s is told nothing where none are', async (_, headers) => {
    const handler = withCors(createHandler({ upstream: script([stop]).upstream, model: 'm' }))

    expect((await handler(http('/healthz', { headers }))).headers).not.toHaveProperty('vary')
  })
})

describe("in somebody's own app", () => {
  const foreign = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' }
  const preflight = { origin: listed, 'access-control-request-method': 'POST' }

  test.each<[string, string, string, Record<string, string>, boolean]>([
    ['a foreign page asks for ours', 'GET', asks, foreign, false],
    ['a foreign page asks for ours with a method we have not', 'PUT', '/chat', foreign, false],
    ['a foreign page asks for theirs', 'GET', '/orders', foreign, true],
    ['a listed page may preflight ours', 'OPTIONS', '/chat', preflight, false],
    ['a listed page may preflight theirs', 'OPTIONS', '/orders', preflight, true],
  ])('%s: only theirs is theirs to answer', async (_, method, url, headers, theirs) => {
    const { reply, asked } = await answer(url, headers, { method })

    expect(reply.unmatched ?? false).toBe(theirs)
    expect(asked).toBe(0)
  })
})

test('a listed page may send the headers of its client, whatever they are called', async () => {
  const asked = 'authorization, x-stainless-os, content-type'
  const headers = {
    origin: listed,
    'access-control-request-method': 'POST',
    'access-control-request-headers': asked,
  }

  const { reply } = await answer('/v1/chat/completions', headers, { method: 'OPTIONS' })
  const odd = await answer(
    '/chat',
    { ...headers, 'access-control-request-headers': 'a\r\nb: c' },
    { method: 'OPTIONS' },
  )

  expect(reply.status).toBe(204)
  expect(reply.headers['access-control-allow-headers']).toContain('x-stainless-os')
  expect(odd.reply.headers['access-control-allow-headers']).not.toContain('b: c')
})

describe('a browser that says nothing of where a request comes from, on plain http,', () => {
  const host = 'chat.lan:3000'
  const browser = 'Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0'
  const events = 'text/event-stream'
  const own = `http://${host}/page`

  test.each<[string, Record<string, string>, number]>([
    ['EventSource of our own page', { 'user-agent': browser, accept: events, referer: own }, 200],
    ['EventSource with our origin', { 'user-agent': browser, accept: events, origin: `http://${host}` }, 200],
    ['EventSource of a page that hides itself', { 'user-agent': browser, accept: events }, 403],
    [
      'EventSource of a page on another port',
      { 'user-agent': browser, accept: events, referer: 'http://chat.lan:4000/' },
      403,
    ],
    [
      'a page with a name like ours',
      { 'user-agent': browser, accept: events, referer: `http://${host}.evil.example/` },
      403,
    ],
    [
      'a page with our name as its user',
      { 'user-agent': browser, accept: events, referer: `http://${host}@evil.example/` },
      403,
    ],
    [
      'a page whose path is ours',
      { 'user-agent': browser, accept: events, referer: `http://evil.example/http://${host}/` },
      403,
    ],
    ['a referrer that is none', { 'user-agent': browser, accept: events, referer: 'about:blank' }, 403],
    [
      'an own origin with a foreign referrer',
      { 'user-agent': browser, accept: events, origin: 'null', referer: own },
      403,
    ],
    [
      'a cookie of ours, which other ports have too',
      { 'user-agent': browser, accept: events, cookie: 'deltarelay-client=x' },
      403,
    ],
    ['an image of our own page', { 'user-agent': browser, accept: 'image/avif,*/*', referer: own }, 403],
    ['the address bar', { 'user-agent': browser, accept: 'text/html,*/*;q=0.8' }, 403],
    ['a script', { 'user-agent': browser, accept: '*/*', referer: 'http://evil.example/' }, 403],
    ['a media player of iOS', { 'user-agent': 'AppleCoreMedia/1.0.0 (iPhone)', accept: '*/*' }, 403],
    ['an image of a browser without a name', { accept: 'image/webp,*/*' }, 403],
    ['a page of a browser without a name', { accept: '*/*', referer: 'http://evil.example/' }, 403],
    ['curl', { 'user-agent': 'curl/8.5.0', accept: '*/*' }, 200],
    ['node', { 'user-agent': 'node', accept: '*/*', 'sec-fetch-mode': 'cors', 'accept-language': '*' }, 200],
    ['a program without a name', {}, 200],
    ['a program that takes events', { accept: events, 'user-agent': 'okhttp/4' }, 200],
  ])('%s', async (_, headers, status) => {
    const { reply, asked } = await answer(asks, { ...headers, host })

    expect([reply.status, asked]).toEqual([status, status === 200 ? 1 : 0])
  })

  test.each([
    asks,
    '/stream#?prompt=hi',
    '//stream?prompt=hi',
    '/a/../stream?prompt=hi',
    '/a\\..\\stream?prompt=hi',
  ])('is recognized at every spelling of the address: %s', async (url) => {
    expect((await answer(url, { 'user-agent': browser, accept: '*/*', host })).reply.status).toBe(403)
  })

  test('is told what to do', async () => {
    const { body } = await answer(asks, { 'user-agent': browser, accept: events, host })

    expect(JSON.parse(body)).toMatchObject({
      error: {
        code: 'origin-not-allowed',
        message: expect.stringMatching(/Use https, POST \/chat .*Referrer-Policy/),
      },
    })
  })

  test('resumes and stops only what its own page started', async () => {
    const foreign = { 'user-agent': browser, host }
    const mine = { ...foreign, accept: '*/*', referer: own }

    expect((await answer('/api/chat/c/stream', foreign)).reply.status).toBe(403)
    expect((await answer('/api/chat/c/stream', mine)).reply.status).toBe(204)
    expect((await answer('/chat/r/stop', foreign, { method: 'POST' })).reply.status).toBe(403)
    expect((await answer('/chat/r/stop', mine, { method: 'POST' })).reply.status).toBe(404)
  })

  test('sends JSON as plain text only from its own page', async () => {
    const body = { messages: [{ id: 'u1', role: 'user', parts: [{ type: 'text', text: 'Hi?' }] }] }
    const post = { method: 'POST', body }
    const plain = { 'user-agent': browser, host, 'content-type': 'text/plain' }

    expect((await answer('/api/chat', plain, post)).reply.status).toBe(415)
    expect((await answer('/api/chat', { ...plain, referer: own }, post)).reply.status).toBe(200)
  })
})
