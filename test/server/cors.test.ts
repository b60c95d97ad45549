import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bare, dial, post, split } from '../adapters/raw.ts'
import { createLauncher, type Launcher, portOf } from './process.ts'

let launcher: Launcher
let closed: number
let listed: number
beforeAll(async () => {
  launcher = await createLauncher()
  closed = portOf(await launcher.launch().ready)
  listed = portOf(await launcher.launch({ CORS_ORIGINS: 'https://chat.example,http://localhost:5173' }).ready)
})
afterAll(async () => {
  await launcher.stopAll()
  await launcher.remove()
})

/** What a browser says about a page of another site; by hand, because `fetch` here does not let us. */
const page = (origin: string, site = 'cross-site', mode = 'cors'): string[] => [
  `Origin: ${origin}`,
  `Sec-Fetch-Site: ${site}`,
  `Sec-Fetch-Mode: ${mode}`,
]

async function ask(port: number, request: string) {
  const wire = await dial(port)
  wire.send(request.replace('\r\n', '\r\nConnection: close\r\n'))
  return split(await wire.closed)
}

const preflight = (origin: string): string =>
  bare('OPTIONS /chat', [
    ...page(origin),
    'Access-Control-Request-Method: POST',
    'Access-Control-Request-Headers: content-type,last-event-id',
  ])

describe('without CORS_ORIGINS', () => {
  test.each([
    post('/chat', { prompt: 'hi' }, page('https://evil.example')),
    bare('GET /stream?prompt=hi', page('https://evil.example')),
    bare('GET /stream?prompt=hi', page('null')),
    // An <img> or a <script> of another site sends no origin.
    bare('GET /stream?prompt=hi', ['Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: no-cors']),
    bare('GET /v1/models', page('https://evil.example')),
    // A frame, a window or a link that asks; a sibling's page; a page on plain http, where browsers say less.
    bare('GET /stream?prompt=hi', ['Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: navigate']),
    bare('GET /stream?prompt=hi', page('https://other.example', 'same-site')),
    bare('GET /stream?prompt=hi', ['Origin: http://evil.example']),
  ])('a page of another site is refused: %j', async (request) => {
    const { status, headers, body } = await ask(closed, request)

    expect(status).toBe(403)
    expect(JSON.parse(body)).toMatchObject({ error: { code: 'origin-not-allowed' } })
    expect(headers).not.toHaveProperty('access-control-allow-origin')
  })

  test('a preflight is answered without any permission', async () => {
    const { status, headers } = await ask(closed, preflight('https://evil.example'))

    expect(status).toBe(204)
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([])
  })

  test.each([
    ['our own page', page('http://127.0.0.1', 'same-origin')],
    ['a program', []],
    ['a program that names an origin', ['Origin: https://evil.example']],
  ])('%s is answered, without any permission for others', async (_, headers) => {
    const answer = await ask(closed, post('/chat', { prompt: 'hi', stream: false }, headers))

    expect(answer.status).toBe(200)
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([])
  })

  test.each([
    ['our own page on plain http', ['Origin: http://localhost']],
    ['our own page behind a proxy', ['X-Forwarded-Host: relay.example', 'Origin: https://relay.example']],
  ])('%s, in a browser that says no more, is answered', async (_, headers) => {
    const { status, body } = await ask(closed, bare('GET /stream?prompt=hi', headers))

    expect(status).toBe(200)
    expect(body).toContain('"type":"finish"')
  })

  test('a link on another site leads to the page', async () => {
    const { status } = await ask(
      closed,
      bare('GET /', ['Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: navigate']),
    )

    expect(status).toBe(200)
  })
})

describe('with CORS_ORIGINS', () => {
  test.each(['https://chat.example', 'http://localhost:5173'])(
    '%s is echoed exactly, and may preflight',
    async (origin) => {
      const first = await ask(listed, preflight(origin))
      const answer = await ask(listed, post('/chat', { prompt: 'hi' }, page(origin)))

      expect(first.status).toBe(204)
      expect(first.headers).toMatchObject({
        'access-control-allow-origin': origin,
        'access-control-allow-methods': 'get, post, delete',
        vary: 'origin',
      })
      expect(first.headers['access-control-allow-headers']?.split(', ')).toEqual(
        expect.arrayContaining(['content-type', 'last-event-id', 'authorization']),
      )
      expect(answer.status).toBe(200)
      expect(answer.headers).toMatchObject({
        'access-control-allow-origin': origin,
        'access-control-expose-headers': expect.stringMatching(/^x-reply-id, .*\bretry-after\b/) as unknown,
        vary: 'origin',
      })
      expect(answer.headers).not.toHaveProperty('access-control-allow-credentials')
      expect(answer.body).toContain('"type":"finish"')
    },
  )

  test('an error is readable for a listed origin too', async () => {
    const { status, headers } = await ask(listed, post('/chat', {}, page('https://chat.example')))

    expect(status).toBe(400)
    expect(headers['access-control-allow-origin']).toBe('https://chat.example')
  })

  test.each([
    'https://chat.example.evil.example',
    'https://evil-chat.example',
    'http://chat.example',
    'https://chat.example:8443',
    'HTTPS://CHAT.EXAMPLE',
    'http://localhost.attacker.com:5173',
    'null',
  ])('%s is none of them', async (origin) => {
    const first = await ask(listed, preflight(origin))
    const answer = await ask(listed, post('/chat', { prompt: 'hi' }, page(origin)))

    expect(first.headers).not.toHaveProperty('access-control-allow-origin')
    expect(answer.status).toBe(403)
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin')
  })
})
