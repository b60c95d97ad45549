import { describe, expect, test } from 'vitest'
import { withCors } from '../../src/cors.ts'
import { createHandler } from '../../src/handler.ts'
import { isLoopback, withAllowedHosts } from '../../src/hosts.ts'
import { http, script, stop, textOf } from './kit.ts'

const asks = '/stream?prompt=hi'

function service(hosts: readonly string[] | '*', loopback = false) {
  const scripted = script([stop])
  const handler = createHandler({ upstream: scripted.upstream, model: 'm' })
  const guarded = withAllowedHosts(withCors(handler, { origins: ['https://chat.example'] }), {
    hosts,
    loopback,
  })
  return { guarded, asked: scripted.asked }
}

async function statusAt(
  host: string | undefined,
  { hosts = ['chat.lan'], loopback = false, url = asks, headers = {}, method = 'GET' }: Partial<Sending> = {},
): Promise<number> {
  const { guarded } = service(hosts, loopback)
  const all = host === undefined ? headers : { ...headers, host }
  return (await guarded(http(url, { method, headers: all }))).status
}

interface Sending {
  readonly hosts: readonly string[] | '*'
  readonly loopback: boolean
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly method: string
}

test.each<[host: string, entries: readonly string[]]>([
  ['chat.lan', ['chat.lan']],
  ['chat.lan:3000', ['chat.lan']],
  ['CHAT.Lan:3000', ['chat.lan']],
  ['chat.lan', ['Chat.LAN.']],
  ['chat.lan.', ['chat.lan']],
  ['chat.lan.:80', ['chat.lan']],
  ['chat.lan:8080', ['a.lan', 'chat.lan:8080']],
  ['chat.lan', ['chat.lan:80']],
  ['chat.lan', ['chat.lan:443']],
  ['a.chat.lan', ['*.chat.lan']],
  ['a.b.chat.lan:1', ['*.chat.lan']],
  ['xn--mnchen-3ya.example', ['münchen.example']],
  ['192.168.1.5:3000', ['192.168.1.5']],
  ['[fe80::1]:3000', ['[FE80:0::1]']],
  ['[::1]:3000', ['[::1]:3000']],
  ['my_host', ['my_host']],
])('the host %s is allowed by %j', async (host, hosts) => {
  expect(await statusAt(host, { hosts })).toBe(200)
})

test.each<[host: string, entries: readonly string[] | '*']>([
  ['evil.example', ['chat.lan']],
  ['evil.example', []],
  ['chat.lan.evil.example', ['chat.lan', '*.lan']],
  ['evilchat.lan', ['chat.lan', '*.chat.lan']],
  ['chat.lan', ['*.chat.lan']],
  ['.chat.lan', ['chat.lan']],
  ['chat.lan:8081', ['chat.lan:8080']],
  ['chat.lan', ['chat.lan:8080']],
  ['chat.lan:80:80', ['chat.lan']],
  ['chat.lan:x', ['chat.lan']],
  ['chat.lan:', ['chat.lan']],
  ['evil.example@chat.lan', ['chat.lan']],
  ['chat.lan@evil.example', ['chat.lan']],
  ['chat.lan/evil.example', ['chat.lan']],
  ['chat.lan#evil', ['chat.lan']],
  ['chat.lan\\evil', ['chat.lan']],
  ['chat%2elan', ['chat.lan']],
  ['chat.lan evil.example', ['chat.lan']],
  ['', ['chat.lan']],
  ['127.0.0.1', ['chat.lan']],
  ['localhost:3000', ['chat.lan']],
  ['chat.lan, evil.example', ['chat.lan', 'evil.example']],
  ['chat.lan, chat.lan', ['chat.lan']],
  ['chat.lan, chat.lan', '*'],
  [', ', '*'],
])('the host %j is refused by %j', async (host, hosts) => {
  expect(await statusAt(host, { hosts })).toBe(421)
})

test.each([
  ['localhost', 200],
  ['LOCALHOST.:3000', 200],
  ['app.localhost:5173', 200],
  ['127.0.0.1:3000', 200],
  ['127.255.3.4', 200],
  ['[::1]:3000', 200],
  ['[0:0:0:0:0:0:0:1]', 200],
  ['chat.lan', 200],
  ['0.0.0.0:3000', 421],
  ['[::]', 421],
  ['128.0.0.1', 421],
  ['127.0.0.1.evil.example', 421],
  ['localhost.evil.example', 421],
  ['evillocalhost', 421],
  ['192.168.1.5', 421],
  ['[::1', 421],
])('a service on loopback answers %s with %i', async (host, status) => {
  expect(await statusAt(host, { loopback: true })).toBe(status)
})

