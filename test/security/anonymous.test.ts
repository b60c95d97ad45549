import express from 'express'
import { afterEach, describe, expect, test } from 'vitest'
import { type FunctionUrlEvent, serve as serveLambda } from '../../adapters/lambda.ts'
import { withCors } from '../../src/cors.ts'
import { createHandler } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { HttpReply } from '../../src/types.ts'
import { type Host, host, relay } from '../adapters/host.ts'
import { describeSites, idOf, type OpenSite, type Site } from '../sites.ts'
import { type Asking, hel, http, lo, script, soon, stop, textOf, until } from '../src/kit.ts'
import { size } from './size.ts'

const address = '192.0.2.7'
const chat = 'chat-1'
const body = { id: chat, messages: [{ id: 'u1', role: 'user', parts: [{ type: 'text', text: 'hi' }] }] }
const victim = { 'x-client-secret': 'secret-of-the-victim' }
const json = { 'content-type': 'application/json' }

/** Everything that another client at the same address can show. */
const strangers: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['with nothing', {}],
  ['with a header of its own', { 'x-client-secret': 'secret-of-a-stranger' }],
  ['with a cookie of its own', { cookie: 'deltarelay-client=secret-of-a-stranger' }],
  ['with an empty cookie', { cookie: 'deltarelay-client=' }],
  ['with a cookie of another name', { cookie: 'deltarelay-client2=secret-of-the-victim' }],
  [
    'with its own cookie beside the right one',
    {
      cookie: 'deltarelay-client=secret-of-a-stranger; deltarelay-client=secret-of-the-victim',
    },
  ],
  [
    'with a header that wins over the right cookie',
    {
      'x-client-secret': 'secret-of-a-stranger',
      cookie: 'deltarelay-client=secret-of-the-victim',
    },
  ],
  ['with the secret in another case', { 'x-client-secret': 'SECRET-OF-THE-VICTIM' }],
  ['with a part of the secret', { 'x-client-secret': 'secret-of-the-victi' }],
]

const verbs: readonly (readonly [method: string, url: (id: string) => string])[] = [
  ['GET', (id) => `/api/chat/${id}/stream`],
  ['GET', (id) => `/api/chat/${id}/stream?startIndex=0`],
  ['GET', (id) => `/api/chat/${id}/stream?startIndex=-1`],
  ['GET', (id) => `/api/chat/${id}/stream?startIndex=99`],
  ['HEAD', (id) => `/api/chat/${id}/stream`],
  ['POST', (id) => `/api/chat/${id}/stop`],
  ['DELETE', (id) => `/api/chat/${id}`],
  ['GET', (id) => `/chat/${id}`],
  ['DELETE', (id) => `/chat/${id}`],
]

interface From {
  readonly headers?: Readonly<Record<string, string>>
  readonly address?: string
  readonly principal?: string
}

function send(site: Site, at: number, url: string, { headers = {}, ...from }: From, more: Asking = {}) {
  const { address: origin = address, principal } = from
  const posted = more.body === undefined ? {} : json
  const request = http(url, { ...more, headers: { ...posted, ...headers } })
  return site.handlers[at]!({ ...request, address: origin, principal })
}

/** A running answer in the victim's chat, which is being read. */
async function answering(open: OpenSite, options: Parameters<OpenSite>[1] = {}) {
  const scripted = script([hel, 'wait', lo, stop])
  const site = await open(scripted, options)
  const reply = await send(site, 0, '/api/chat', { headers: victim }, { body })
  const id = idOf(reply)
  const reading = textOf(reply)
  await expect.poll(() => site.stores[1]!.state(id)).toMatchObject({ sealed: false, length: 2 })
  return { scripted, site, id, reading }
}

async function seen(reply: HttpReply) {
  const { status, headers } = reply
  return { status, headers, body: await soon(textOf(reply)) }
}

