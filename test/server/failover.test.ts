import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { readOptions } from '../../handlers/options.ts'
import { wire } from '../../handlers/wire.ts'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import type { ChatDelta, Handler } from '../../src/types.ts'
import { deltasIn, http, soon, textIn, textOf, until } from '../src/kit.ts'
import { createLaunch } from './launch.ts'

const quick = { firstTokenMs: 0, tokensPerSecond: Infinity }
const KEY = 'Canary5c1d9b2e41d8c605'
let second: Simulator
let whole: string
const opened: Simulator[] = []

async function open(fault?: string): Promise<Simulator> {
  const simulator = await startSimulator({ ...quick, fault })
  opened.push(simulator)
  return simulator
}

/** The service as the environment makes it, with these servers. */
function serviceOf(
  servers: readonly (Pick<Simulator, 'url'> & { readonly more?: object })[],
  env = {},
): Handler {
  const upstreams = servers.map(({ url, more }, index) => {
    return { name: `s${index + 1}`, baseURL: url, keyVariable: 'KEY', ...more }
  })
  const settings = { UPSTREAMS: JSON.stringify(upstreams), KEY, UPSTREAM_RETRIES: '0', ...env }
  return wire(readOptions({ HEADERS_TIMEOUT_MS: '5000', ...settings })).handler
}

async function ask(service: Handler, prompt = 'hello'): Promise<{ status: number; deltas: ChatDelta[] }> {
  const reply = await soon(service(http('/chat', { body: { prompt } })), 10_000)
  const body = await soon(textOf(reply), 10_000)
  await soon(reply.settled)
  return { status: reply.status, deltas: deltasIn(body) }
}

let lines: string[]
const moves = (): unknown[] =>
  lines.map((line) => JSON.parse(line) as { from?: string }).filter(({ from }) => from !== undefined)
beforeEach(() => {
  lines = []
  vi.spyOn(console, 'error').mockImplementation((line: string) => void lines.push(line))
})
afterEach(() => void vi.restoreAllMocks())

beforeAll(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  second = await open()
  whole = textIn((await ask(serviceOf([second]))).deltas)
  expect(whole.length).toBeGreaterThan(20)
})
afterAll(() => Promise.all(opened.map((simulator) => simulator.close())))

// What the first server does, and what the log calls it.
const before: Record<string, string> = {
  'rate-limit': 'rate-limited',
  'no-quota': 'rate-limited',
  'server-error': 'upstream-unavailable',
  'overloaded;status=529': 'upstream-unavailable',
  unauthorized: 'upstream-auth',
  forbidden: 'upstream-auth',
  'unknown-model': 'upstream-rejected',
  reset: 'upstream-unreachable',
  'no-response': 'upstream-timeout',
  'stall-after-headers': 'upstream-timeout',
  'comment-drip;ms=20': 'upstream-timeout',
  'cut;after=0': 'upstream-truncated',
  'fin;after=0': 'upstream-truncated',
  'truncated;after=0': 'upstream-truncated',
  'malformed-json;after=0': 'upstream-malformed',
  'error-object;after=0': 'upstream-error',
  'error-event;after=0': 'upstream-error',
  'error-string;after=0': 'upstream-error',
  redirect: 'upstream-bad-response',
  html: 'upstream-bad-response',
  'empty-body': 'upstream-bad-response',
  'json-instead-of-stream': 'upstream-bad-response',
}

test.each(Object.entries(before))(
  'where the first server does %s before its first word, the second answers, once',
  async (fault, code) => {
    const first = await open(fault)
    const asked = second.requests.length
    const short = code === 'upstream-timeout' ? { headersTimeoutMs: 300, firstDeltaTimeoutMs: 300 } : {}

    const { status, deltas } = await ask(serviceOf([{ url: first.url, more: short }, second]))

    expect(status).toBe(200)
    expect(textIn(deltas)).toBe(whole)
    expect(deltas.map(({ type }) => type).filter((type) => type !== 'text')).toEqual([
      'start',
      'usage',
      'finish',
    ])
    expect(first.requests).toHaveLength(1)
    expect(second.requests).toHaveLength(asked + 1)
    await until(() => first.requests.every(({ closed }) => closed), 1500)
    expect(moves()).toEqual([expect.objectContaining({ level: 'warn', from: 's1', to: 's2', code })])
    expect(lines.join('\n')).not.toContain(KEY)
  },
)

