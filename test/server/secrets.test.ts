import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { faults } from '../../simulator/faults.ts'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { createLauncher, type Launcher, type ServerProcess } from './process.ts'

// No prefix and no pattern by which a key could be recognised.
const KEY = 'Canary7f3a9b2e41d8c605'
const WORDS = 'wordsofsomebody'

let launcher: Launcher
let simulator: Simulator
beforeAll(async () => {
  launcher = await createLauncher()
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
})
afterAll(async () => {
  await launcher.stopAll()
  await launcher.remove()
  await simulator.close()
})

const quick = {
  OPENAI_API_KEY: KEY,
  UPSTREAM_RETRIES: '0',
  HEADERS_TIMEOUT_MS: '300',
  FIRST_DELTA_TIMEOUT_MS: '300',
  IDLE_TIMEOUT_MS: '300',
  TOTAL_TIMEOUT_MS: '1500',
  MAX_REPLY_BYTES: '100000',
}

async function everythingSaid(url: string, body: object): Promise<string> {
  const response = await fetch(`${url}/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return JSON.stringify([...response.headers]) + (await response.text())
}

test('the key, and the words of a conversation, are in no answer to any fault and in no log', async () => {
  const server = launcher.launch({ ...quick, OPENAI_BASE_URL: simulator.url })
  const url = await server.ready
  let said = ''

  for (const { name, streamOnly } of faults) {
    if (name === 'huge-line' || name === 'huge-event') continue // 64 MiB each; they carry no words
    for (const stream of streamOnly ? [true] : [true, false]) {
      said += await everythingSaid(url, { prompt: `${WORDS} fault:${name}`, stream })
    }
  }

  expect(simulator.requests.every(({ headers }) => headers.authorization === `Bearer ${KEY}`)).toBe(true)
  expect(said).toContain('upstream-auth')
  expect(said).not.toContain(KEY)
  expect(server.stdout + server.stderr).toContain('"code":"upstream-auth"')
  expect(server.stdout + server.stderr).not.toContain(KEY)
  expect(server.stdout + server.stderr).not.toContain(WORDS)
}, 120_000)

/** A server that repeats the key and the question, whatever it is asked. */
async function startEcho(status: number, wrap: (words: string) => string, type = 'application/json') {
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (piece: Buffer) => (body += piece.toString()))
    request.on('end', () => {
      const question = /[a-z]*wordsofsomebody/.exec(body)?.[0] ?? ''
      const words = `Incorrect key ${request.headers.authorization ?? ''} (${KEY}), ${question}`
      response
        .writeHead(status, words.slice(0, 80), { 'content-type': type, 'x-echo': words })
        .end(wrap(words))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/v1`,
    close: () => new Promise((resolve) => (server.close(resolve), server.closeAllConnections())),
  }
}

const asError = (message: string): string =>
  JSON.stringify({ error: { message, type: message, code: message, param: message } })
const asEvent = (text: string): string => `data: ${text}\n\n`
const events = 'text/event-stream'

const asCode = (words: string): string =>
  JSON.stringify({ error: { message: 'No.', code: KEY, type: words } })
const asQuestion = (): string => JSON.stringify({ error: { message: 'No.', code: WORDS, type: WORDS } })
const asParam = (words: string): string => JSON.stringify({ error: { message: words, param: KEY } })

test.each([
  [400, asError, 'application/json'],
  [400, asParam, 'application/json'],
  [400, asCode, 'application/json'],
  [400, asQuestion, 'application/json'],
  [500, asCode, 'application/json'],
  [200, (words: string) => asEvent(asCode(words)), events],
  [401, asError, 'application/json'],
  [403, (words: string) => words, 'text/plain'],
  [404, asError, 'application/json'],
  [409, asError, 'application/json'],
  [422, (words: string) => JSON.stringify({ detail: words }), 'application/json'],
  [429, asError, 'application/json'],
  [500, asError, 'application/json'],
  [503, (words: string) => `<h1>${words}</h1>`, 'text/html'],
  [200, asError, 'application/json'],
  [200, (words: string) => asEvent(asError(words)), events],
  [200, (words: string) => asEvent(JSON.stringify({ error: { message: words, code: 401 } })), events],
  [200, (words: string) => asEvent(JSON.stringify({ error: { message: words, code: 400 } })), events],
  [200, (words: string) => `event: error\n${asEvent(words)}`, events],
  [200, (words: string) => asEvent(`{"choices":[${words}`), events],
])(
  'an upstream that repeats the key with status %i, as %o in %s, is not believed',
  async (status, wrap, type) => {
    const echo = await startEcho(status, wrap, type)
    const server: ServerProcess = launcher.launch({ ...quick, OPENAI_BASE_URL: echo.url })
    const url = await server.ready

    const said =
      (await everythingSaid(url, { prompt: WORDS })) +
      (await everythingSaid(url, { prompt: WORDS, stream: false })) +
      (await (await fetch(`${url}/stream?prompt=${WORDS}`)).text())

    expect(said).toContain('"error"')
    expect(said).not.toContain(KEY)
    server.child.kill('SIGTERM')
    await server.exited
    expect(server.stdout + server.stderr).not.toContain(KEY)
    expect(server.stderr).not.toContain(WORDS)
    await echo.close()
  },
)
