import { describe, expect, test } from 'vitest'
import { startSimulator } from '../../simulator/index.ts'
import { createHandler, type HandlerOptions } from '../../src/handler.ts'
import { bare, dial, post, split } from '../adapters/raw.ts'
import { createLaunch } from '../server/launch.ts'
import { portOf } from '../server/process.ts'
import { hel, http, script, stop, textOf, until } from '../src/kit.ts'

const { launchOnce } = createLaunch()

async function send(port: number, request: string) {
  const wire = await dial(port)
  wire.send(request.replace('\r\n', '\r\nConnection: close\r\n'))
  return split(await wire.closed)
}

describe('a server that binds more than loopback', () => {
  const beyond = { HOST: '0.0.0.0' }

  test('does not start unless its names are listed and its lack of authentication is accepted', async () => {
    const server = launchOnce(beyond)

    expect(await server.exited).toBe(1)
    expect(server.stdout).toBe('')
    const [, ...problems] = server.stderr.trimEnd().split('\n')
    expect(problems).toEqual([
      expect.stringMatching(/^ {2}- ALLOW_ANONYMOUS must be 1 because .*"0\.0\.0\.0".* no authentication/),
      expect.stringMatching(/^ {2}- ALLOWED_HOSTS must list the host names/),
    ])
  })

  test.each([
    ['one process', {}],
    ['AWS_LAMBDA_HTTP_ENDPOINT', { AWS_LAMBDA_HTTP_ENDPOINT: '0.0.0.0:0', OPENAI_API_KEY: 'any' }],
  ])('warns in one line (%s)', async (_, more) => {
    const server = launchOnce({ ...beyond, ...more, ALLOWED_HOSTS: '*', ALLOW_ANONYMOUS: '1' })
    await server.ready

    expect(server.stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(JSON.parse(server.stderr)).toMatchObject({
      level: 'warn',
      message: expect.stringMatching(/^This server has no authentication, and listens on 0\.0\.0\.0: /),
    })
  })

  test('answers for its listed names alone, and health checks by address', async () => {
    const server = launchOnce({ ...beyond, ALLOWED_HOSTS: 'chat.lan', ALLOW_ANONYMOUS: '1' })
    const port = portOf(await server.ready)
    const status = async (line: string, ...hosts: readonly string[]): Promise<number> => {
      const lines = hosts.map((name) => `Host: ${name}\r\n`).join('')
      return (await send(port, `${line} HTTP/1.1\r\n${lines}\r\n`)).status
    }

    expect(await status('GET /models', `chat.lan:${port}`)).toBe(200)
    expect(await status('GET /models', 'evil.example')).toBe(421)
    expect(await status('GET /models', 'localhost')).toBe(421)
    expect(await status('GET /models', '127.0.0.1')).toBe(421)
    expect(await status('GET /models', 'chat.lan', 'chat.lan')).toBe(421)
    expect(await status('GET /models', 'chat.lan', 'evil.example')).toBe(421)
    expect(await status('GET http://evil.example/models', 'chat.lan')).toBe(421)
    expect(await status('GET /readyz', `127.0.0.1:${port}`)).toBe(200)
    expect(await status('GET /readyz', 'evil.example')).toBe(421)
    expect(await status('GET /nothing', 'evil.example')).toBe(421)
  })
})

test('a server on loopback needs no setting, prints no warning, and knows the names of this machine', async () => {
  const server = launchOnce({})
  const port = portOf(await server.ready)

  const statuses = []
  for (const name of [
    'localhost',
    'app.localhost',
    '127.0.0.1',
    '127.0.0.2',
    '[::1]',
    '0.0.0.0',
    'evil.example',
  ]) {
    statuses.push((await send(port, `GET /models HTTP/1.1\r\nHost: ${name}:${port}\r\n\r\n`)).status)
  }
  const twice = await send(port, bare('GET /models', ['Host: localhost']))

  expect(server.stderr).toBe('')
  expect(statuses).toEqual([200, 200, 200, 200, 200, 421, 421])
  expect(twice.status).toBe(421)
})

test('the server limits tokens and replies by default', async () => {
  const simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
  const server = launchOnce({ OPENAI_BASE_URL: simulator.url, OPENAI_API_KEY: 'any' })
  const port = portOf(await server.ready)

  const { status } = await send(port, post('/chat', { prompt: 'hi', stream: false }))
  await simulator.close()

  expect(status).toBe(200)
  expect(simulator.requests.map(({ body }) => body)).toEqual([
    expect.objectContaining({ max_tokens: 16_384 }),
  ])
})

test('at most 1000 replies run at once by default', async () => {
  const scripted = script([hel, 'wait', stop])
  const handler = createHandler({ upstream: scripted.upstream, model: 'm' })
  const ask = () => handler(http('/chat', { body: { prompt: 'hi' } }))

  const replies = await Promise.all(Array.from({ length: 1001 }, ask))

  expect(replies.filter(({ status }) => status === 200)).toHaveLength(1000)
  expect(replies.find(({ status }) => status !== 200)).toMatchObject({ status: 503 })
  scripted.release()
  await until(() => scripted.open() === 0)
})

interface Asking {
  readonly principal?: string | undefined
  readonly policy?: string | undefined
  readonly url?: string | undefined
}

describe('a reply that goes on without a reader', () => {
  const asked = { prompt: 'hi' }

  async function ask(options: Partial<HandlerOptions>, { principal, policy, url = '/chat' }: Asking) {
    const scripted = script([hel, stop])
    const handler = createHandler({ upstream: scripted.upstream, model: 'm', ...options })
    const bodies: Record<string, object> = {
      '/v1/chat/completions': { messages: [{ role: 'user', content: 'hi' }] },
      '/api/chat': { id: 'c', messages: [{ id: 'm', role: 'user', parts: [{ type: 'text', text: 'hi' }] }] },
    }
    const headers = policy === undefined ? {} : { 'x-on-disconnect': policy }
    const body = url.startsWith('/stream') ? undefined : (bodies[url] ?? asked)
    const reply = await handler({ ...http(url, { headers, body }), principal })
    return { status: reply.status, body: await textOf(reply), asked: scripted.asked.length }
  }

  test.each<[HandlerOptions['allowContinue'], string | undefined, number]>([
    [undefined, undefined, 403],
    [undefined, 'ann', 200],
    ['authenticated', undefined, 403],
    ['authenticated', 'ann', 200],
    ['never', undefined, 403],
    ['never', 'ann', 403],
    ['always', undefined, 200],
    ['always', 'ann', 200],
  ])('with %s and the principal %s is %i', async (allowContinue, principal, status) => {
    const header = await ask({ allowContinue }, { principal, policy: 'continue' })
    const query = await ask({ allowContinue }, { principal, url: '/chat?on_disconnect=continue' })
    const started = status === 200 ? 1 : 0

    expect([header.status, header.asked, query.status, query.asked]).toEqual([
      status,
      started,
      status,
      started,
    ])
  })

  test.each(['/v1/chat/completions', '/api/chat', '/stream?prompt=hi'])(
    'is forbidden at %s too',
    async (url) => {
      expect(await ask({}, { url, policy: 'continue' })).toMatchObject({ status: 403, asked: 0 })
      expect(await ask({}, { url, policy: 'linger' })).toMatchObject({ status: 200 })
      expect(await ask({}, { url, policy: 'cancel' })).toMatchObject({ status: 200 })
    },
  )

  test('is refused with the header, the setting and the way out', async () => {
    const { body } = await ask({}, { policy: 'continue' })

    expect(JSON.parse(body)).toEqual({
      error: {
        code: 'policy-not-allowed',
        message:
          '`X-On-Disconnect: continue` is not allowed to anonymous clients (ON_DISCONNECT_CONTINUE=authenticated). Use linger or cancel.',
        param: 'X-On-Disconnect',
      },
    })
  })

  test.each([
    [{}, 403],
    [{ ON_DISCONNECT_CONTINUE: 'always' }, 200],
  ])('is what the server is set to: %j', async (environment, status) => {
    const port = portOf(await launchOnce(environment).ready)

    const request = post('/chat', { ...asked, stream: false }, ['X-On-Disconnect: continue'])

    expect((await send(port, request)).status).toBe(status)
  })
})