test('where nobody listens at the first address, the second answers', async () => {
  const gone = await startSimulator()
  await gone.close()

  const { deltas } = await ask(serviceOf([gone, second]))

  expect(textIn(deltas)).toBe(whole)
  expect(moves()).toMatchObject([{ from: 's1', to: 's2', code: 'upstream-unreachable' }])
})

test.each([
  ['cut', 'upstream-truncated'],
  ['truncated', 'upstream-truncated'],
  ['malformed-json', 'upstream-malformed'],
  ['error-object', 'upstream-error'],
  ['stall', 'upstream-timeout'],
])('where the first server does %s after its first word, that is the end', async (fault, code) => {
  const first = await open(fault)
  const asked = second.requests.length

  const { deltas } = await ask(serviceOf([first, second], { IDLE_TIMEOUT_MS: '300', UPSTREAM_RETRIES: '2' }))

  expect(textIn(deltas)).toMatch(/^.{5,}/)
  expect(deltas.at(-1)).toMatchObject({ type: 'error', code })
  expect(first.requests).toHaveLength(1)
  expect(second.requests).toHaveLength(asked)
  expect(moves()).toEqual([])
})

test('where the first server finds the request wrong, nobody else is asked', async () => {
  const first = await open('context-length')
  const asked = second.requests.length

  const { status } = await ask(serviceOf([first, second], { UPSTREAM_RETRIES: '2' }))

  expect(status).toBe(400)
  expect([first.requests.length, second.requests.length - asked]).toEqual([1, 0])
})

test.each(['no-response', 'stall-after-headers'])(
  'where the client leaves while the first server does %s, it is left and nobody else is asked',
  async (fault) => {
    const first = await open(fault)
    const asked = second.requests.length
    const client = new AbortController()
    const service = serviceOf([first, second], { LINGER_MS: '0', ACCEPT_WAIT_MS: '0' })

    const answering = service(http('/chat', { body: { prompt: 'hello' }, signal: client.signal }))
    await until(() => first.requests.length === 1)
    client.abort()
    const reply = await soon(answering)
    if (typeof reply.body !== 'string') await reply.body.return?.()
    await soon(reply.settled)

    await until(() => first.requests.every(({ hungUp }) => hungUp))
    expect(second.requests).toHaveLength(asked)
    expect(moves()).toEqual([])
  },
)

test('three servers are asked in turn, each with its own name for the model', async () => {
  const first = await open('server-error')
  const other = await open('reset')
  const service = serviceOf(
    [
      { url: first.url, more: { models: ['ours'] } },
      { url: other.url, more: { models: ['another'] } },
      { url: other.url, more: { models: { ours: 'vendor/theirs' } } },
      { url: second.url, more: { models: { ours: 'last' } } },
    ],
    { MODELS: 'ours,another' },
  )

  const { deltas } = await ask(service)

  const bodies = [first, other, second].map(({ requests }) => requests.at(-1)?.body)
  expect(bodies).toMatchObject([{ model: 'ours' }, { model: 'vendor/theirs' }, { model: 'last' }])
  expect(deltas[0]).toMatchObject({ type: 'start', model: 'ours' })
  expect(moves()).toMatchObject([
    { from: 's1', to: 's3' },
    { from: 's3', to: 's4' },
  ])
})

test('where all fail, the client gets one failure, and each was asked once in each round', async () => {
  const servers = [
    await open('server-error'),
    await open('unauthorized'),
    await open('overloaded;retryAfter=9'),
  ]
  const service = serviceOf(servers, { UPSTREAM_RETRIES: '1' })

  const reply = await soon(service(http('/chat', { body: { prompt: 'hello' } })), 10_000)

  expect(reply.status).toBe(502)
  expect(JSON.parse(await textOf(reply))).toMatchObject({ error: { code: 'upstream-unavailable' } })
  // The third asked to be left alone.
  expect(servers.map(({ requests }) => requests.length)).toEqual([2, 2, 1])
})

