import { createHash } from 'node:crypto'
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ChatDelta } from '../../src/types.ts'
import { createLaunch } from '../server/launch.ts'
import type { ServerProcess } from '../server/process.ts'
import { size } from './size.ts'

/** What the model says: pieces that are one text several times, so that each prefix can be checked. */
interface Words {
  readonly text: string
  readonly times: number
  readonly pieces: number
}

/** Words of a length, in pieces of a length. */
function wordsOf(text: string, length: number, pieceLength: number): Words {
  const times = Math.ceil(pieceLength / text.length)
  return { text, times, pieces: Math.ceil(length / (times * text.length)) }
}

const ascii = 'The answer goes on and on, as long as it is allowed to. '
const wide = '漢字假名交じり文'

const { launchOnce } = createLaunch()
const model = createModel()
beforeAll(() => model.listen())
afterAll(() => model.close())

/** The server with a small heap, and this model. */
function launch(heapMb: number, more: Readonly<Record<string, string>> = {}): ServerProcess {
  return launchOnce({
    NODE_OPTIONS: `--max-old-space-size=${heapMb}`,
    OPENAI_BASE_URL: model.url,
    OPENAI_API_KEY: 'k',
    OPENAI_MODEL: 'm',
    ...more,
  })
}

describe('memory of replies', { timeout: size(120_000, 600_000) }, () => {
  // Tools and the Responses API make the service look at the whole answer.
  test.each<[string, Readonly<Record<string, string>>]>([
    ['', {}],
    [' with tools', { TOOLS: '*' }],
    [' of the Responses API', { UPSTREAM_API: 'responses' }],
  ])(
    'running answers%s that grow beyond it end with an error, and the process goes on',
    async (_, settings) => {
      const server = launch(size(48, 128), { RETENTION_MS: '5000', ...settings })
      const url = await server.ready
      const words = wordsOf(ascii, 7_000_000, 1000)
      const count = size(16, 40)

      const outcomes = await Promise.all(Array.from({ length: count }, () => ask(url, words)))

      const complete = outcomes.filter(({ end }) => end === 'finish')
      const cut = outcomes.filter(({ end }) => end === 'overloaded')
      const refused = outcomes.filter(({ status }) => status === 503)
      console.log(summary('running', server, { count, complete, cut, refused }))
      expect(await healthz(url)).toBe(200)
      expect(server.child.exitCode).toBeNull()
      expect(complete.length + cut.length + refused.length).toBe(count)
      expect(complete.length).toBeGreaterThan(0)
      expect(cut.length).toBeGreaterThan(0)
      for (const { hash, pieces } of [...complete, ...cut]) expect(hash).toBe(hashOf({ ...words, pieces }))
      for (const { pieces } of complete) expect(pieces).toBe(words.pieces)
      for (const { retryAfter } of refused) expect(retryAfter).toBeGreaterThan(0)
      await expectAccepted(url)
    },
  )

  test('finished answers are kept within it, recent ones rather than new ones, and the process goes on', async () => {
    const server = launch(size(48, 128), { RETENTION_MS: '20000' })
    const url = await server.ready
    const words = wordsOf(wide, 60_000, 100)
    const count = size(700, 900)

    const outcomes: Outcome[] = []
    const isRefused = ({ status }: Outcome): boolean => status === 503
    // In CI it ends when it is known to be full; a server that never is gets all of them.
    while (outcomes.length < count && outcomes.filter(isRefused).length < size(40, count)) {
      const batch = Array.from({ length: Math.min(20, count - outcomes.length) }, () => ask(url, words))
      outcomes.push(...(await Promise.all(batch)))
    }

    const complete = outcomes.filter(({ end }) => end === 'finish')
    const refused = outcomes.filter(isRefused)
    console.log(summary('finished', server, { count: outcomes.length, complete, refused }))
    expect(await healthz(url)).toBe(200)
    expect(server.child.exitCode).toBeNull()
    expect(complete.length + refused.length).toBe(outcomes.length)
    expect(refused.length).toBeGreaterThan(0)
    for (const { hash } of complete) expect(hash).toBe(hashOf(words))
    for (const { retryAfter } of refused) expect(retryAfter).toBeGreaterThan(0)
    await expectAccepted(url)
  })
})

describe('memory of readers', { timeout: size(120_000, 600_000) }, () => {
  test.each([
    ['1 KB', 1000],
    ['500 KB', 500_000],
  ])('clients that read a large answer in deltas of %s slowly do not multiply it', async (_, pieceLength) => {
    const server = launch(size(64, 128))
    const url = await server.ready
    const words = wordsOf(ascii, 5_000_000, pieceLength)
    const first = await post(`${url}/chat`, { prompt: promptOf(words) })
    const id = String(first.headers['x-reply-id'])
    expect((await read(first, words)).end).toBe('finish')

    const slow = await Promise.all(Array.from({ length: size(100, 300) }, () => get(`${url}/chat/${id}`)))
    await new Promise((resolve) => setTimeout(resolve, 1000))

    expect(await healthz(url)).toBe(200)
    expect(new Set(slow.map(({ statusCode }) => statusCode))).toEqual(new Set([200]))
    const { hash, end } = await read(slow[0]!, words)
    expect({ hash, end }).toEqual({ hash: hashOf(words), end: 'finish' })
    for (const response of slow) response.destroy()
    expect(server.child.exitCode).toBeNull()
    await expectAccepted(url)
  })

  test('whole answers as documents are refused when there is no memory for them', async () => {
    const server = launch(size(64, 128))
    const url = await server.ready
    const words = wordsOf(ascii, 5_000_000, 1000)
    const asked = { prompt: promptOf(words), stream: false }
    const key = { 'idempotency-key': 'one' }

    const responses = await Promise.all(
      Array.from({ length: size(60, 200) }, () => post(`${url}/chat`, asked, key)),
    )

    const statuses = responses.map(({ statusCode }) => statusCode)
    console.log(`documents: ${statuses.filter((each) => each === 200).length} of ${statuses.length}`)
    expect(await healthz(url)).toBe(200)
    expect(new Set(statuses)).toEqual(new Set([200, 503]))
    for (const { statusCode, headers } of responses)
      if (statusCode === 503) expect(Number(headers['retry-after'])).toBeGreaterThan(0)
    for (const response of responses) response.destroy()
    expect(server.child.exitCode).toBeNull()
    await expectAccepted(url)
  })
})

