import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { listen } from '../redis/listen.ts'
import { describeRedis } from '../redis/gate.ts'
import { type RedisServer, startRedis } from '../redis/server.ts'
import { size } from './size.ts'
import { createLauncher, type Launcher, type ServerProcess } from '../server/process.ts'

// Without a prefix by which a secret is recognised, and with characters that encodings change.
const API_KEY = 'Canary+7f3a/9b2e=41d8c605'
const TOKEN = 'Canary2/55aa+0c1f=e7b94d'
const PASSWORD = 'Canary3-8d2b60f4~a1c7'
const REDIS_PASSWORD = 'Canary4-77e0b3c2d9f1'
const basic = Buffer.from(`service:${PASSWORD}`).toString('base64')
const secrets = { API_KEY, TOKEN, PASSWORD, REDIS_PASSWORD, basic }

/** Every spelling of a secret in which an upstream could repeat it. */
function spellings(secret: string): Readonly<Record<string, string>> {
  const bytes = Buffer.from(secret)
  return {
    raw: secret,
    base64: bytes.toString('base64'),
    base64url: bytes.toString('base64url'),
    url: encodeURIComponent(secret),
    hex: bytes.toString('hex'),
    json: JSON.stringify(secret).slice(1, -1).replaceAll('/', '\\/'),
  }
}

/** The secrets in the headers that the upstream received, in one spelling. */
function wordsFrom(headers: IncomingHttpHeaders, spelling: string): string {
  const received = [headers.authorization?.slice('Bearer '.length), headers['x-team-token'], headers['x-gateway']?.toString().slice('Basic '.length), PASSWORD] // prettier-ignore
  return received.map((value) => spellings(String(value))[spelling]!).join(' ')
}

type Shape = (words: string) => { status: number; type?: string; body: string }

const event = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`
const document = (status: number, value: unknown) => ({ status, type: 'application/json', body: JSON.stringify(value) }) // prettier-ignore
const stream = (...values: readonly unknown[]) => ({ status: 200, body: values.map(event).join('') + 'data: [DONE]\n\n' }) // prettier-ignore
const chunk = (choice: object, more: object = {}) => ({
  id: 'c',
  object: 'chat.completion.chunk',
  choices: [{ index: 0, ...choice }],
  ...more, // prettier-ignore
})
const hi = chunk({ delta: { content: 'Hi' } })
const end = chunk({ delta: {}, finish_reason: 'stop' })

const allStatuses = [400, 401, 404, 422, 429, 503, 301, 402, 403, 408, 409, 413, 415, 418, 498, 500, 502, 529]
const statuses = allStatuses.slice(0, size(6, allStatuses.length))
const shapes: readonly Shape[] = [
  ...statuses.flatMap((status): Shape[] => [
    (words) => document(status, { error: { message: words, type: words, code: words, param: words } }),
    (words) => document(status, { error: { message: `max_tokens: ${words}`, param: 'max_tokens', code: null } }),
    (words) => document(status, { error: { message: `bad: ${words}`, param: `messages[0].${words}` } }),
    (words) => document(status, { error: { message: `redis://user:${words}@cache.internal:6379 refused`, param: 'model' } }),
    (words) => document(status, { error: { message: words, param: 'temperature', code: 'unsupported_value' } }),
    (words) => document(status, { error: { message: Buffer.from(`x${words}`).toString('base64'), param: 'tools' } }),
    (words) => document(status, { error: { message: [...words].join(' '), param: 'stop' } }),
    (words) => document(status, { detail: [{ loc: ['body', words], msg: words }] }),
    (words) => document(status, { detail: [{ loc: ['body', 'temperature'], msg: words }] }),
    (words) => ({ status, type: 'text/plain', body: words }),
    (words) => ({ status, type: 'text/html', body: `<h1>${words}</h1>` }),
  ]), // prettier-ignore
  (words) => document(200, { error: { message: words, code: words } }),
  (words) => stream({ error: { message: words, type: words, code: words, param: words } }),
  (words) => stream(hi, { error: { message: words, code: 400, param: 'messages' } }),
  (words) => stream(hi, { type: 'error', code: 'invalid_prompt', message: words, param: 'input' }),
  (words) => stream(hi, { choices: [], x_groq: { id: words, error: words } }),
  (words) => stream(hi, { errors: [{ message: words, code: words, status: 422, param: 'messages.0.content' }] }),
  (words) => stream(hi, { error: words }),
  (words) => ({ status: 200, body: `event: error\ndata: ${words}\n\n` }),
  (words) => ({ status: 200, body: `error: ${words}\n\n` }),
  (words) => ({ status: 200, body: event(hi) + `data: {"choices":[${words}\n\n` }),
  (words) => stream(hi, chunk({ delta: {}, finish_reason: words })),
  (words) => stream(chunk({ delta: { content: 'Hi', [words]: words } }, { model: words, system_fingerprint: words, service_tier: words, id: words }), end),
  (words) => stream(hi, chunk({ delta: {}, finish_reason: 'error' }, { error: { message: words } })),
] // prettier-ignore

