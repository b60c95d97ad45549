import { createHash } from 'node:crypto'
import { createServer, request, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ChatDelta } from '../../src/types.ts'
import { createLaunch } from '../server/launch.ts'
import type { ServerProcess } from '../server/process.ts'
import { size } from './size.ts'

/** What the model says: pieces of one repeated sentence, so that each prefix can be checked. */
interface Words {
  readonly piece: string
  readonly pieces: number
}

const ascii = 'The answer goes on and on, as long as it is allowed to. '.repeat(18)
const wide = '漢字假名交じり文'.repeat(12)

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
  test('running answers that grow beyond it end with an error, and the process goes on', async () => {
    const server = launch(size(48, 128), { RETENTION_MS: '5000' })
    const url = await server.ready
    const words = { piece: ascii, pieces: Math.ceil(7_000_000 / ascii.length) }
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
  })

  test('finished answers are kept within it, recent ones rather than new ones, and the process goes on', async () => {
    const server = launch(size(48, 128), { RETENTION_MS: '5000' })
    const url = await server.ready
    const words = { piece: wide, pieces: Math.ceil(60_000 / wide.length) }
    const count = size(400, 900)

    const outcomes: Outcome[] = []
    while (outcomes.length < count) {
      const batch = Array.from({ length: Math.min(20, count - outcomes.length) }, () => ask(url, words))
      outcomes.push(...(await Promise.all(batch)))
    }

    const complete = outcomes.filter(({ end }) => end === 'finish')
    const refused = outcomes.filter(({ status }) => status === 503)
    console.log(summary('finished', server, { count, complete, refused }))
    expect(await healthz(url)).toBe(200)
    expect(server.child.exitCode).toBeNull()
    expect(complete.length + refused.length).toBe(count)
    expect(refused.length).toBeGreaterThan(0)
    for (const { hash } of complete) expect(hash).toBe(hashOf(words))
    for (const { retryAfter } of refused) expect(retryAfter).toBeGreaterThan(0)
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

/** Asks for an answer and reads it to its end. */
async function ask(url: string, words: Words): Promise<Outcome> {
  const response = await post(`${url}/chat`, { prompt: JSON.stringify(words) })
  const retryAfter = Number(response.headers['retry-after'] ?? 0)
  const hash = createHash('sha256')
  let pieces = 0
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
        pieces += delta.text.length / words.piece.length
      }
    }
  } catch {
    end = 'broken'
  }
  return { status: response.statusCode ?? 0, retryAfter, end, pieces, hash: hash.digest('hex') }
}

function hashOf({ piece, pieces }: Words): string {
  return createHash('sha256').update(piece.repeat(pieces)).digest('hex')
}

function post(url: string, body: unknown): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' }
    const sent = request(url, { method: 'POST', agent: false, headers }, resolve).on('error', reject)
    sent.end(JSON.stringify(body))
  })
}

async function healthz(url: string): Promise<number> {
  return (await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(10_000) })).status
}

/** New replies are taken again, soon. */
async function expectAccepted(url: string): Promise<void> {
  const accepted = async () => (await ask(url, { piece: 'Hi.', pieces: 1 })).end
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
          const { messages } = JSON.parse(text) as { messages: { content: string }[] }
          const words = JSON.parse(messages.at(-1)!.content) as Words
          response.writeHead(200, { 'content-type': 'text/event-stream' })
          speak(
            words,
            (chunk) => response.write(chunk),
            (next) => response.once('drain', next),
            () => response.end(),
          )
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

function speak(
  { piece, pieces }: Words,
  write: (chunk: string) => boolean,
  onDrain: (next: () => void) => void,
  end: () => void,
): void {
  const event = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: piece } }] })}\n\n`
  const finish = `data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\n`
  let said = 0
  function proceed(): void {
    while (said < pieces) {
      said++
      if (!write(event)) return onDrain(proceed)
    }
    write(`${finish}data: [DONE]\n\n`)
    end()
  }
  proceed()
}