describeSites('a guessed chat id', (open) => {
  test.each(strangers)('is as good as an unknown one, %s', async (_, headers) => {
    const { scripted, site, reading } = await answering(open)

    for (const at of [0, 1]) {
      for (const [method, urlOf] of verbs) {
        const guessed = await seen(await send(site, at, urlOf(chat), { headers }, { method }))
        const unknown = await seen(await send(site, at, urlOf('no-chat'), { headers }, { method }))
        expect(guessed).toEqual(unknown)
        expect([204, 404]).toContain(guessed.status)
      }
    }
    scripted.release()

    expect(await soon(reading)).toContain('"finishReason":"stop"')
    expect(scripted.asked).toHaveLength(1)
  })

  test.each(strangers)('cannot be taken over by a new message, %s', async (_, headers) => {
    const { scripted, site, id, reading } = await answering(open)

    const theirs = await send(site, 1, '/api/chat', { headers }, { body })
    const reading2 = textOf(theirs)
    const resumed = await send(site, 1, `/api/chat/${chat}/stream`, { headers: victim })
    const followed = textOf(resumed)
    await until(() => scripted.open() === 2)
    scripted.release()

    expect(idOf(theirs)).not.toBe(id)
    expect(idOf(resumed)).toBe(id)
    for (const text of await soon(Promise.all([reading, reading2, followed]))) {
      expect(text).toContain('"finishReason":"stop"')
    }
  })

  test.each(strangers)('cannot end an answer that its client has left, %s', async (_, headers) => {
    const scripted = script([hel, 'wait', lo, stop])
    const site = await open(scripted, { maxReplies: 1 })
    const reply = await send(site, 0, '/api/chat', { headers: victim }, { body })
    if (typeof reply.body !== 'string') {
      await reply.body.next()
      await reply.body.return?.()
    }

    const refused = await seen(await send(site, 0, '/api/chat', { headers }, { body }))
    const again = await send(site, 0, `/api/chat/${chat}/stream`, { headers: victim })
    const reading = textOf(again)
    scripted.release()

    expect(refused.status).toBe(503)
    expect(again.status).toBe(200)
    expect(await soon(reading)).toContain('"finishReason":"stop"')
  })

  test.each([
    ['by its header', victim],
    ['by its cookie', { cookie: 'a=b; deltarelay-client=secret-of-the-victim; c' }],
  ])('is the chat of its own client, %s, everywhere', async (_, headers) => {
    for (const at of [0, 1]) {
      const { site, id, reading, scripted } = await answering(open)
      const from = { headers, address: '2001:db8::1' }

      const head = await send(site, at, `/api/chat/${chat}/stream`, from, { method: 'HEAD' })
      const followed = textOf(await send(site, 1 - at, `/api/chat/${chat}/stream`, from))
      const rest = textOf(await send(site, at, `/api/chat/${chat}/stream?startIndex=1`, from))
      const stopped = await seen(await send(site, at, `/api/chat/${chat}`, from, { method: 'DELETE' }))

      expect(idOf(head)).toBe(id)
      expect(JSON.parse(stopped.body)).toEqual({ id, status: 'stopped' })
      for (const text of await soon(Promise.all([reading, followed, rest]))) expect(text).toContain('[DONE]')
      await until(() => scripted.open() === 0)
    }
  })

  test('leads nowhere from a principal, nor a principal’s from a client', async () => {
    const { site, reading, scripted } = await answering(open)
    const theirs = textOf(await send(site, 0, '/api/chat', { principal: 'ann' }, { body }))

    const crossed = [
      await send(site, 1, `/api/chat/${chat}/stream`, { principal: 'bob', headers: victim }),
      await send(site, 1, `/api/chat/${chat}/stream`, { principal: 'secret-of-the-victim' }),
    ]
    scripted.release()

    expect(crossed.map(({ status }) => status)).toEqual([204, 204])
    await soon(Promise.all([reading, theirs]))
  })

  test('does not hide a reply from a client that has its id', async () => {
    const { site, id, reading, scripted } = await answering(open)

    const followed = textOf(await send(site, 1, `/api/chat/${id}/stream`, { address: '198.51.100.1' }))
    scripted.release()

    expect(await soon(followed)).toBe(await soon(reading))
  })
})

