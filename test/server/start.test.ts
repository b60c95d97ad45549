import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { host } from '../adapters/host.ts'
import { dial, post, split } from '../adapters/raw.ts'
import { createLauncher, type Launcher, portOf, expectPortRefused } from './process.ts'

let launcher: Launcher
beforeAll(async () => {
  launcher = await createLauncher()
})
afterEach(() => launcher.stopAll())
afterAll(() => launcher.remove())

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const { port, close } = await host(() => {})
  await close()
  return port
}

test('without a key the simulated model answers, and the one line on stdout says so', async () => {
  const server = launcher.launch()
  const url = await server.ready

  const response = await fetch(`${url}/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"prompt":"hello","stream":false}',
  })
  const page = await (await fetch(url)).text()

  expect(server.stdout).toBe(
    `deltarelay is listening on ${url} (simulated model: set OPENAI_API_KEY or OPENAI_BASE_URL for a real one)\n`,
  )
  expect(server.stderr).toMatch(
    /^\{"time":"[^"]+","level":"info","replyId":"[\w-]{8}…","status":"finished",.*\}\n$/,
  )
  expect(await response.json()).toMatchObject({ model: 'simulator', finishReason: 'stop' })
  expect(page).toContain('&#34;simulated&#34;:true')
  expect(response.headers.get('x-powered-by')).toBeNull()
})

test('it listens on this machine alone unless it is told otherwise', async () => {
  const { hostname } = new URL(await launcher.launch().ready)

  expect(hostname).toBe('127.0.0.1')
})

test('with a key or a base address the line names the model and the host, and no key', async () => {
  const server = launcher.launch({
    OPENAI_BASE_URL: 'http://127.0.0.1:9/v1?key=query-key',
    OPENAI_API_KEY: 'canary-key',
    OPENAI_MODEL: 'tiny',
  })
  const url = await server.ready

  expect(server.stdout).toBe(`deltarelay is listening on ${url} (model tiny at 127.0.0.1:9)\n`)
})

test('a port in use is a sentence and exit code 1', async () => {
  await expectPortRefused((environment) => launcher.launch(environment))
})

test('every bad value is listed at once, no secret among them, and the exit code is 1', async () => {
  const server = launcher.launch({
    PORT: 'eighty',
    OPENAI_API_KEY: 'sk-canary with a space',
    OPENAI_BASE_URL: 'ftp://user:canary@example.com',
    CORS_ORIGINS: 'https://fine.example, https://path.example/x',
    MAX_BODY_BYTES: '1e3',
    MAX_REPLIES: '0',
    LINGER_MS: '-1',
    HEARTBEAT_MS: '99999999999',
    UPSTREAM_RETRIES: '11',
    AWS_LAMBDA_HTTP_ENDPOINT: 'nowhere',
    REDIS_URL: 'https://:canary@example.com',
    API_KEYS: 'canary-1,canary-2',
  })

  const code = await server.exited

  expect(code).toBe(1)
  expect(server.stdout).toBe('')
  const [first, ...problems] = server.stderr.trimEnd().split('\n')
  expect(first).toBe('The environment has 12 problems:')
  expect(problems.map((line) => /^ {2}- (\w+) /.exec(line)?.[1]).toSorted()).toEqual([
    'API_KEYS',
    'AWS_LAMBDA_HTTP_ENDPOINT',
    'CORS_ORIGINS',
    'HEARTBEAT_MS',
    'LINGER_MS',
    'MAX_BODY_BYTES',
    'MAX_REPLIES',
    'OPENAI_API_KEY',
    'OPENAI_BASE_URL',
    'PORT',
    'REDIS_URL',
    'UPSTREAM_RETRIES',
  ])
  expect(server.stderr).not.toContain('canary')
})

test.each([{ NODE_ENV: 'production' }, { AWS_LAMBDA_HTTP_ENDPOINT: '127.0.0.1:0' }])(
  'with %j a missing key is a sentence and exit code 1, never the simulated model',
  async (environment) => {
    const server = launcher.launch(environment)

    expect(await server.exited).toBe(1)
    expect(server.stderr).toMatch(/OPENAI_API_KEY is not set: set it, or set OPENAI_BASE_URL .*\n$/)
    expect(server.stderr).not.toMatch(/\n\s+at /)
    expect(server.stdout).toBe('')
  },
)

test.each([
  ['127.0.0.1:', 'http://127.0.0.1:'],
  ['http://127.0.0.1:', 'http://127.0.0.1:'],
  ['localhost:', 'http://127.0.0.1:'],
])('AWS_LAMBDA_HTTP_ENDPOINT=%s… wins over PORT and HOST', async (prefix, expected) => {
  const [port, other] = [await freePort(), await freePort()]
  const server = launcher.launch({
    AWS_LAMBDA_HTTP_ENDPOINT: `${prefix}${port}`,
    PORT: String(other),
    HOST: '0.0.0.0',
    OPENAI_API_KEY: 'any',
  })

  const url = await server.ready

  expect([`${expected}${port}`, `http://[::1]:${port}`]).toContain(url)
  expect(portOf(url)).toBe(port)
  expect((await fetch(`http://localhost:${port}/healthz`)).status).toBe(200)
})

test('a body that comes too slowly is told so, in JSON', async () => {
  const server = launcher.launch({ OPENAI_API_KEY: 'any', BODY_TIMEOUT_MS: '300' })
  const wire = await dial(portOf(await server.ready))

  wire.send(post('/chat', { prompt: 'hi' }).slice(0, -3))

  const { status, body } = split(await wire.closed)
  expect(status).toBe(408)
  expect(JSON.parse(body)).toMatchObject({
    error: { code: 'request-timeout', message: 'The body did not arrive within 300 ms.' },
  })
})

// Tells on stderr what the platform's own server is made with.
const telling = `
  import http from 'node:http'
  import { syncBuiltinESMExports } from 'node:module'
  const { createServer } = http
  http.createServer = (options, listener) => {
    console.error(JSON.stringify(options))
    return createServer(options, listener)
  }
  syncBuiltinESMExports()`

test.each(['1', '15000', '120000', '2147483647'])(
  'of all limits of time, the one of the body comes first, because it says what is wrong: BODY_TIMEOUT_MS=%s',
  async (ms) => {
    const server = launcher.launch({
      OPENAI_API_KEY: 'any',
      BODY_TIMEOUT_MS: ms,
      NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(telling)}"`,
    })
    await server.ready

    const limits = JSON.parse(server.stderr) as { headersTimeout: number; requestTimeout: number }
    // The platform looks at the whole request: the body's time begins when its head is there.
    expect(limits.requestTimeout).toBeGreaterThan(limits.headersTimeout + Number(ms))
  },
)