test('a server that keeps failing is not asked any more', async () => {
  const first = await open('server-error')
  const service = serviceOf([first, second])

  for (let i = 0; i < 7; i++) expect(textIn((await ask(service)).deltas)).toBe(whole)

  expect(first.requests).toHaveLength(5)
})

test('where all ask to be left alone, the next request is refused at once, with the shortest time', async () => {
  const servers = [await open('rate-limit;retryAfter=50'), await open('rate-limit;retryAfter=20')]
  const service = serviceOf(servers)
  await ask(service)

  const reply = await soon(service(http('/chat', { body: { prompt: 'hello' } })))

  expect(reply.status).toBe(503)
  expect(reply.headers['retry-after']).toBe('20')
  expect(servers.map(({ requests }) => requests.length)).toEqual([1, 1])
})

test('a single server is never left alone, and still gets its own name for the model', async () => {
  const only = await open('server-error')
  const service = serviceOf([{ url: only.url, more: { models: { ours: 'theirs' } } }])

  for (let i = 0; i < 7; i++) expect((await ask(service)).status).toBe(502)

  expect(only.requests).toHaveLength(7)
  for (const { body } of only.requests) expect(body).toMatchObject({ model: 'theirs' })
})

test.each(['chat-completions', 'responses'])('each server is asked in the API it speaks: %s', async (api) => {
  const [first, other] = [await open('server-error'), await open()]
  const path = `/v1/${api.replace('-', '/')}`

  await ask(serviceOf([first, { url: other.url, more: { api } }]))
  expect([first, other].map(({ requests }) => requests.at(-1)?.path)).toEqual(['/v1/chat/completions', path])

  await ask(wire(readOptions({ OPENAI_BASE_URL: other.url, OPENAI_API_KEY: KEY, UPSTREAM_API: api })).handler)
  expect(other.requests.at(-1)?.path).toBe(path)
})

describe('as a process', () => {
  const { launchOnce } = createLaunch()

  test('it needs no other setting, names its upstreams, logs the move, and no key', async () => {
    const first = await open('unauthorized')
    const entries = [
      { name: 'cloud', baseURL: first.url, keyVariable: 'CLOUD_KEY', models: ['m1'] },
      { name: 'local', baseURL: second.url, models: { m1: 'm2' } },
    ]
    const server = launchOnce({
      NODE_ENV: 'production',
      UPSTREAMS: JSON.stringify(entries),
      CLOUD_KEY: KEY,
    })
    const url = await server.ready

    const body = await (await fetch(`${url}/stream?prompt=hello`)).text()

    expect(server.stdout).toBe(`deltarelay is listening on ${url} (model m1, upstreams cloud, local)\n`)
    expect(textIn(deltasIn(body))).toBe(whole)
    await until(() => server.stderr.includes('"from"'))
    const move = server.stderr.split('\n').find((line) => line.includes('"from"')) ?? ''
    expect(JSON.parse(move)).toEqual({
      time: expect.any(String),
      level: 'warn',
      code: 'upstream-auth',
      from: 'cloud',
      to: 'local',
      cause: ['AuthenticationError 401'],
    })
    expect(first.requests.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${KEY}`])
    expect(second.requests.at(-1)?.headers.authorization).toBe('Bearer none')
    expect(server.stdout + server.stderr).not.toContain(KEY)
  })
})

test('an OpenAI account in the environment is nothing for the servers of others', async () => {
  vi.stubEnv('OPENAI_ORG_ID', 'org-of-ours')
  vi.stubEnv('OPENAI_PROJECT_ID', 'project-of-ours')
  const [first, other] = [await open('server-error'), await open()]

  await ask(serviceOf([first, { url: other.url, more: { organization: 'org-of-theirs' } }]))
  vi.unstubAllEnvs()

  const told = [first, other].map(({ requests }) => requests.at(-1)?.headers ?? {})
  expect(told.map((headers) => [headers['openai-organization'], headers['openai-project']])).toEqual([
    [undefined, undefined],
    ['org-of-theirs', undefined],
  ])
})