describeSites('an idempotency key of an anonymous client', (open) => {
  type Row = readonly [string, first: From, second: From]
  const other = { 'x-client-secret': 'secret-of-a-stranger' }
  const cookie = { cookie: 'deltarelay-client=secret-of-the-victim' }
  const own: readonly Row[] = [
    ['with the same secret elsewhere', { headers: victim }, { headers: victim, address: '198.51.100.1' }],
    ['with the same secret as a cookie', { headers: victim }, { headers: cookie }],
    ['at the same address', {}, {}],
    ['in the same network', { address: '2001:db8:0:1::5' }, { address: '2001:DB8:0:1:ffff::' }],
    [
      'of the same principal',
      { principal: 'ann' },
      { principal: 'ann', address: '198.51.100.1', headers: other },
    ],
  ]
  const squatted: readonly Row[] = [
    ['with another secret', { headers: other }, { headers: victim }],
    ['without a secret', {}, { headers: victim }],
    ['at another address', { address: '198.51.100.1' }, {}],
    [
      'with the name of its address as a secret',
      { headers: { 'x-client-secret': `address-${address}` } },
      {},
    ],
    ['of a principal', { principal: 'ann' }, {}],
    ['of a principal called like its address', { principal: `address ${address}` }, {}],
    ['of a principal with the secret', { principal: 'ann', headers: victim }, { headers: victim }],
  ]
  const paths: readonly (readonly [string, object])[] = [
    ['/chat', { prompt: 'hi' }],
    ['/v1/chat/completions', { messages: [{ role: 'user', content: 'hi' }] }],
    ['/api/chat', { messages: body.messages }],
  ]

  async function twice(path: string, asked: object, first: From, second: From) {
    const scripted = script([hel, stop])
    const site = await open(scripted)
    const ids: string[] = []
    for (const [at, from] of [first, second].entries()) {
      const headers = { ...from.headers, 'idempotency-key': 'k' }
      const reply = await send(site, at, path, { ...from, headers }, { body: asked })
      await soon(textOf(reply))
      ids.push(idOf(reply))
    }
    return ids
  }

  describe.each(paths)('on %s', (path, asked) => {
    test.each(own)('is its own %s', async (_, first, second) => {
      const [id, again] = await twice(path, asked, first, second)

      expect(again).toBe(id)
    })

    test.each(squatted)('is not taken by a client %s', async (_, first, second) => {
      const [id, again] = await twice(path, asked, first, second)

      expect(again).not.toBe(id)
    })
  })

  test('in a chat is found again by a client that lost the response, and by one that got its cookie', async () => {
    const scripted = script([hel, stop])
    const site = await open(scripted)
    const key = { 'idempotency-key': 'k' }
    const first = await send(site, 0, '/api/chat', { headers: key }, { body })
    await textOf(first)
    const [cookie = ''] = (first.headers['set-cookie'] ?? '').split(';')

    const lost = await send(site, 1, '/api/chat', { headers: key }, { body })
    const got = await send(site, 1, '/api/chat', { headers: { ...key, cookie } }, { body })
    await Promise.all([textOf(lost), textOf(got)])

    expect([idOf(lost), idOf(got)]).toEqual([idOf(first), idOf(first)])
    // A new cookie would hide the reply from the next repetition.
    expect(lost.headers).not.toHaveProperty('set-cookie')
    expect(scripted.asked).toHaveLength(1)
  })
})

describe('the cookie', () => {
  const model = script([hel, stop])
  const handler = createHandler({ upstream: model.upstream, model: 'm' })
  async function ask(headers: Readonly<Record<string, string>> = {}, more: object = {}) {
    const reply = await handler({ ...http('/api/chat', { body, headers: { ...json, ...headers } }), ...more })
    await textOf(reply)
    return reply.headers['set-cookie']
  }
  const plain = /^deltarelay-client=[\w-]{22}; Path=\/; Max-Age=2592000; HttpOnly; SameSite=Strict$/

  test('is a new secret for each client that has none', async () => {
    const cookies = await Promise.all(Array.from({ length: size(20, 2000) }, () => ask()))

    for (const cookie of cookies) expect(cookie).toMatch(plain)
    expect(new Set(cookies).size).toBe(cookies.length)
  })

  test.each<[string, Record<string, string>]>([
    ['says so at a proxy', { 'x-forwarded-proto': 'https' }],
    ['says so at several proxies', { 'x-forwarded-proto': 'HTTPS, http' }],
    ['has such a page', { origin: 'https://chat.example' }],
  ])('is for https alone where the client %s', async (_, headers) => {
    expect(await ask(headers)).toMatch(/; SameSite=Strict; Secure$/)
  })

  test.each<[string, Record<string, string>]>([
    ['says http', { 'x-forwarded-proto': 'http, https' }],
    ['has a page without TLS', { origin: 'http://chat.example' }],
  ])('is for http too where the client %s', async (_, headers) => {
    expect(await ask(headers)).toMatch(plain)
  })

  test.each<[string, Record<string, string>, object]>([
    ['has a secret', victim, {}],
    ['has a cookie', { cookie: 'deltarelay-client=secret-of-the-victim' }, {}],
    ['is a principal', {}, { principal: 'ann' }],
  ])('is not for a client that %s', async (_, headers, more) => {
    expect(await ask(headers, more)).toBeUndefined()
  })

  test('is made again where it is no secret', async () => {
    expect(await ask({ cookie: 'deltarelay-client=short' })).toMatch(plain)
  })

  test.each(['/chat', '/v1/chat/completions', '/stream?prompt=hi'])('is not set on %s', async (url) => {
    const asked = { ...body, id: undefined, messages: [{ role: 'user', content: 'hi' }] }
    const reply = await handler(http(url, url.startsWith('/stream') ? {} : { body: asked }))
    await textOf(reply)

    expect([reply.status, reply.headers['set-cookie']]).toEqual([200, undefined])
  })

  test.each(['', 'fifteen-letters', 'x'.repeat(129), 'with a space in it', 'ümlaut-ümlaut-ümlaut'])(
    'has no part in a header that is no secret: %j',
    async (secret) => {
      const asked = model.asked.length
      const headers = { 'x-client-secret': secret, cookie: 'deltarelay-client=secret-of-the-victim' }

      const refused = [
        await handler(http('/api/chat', { body, headers: { ...json, ...headers } })),
        await handler(http(`/api/chat/${chat}/stream`, { headers })),
        await handler(http(`/api/chat/${chat}/stop`, { method: 'POST', headers })),
      ]

      for (const reply of refused) {
        expect(reply.status).toBe(400)
        expect(await textOf(reply)).toMatch(/^The header X-Client-Secret must be 16 to 128 visible ASCII/)
      }
      expect(model.asked).toHaveLength(asked)
    },
  )
})