let echo: Server
let echoUrl = ''
let launcher: Launcher
beforeAll(async () => {
  launcher = await createLauncher()
  echo = createServer((request, response) => {
    let body = ''
    request.on('data', (piece: Buffer) => (body += piece.toString()))
    request.on('end', () => {
      const [, number = '0', spelling = 'raw'] = /shape (\d+) (\w+)/.exec(body) ?? []
      const words = wordsFrom(request.headers, spelling)
      const { status, type = 'text/event-stream', body: answer } = shapes[Number(number)]!(words)
      response.writeHead(status, { 'content-type': type, 'x-echo': words, 'retry-after': '0' }).end(answer)
    })
  })
  echoUrl = `http://127.0.0.1:${await listen(echo)}/v1`
})
afterAll(async () => {
  await launcher.stopAll()
  await launcher.remove()
  echo.closeAllConnections()
  echo.close()
})

/** One request of each dialect, streamed and as a document. */
function requestsFor(words: string): readonly (readonly [path: string, body: object])[] {
  const messages = [{ role: 'user', content: words }]
  const parts = [{ type: 'text', text: words }]
  return [
    ['/chat', { prompt: words }],
    ['/chat', { prompt: words, stream: false }],
    ['/v1/chat/completions', { messages, stream: true }],
    ['/v1/chat/completions', { messages }],
    ['/api/chat', { id: 'c', messages: [{ id: 'm', role: 'user', parts }] }],
  ]
}

async function everythingFrom(url: string, path: string, body?: object): Promise<string> {
  const headers = { 'content-type': 'application/json' }
  const asking = body ? { method: 'POST', headers, body: JSON.stringify(body) } : {}
  const response = await fetch(url + path, asking)
  return JSON.stringify([response.status, ...response.headers]) + (await response.text())
}

/** Everything that a Redis holds, names and values. */
async function contentsOf(redis: RedisServer): Promise<string> {
  const keys = (await redis.command(['KEYS', '*'])) as string[]
  const values = await Promise.all(
    keys.map(async (key) => {
      const type = String(await redis.command(['TYPE', key]))
      const read: Readonly<Record<string, readonly (string | number)[]>> = {
        stream: ['XRANGE', key, '-', '+'],
        hash: ['HGETALL', key],
        string: ['GET', key],
        list: ['LRANGE', key, 0, -1],
        set: ['SMEMBERS', key],
        zset: ['ZRANGE', key, 0, -1],
      }
      return JSON.stringify(await redis.command(read[type]!))
    }),
  )
  return [...keys, ...values].join('\n')
}

/** Which secrets a text holds, in which spelling. */
function found(text: string): readonly string[] {
  return Object.entries(secrets).flatMap(([name, secret]) =>
    Object.entries(spellings(secret)).flatMap(([spelling, value]) =>
      text.includes(value) ? [`${name} as ${spelling}: …${text.slice(Math.max(0, text.indexOf(value) - 120), text.indexOf(value))}`] : [],
    ),
  ) // prettier-ignore
}

describeRedis('secrets of the service', () => {
  test('are in no response, log line, metric or Redis key, however the upstream repeats them', async () => {
    const redis = await startRedis({ password: REDIS_PASSWORD })
    const server: ServerProcess = launcher.launch({
      OPENAI_BASE_URL: echoUrl,
      OPENAI_API_KEY: API_KEY,
      OPENAI_CUSTOM_HEADERS: `X-Team-Token: ${TOKEN}\nX-Gateway: Basic ${basic}`,
      REDIS_URL: redis.url,
      UPSTREAM_RETRIES: '0',
      IDLE_TIMEOUT_MS: '1000',
    })
    const url = await server.ready
    let said = ''

    for (const number of shapes.keys()) {
      const requests = Object.keys(spellings('')).flatMap((spelling) =>
        requestsFor(`shape ${number} ${spelling}`),
      )
      const exchanges = requests.map(([path, body]) => everythingFrom(url, path, body))
      said += (await Promise.all(exchanges)).join('\n')
    }
    for (const path of ['/', '/metrics', '/healthz', '/readyz', '/v1/models', '/openapi.json'])
      said += await everythingFrom(url, path)
    const stored = await contentsOf(redis)
    await redis.kill()
    said += await everythingFrom(url, '/chat', { prompt: 'shape 0 raw' })
    server.child.kill('SIGTERM')
    await server.exited
    await redis.stop()

    expect(said).toContain('"error"')
    expect(stored).toContain('"error"'.replaceAll('"', String.raw`\"`))
    expect(server.stderr).toContain('"level":"error"')
    expect({
      said: found(said),
      stored: found(stored),
      logged: found(server.stdout + server.stderr),
    }).toEqual({
      said: [],
      stored: [],
      logged: [],
    })
  }, 600_000)
})