function summary(
  name: string,
  server: ServerProcess,
  { count, ...sets }: { readonly count: number } & Readonly<Record<string, number | readonly unknown[]>>,
): string {
  const parts = Object.entries(sets).map(([key, set]) => `${key} ${(set as readonly unknown[]).length}`)
  return `${name}: ${count} requests, ${parts.join(', ')}; exit code ${server.child.exitCode}`
}

interface Outcome {
  readonly status: number
  readonly retryAfter: number
  /** `finish`, or the code of the error that ended it; undefined when nothing did. */
  readonly end: string | undefined
  readonly pieces: number
  /** Of the whole text. */
  readonly hash: string
}

/** What the model understands, in whatever API it comes. */
function promptOf(words: Words): string {
  return `words=${encodeURIComponent(JSON.stringify(words))};`
}

function wordsIn(body: string): Words {
  return JSON.parse(decodeURIComponent(/words=([^;]*);/.exec(body)![1]!)) as Words
}

/** Asks for an answer and reads it to its end. */
async function ask(url: string, words: Words): Promise<Outcome> {
  return read(await post(`${url}/chat`, { prompt: promptOf(words) }), words)
}

async function read(response: IncomingMessage, words: Words): Promise<Outcome> {
  const retryAfter = Number(response.headers['retry-after'] ?? 0)
  const hash = createHash('sha256')
  let length = 0
  let end: string | undefined
  let rest = ''
  try {
    for await (const chunk of response.setEncoding('utf8')) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (!line.startsWith('data: ')) continue
        const delta = JSON.parse(line.slice(6)) as ChatDelta
        if (delta.type === 'error') end = delta.code
        if (delta.type === 'finish') end = 'finish'
        if (delta.type !== 'text') continue
        hash.update(delta.text)
        length += delta.text.length
      }
    }
  } catch {
    end = 'broken'
  }
  return {
    status: response.statusCode ?? 0,
    retryAfter,
    end,
    pieces: length / (words.times * words.text.length),
    hash: hash.digest('hex'),
  }
}

function hashOf({ text, times, pieces }: Words): string {
  return createHash('sha256')
    .update(text.repeat(times * pieces))
    .digest('hex')
}

/** Sends a request; the response is not read until the test does. */
function post(
  url: string,
  body: unknown,
  more: Readonly<Record<string, string>> = {},
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', ...more }
    const sent = request(url, { method: 'POST', agent: false, headers }, resolve).on('error', reject)
    sent.end(JSON.stringify(body))
  })
}

function get(url: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request(url, { agent: false }, resolve).on('error', reject).end()
  })
}

async function healthz(url: string): Promise<number> {
  return (await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(10_000) })).status
}

/** New replies are taken again, soon. */
async function expectAccepted(url: string): Promise<void> {
  const accepted = async () => (await ask(url, { text: 'Hi.', times: 1, pieces: 1 })).end
  await expect.poll(accepted, { timeout: 60_000, interval: 500 }).toBe('finish')
}

/** A model that says what the prompt asks for, as fast as it is read. */
function createModel(): { readonly url: string; listen(): Promise<void>; close(): void } {
  let server: Server
  return {
    get url() {
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
    },
    async listen() {
      server = createServer((asked, response) => {
        let text = ''
        asked.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        asked.on('end', () => {
          const words = wordsIn(text)
          response.writeHead(200, { 'content-type': 'text/event-stream' })
          speak(words, asked.url === '/v1/responses' ? inResponses : completion, response)
        })
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    },
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** The events of an API: those that say a text, and the end. */
type Events = (text?: string) => string

const completion: Events = (text) => {
  const choice = text === undefined ? { delta: {}, finish_reason: 'stop' } : { delta: { content: text } }
  return `data: ${JSON.stringify({ choices: [{ index: 0, ...choice }] })}\n\n`
}

const inResponses: Events = (text) => {
  const place = { item_id: 'i', output_index: 0, content_index: 0 }
  const event =
    text === undefined
      ? { type: 'response.completed', response: { status: 'completed', output: [] } }
      : { type: 'response.output_text.delta', ...place, delta: text }
  return `data: ${JSON.stringify(event)}\n\n`
}

function speak({ text, times, pieces }: Words, events: Events, response: ServerResponse): void {
  const event = events(text.repeat(times))
  let said = 0
  function proceed(): void {
    while (said < pieces) {
      said++
      if (!response.write(event)) return void response.once('drain', proceed)
    }
    response.end(`${events()}data: [DONE]\n\n`)
  }
  proceed()
}