test('no secret is in the store, and neither name is another one', async () => {
  const names: string[] = []
  const memory = createMemoryStore()
  const store: typeof memory = {
    ...memory,
    claim(name, ...rest) {
      names.push(name)
      return memory.claim(name, ...rest)
    },
  }
  const handler = createHandler({ upstream: script([hel, stop]).upstream, model: 'm', store })
  const headers = { ...json, ...victim, 'idempotency-key': 'k' }

  await textOf(await handler(http('/api/chat', { body, headers })))

  expect(names).toHaveLength(2)
  expect(names.join()).not.toContain('secret-of-the-victim')
})

test('pages of allowed origins may send the header', async () => {
  const handler = withCors(createHandler({ upstream: script([stop]).upstream, model: 'm' }), {
    origins: ['https://chat.example'],
  })
  const headers = { origin: 'https://chat.example', 'access-control-request-method': 'POST' }

  const { headers: granted } = await handler(http('/api/chat', { method: 'OPTIONS', headers }))

  expect(granted['access-control-allow-headers']).toContain('x-client-secret')
  expect(granted).not.toHaveProperty('access-control-allow-credentials')
})

describe('over a socket', () => {
  const hosts: Host[] = []
  afterEach(async () => void (await Promise.all(hosts.splice(0).map(({ close }) => close()))))

  test('the cookie joins those of the app that the handler is mounted in', async () => {
    const app = express()
      .use((_, response, next) => {
        response.cookie('session', '1')
        next()
      })
      .use(relay({ upstream: script([hel, stop]).upstream }))
    const server = await host(app)
    hosts.push(server)

    const response = await fetch(`${server.url}/api/chat`, {
      method: 'POST',
      headers: json,
      body: JSON.stringify(body),
    })
    await response.text()

    const cookies = response.headers.getSetCookie()
    expect(cookies.map((cookie) => cookie.split('=')[0])).toEqual(['session', 'deltarelay-client'])
  })
})

describe('on Lambda', () => {
  const model = script([hel, 'wait', lo, stop])
  const handler = createHandler({ upstream: model.upstream, model: 'm' })

  async function invoke(event: Pick<FunctionUrlEvent, 'rawPath' | 'cookies' | 'body'> & { method?: string }) {
    const { method = event.body ? 'POST' : 'GET', ...rest } = event
    const heads: { statusCode: number; headers: object; cookies?: readonly string[] }[] = []
    const stream = {
      write: () => true,
      on: () => {},
      once: () => {},
      off: () => {},
      end: () => {},
      destroyed: false,
      writableLength: 0,
    }
    const done = serveLambda(handler, {
      event: {
        ...rest,
        headers: { ...json, 'x-forwarded-proto': 'https' },
        requestContext: { http: { method, sourceIp: address } },
      },
      stream,
      context: { getRemainingTimeInMillis: () => 60_000 },
      from: (out, head) => {
        heads.push(head)
        return out
      },
    })
    await until(() => heads.length === 1)
    return { head: heads[0]!, done }
  }

  test('a client is known again by the cookie that it got', async () => {
    const asked = await invoke({ rawPath: '/api/chat', body: JSON.stringify(body) })
    const [cookie = ''] = asked.head.cookies ?? []

    const stranger = await invoke({ rawPath: `/api/chat/${chat}/stream` })
    const known = await invoke({
      rawPath: `/api/chat/${chat}/stream`,
      cookies: ['theme=dark', cookie.split(';')[0]!],
    })
    model.release()
    await soon(Promise.all([asked.done, stranger.done, known.done]))

    expect(cookie).toMatch(/^deltarelay-client=[\w-]{22}; .*; Secure$/)
    expect(asked.head.headers).not.toHaveProperty('set-cookie')
    expect(stranger.head.statusCode).toBe(204)
    expect(known.head.statusCode).toBe(200)
  })
})