test('a request without Host, which no browser sends, is answered', async () => {
  expect(await statusAt(undefined)).toBe(200)
})

test.each([
  ['http://chat.lan/stream?prompt=hi', 'chat.lan', 200],
  ['http://chat.lan:81/stream?prompt=hi', 'chat.lan', 200],
  ['http://evil.example/stream?prompt=hi', 'chat.lan', 421],
  ['HTTP://evil.example/stream?prompt=hi', undefined, 421],
  ['http://user@evil.example/stream?prompt=hi', 'chat.lan', 421],
  ['http://chat.lan/stream?prompt=hi', 'evil.example', 421],
  ['http:///stream?prompt=hi', 'chat.lan', 421],
])('the target %s with the host %s is %i', async (url, host, status) => {
  expect(await statusAt(host, { url })).toBe(status)
})

describe('the host that a proxy states', () => {
  const from = (host: string) => ({ headers: { 'x-forwarded-host': host } })

  test.each([
    ['chat.lan', 200],
    ['chat.lan, chat.lan:80', 200],
    ['evil.example', 421],
    ['chat.lan, evil.example', 421],
    ['', 421],
  ])('where names are listed is checked too: %j is %i', async (host, status) => {
    expect(await statusAt('chat.lan', from(host))).toBe(status)
  })

  test('is the one of its developer where none are', async () => {
    expect(await statusAt('localhost', { ...from('chat.lan'), hosts: [], loopback: true })).toBe(200)
    expect(await statusAt('app:3000', { ...from('chat.lan'), hosts: '*' })).toBe(200)
  })
})

describe('a health check', () => {
  test.each(['/healthz', '/readyz', '/healthz?x=1'])(
    '%s may name an address, as load balancers do',
    async (url) => {
      expect(await statusAt('10.0.0.7:3000', { url })).toBe(200)
      expect(await statusAt('[fd00::7]:3000', { url })).toBe(200)
      expect(await statusAt('evil.example', { url })).toBe(421)
      expect(await statusAt('10.0.0.7, 10.0.0.7', { url })).toBe(421)
    },
  )

  test.each([asks, '/models?/healthz', '/models#/healthz', '/healthz/../models', '/'])(
    'is not %s',
    async (url) => {
      expect(await statusAt('10.0.0.7:3000', { url })).toBe(421)
    },
  )
})

test('the refusal names the host and the setting, and starts nothing', async () => {
  const { guarded, asked } = service(['chat.lan'])

  const reply = await guarded(http('/chat', { body: { prompt: 'hi' }, headers: { host: 'evil.example' } }))
  const head = await guarded(http(asks, { method: 'HEAD', headers: { host: 'evil.example' } }))

  expect(JSON.parse(await textOf(reply))).toEqual({
    error: {
      code: 'misdirected-request',
      message:
        'The host "evil.example" is not a name of this service. If it is one, add it to the allowed host names (ALLOWED_HOSTS).',
    },
  })
  expect([head.status, head.body]).toEqual([421, ''])
  expect(asked).toHaveLength(0)
})

test.each([
  ['GET', '/orders', {}, true],
  ['POST', '/orders', {}, true],
  ['GET', asks, {}, false],
  ['PUT', '/chat', {}, false],
  ['OPTIONS', '/chat', {}, false],
  ['OPTIONS', '/orders', {}, true],
  ['OPTIONS', '/chat', { origin: 'https://chat.example', 'access-control-request-method': 'POST' }, false],
  ['OPTIONS', '/orders', { origin: 'https://chat.example', 'access-control-request-method': 'POST' }, true],
] as const)("in a user's own app, %s %s with %j is passed on: %s", async (method, url, headers, passed) => {
  const { guarded, asked } = service(['chat.lan'])

  const reply = await guarded(http(url, { method, headers: { ...headers, host: 'evil.example' } }))

  expect([reply.status, reply.unmatched ?? false]).toEqual([421, passed])
  expect(asked).toHaveLength(0)
})

test.each([
  ['127.0.0.1', true],
  ['127.1.2.3', true],
  ['::1', true],
  ['[::1]', true],
  ['::ffff:127.0.0.1', true],
  ['localhost', true],
  ['', false],
  ['0.0.0.0', false],
  ['::', false],
  ['10.0.0.1', false],
  ['::2', false],
  ['fe80::1%eth0', false],
  ['chat.lan', false],
  ['localhost.lan', false],
])('binding %j is loopback: %s', (address, loopback) => {
  expect(isLoopback(address)).toBe(loopback)
})
