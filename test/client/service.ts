import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import type { ChatDelta } from '../../src/types.ts'
import { listen, readAll } from '../lambda/sockets.ts'

/** A request of the client, and the means to answer it. */
export interface Exchange {
  readonly method: string
  readonly path: string
  readonly body: string
  readonly headers: IncomingMessage['headers']
  readonly response: ServerResponse
  /** The reply that it is about; a new one when it asks under a new key. */
  readonly id: string
  /** What the reader does not have. */
  readonly events: string
}

export type Answer = (exchange: Exchange) => unknown

/** A service over a real socket that answers as the test says. */
export interface Service {
  readonly url: string
  readonly exchanges: readonly Exchange[]
  /** What was asked, in short: `POST`, `GET after 3`, `stop`. */
  readonly story: readonly string[]
  /** How the next requests are answered, one after the other; later ones get everything. */
  answers: Answer[]
  onStop: Answer
  /** The replies that were begun, by idempotency key. */
  readonly replies: ReadonlyMap<string, string>
  /** Resolves when the n-th request is there, counted from 1. */
  asked(n: number): Promise<Exchange>
}

export const deltas: readonly ChatDelta[] = [
  { type: 'start', id: 'reply-1', model: 'm', createdAt: 0 },
  { type: 'text', text: 'Once ' },
  { type: 'text', text: 'upon 👋 ' },
  { type: 'text', text: 'a time.' },
  { type: 'usage', inputTokens: 1, outputTokens: 3 },
  { type: 'finish', reason: 'stop' },
]

export function toEvents(log: readonly object[], after = 0): string {
  const events = log.map((delta, at) => `id: ${at + 1}\ndata: ${JSON.stringify(delta)}\n\n`)
  return events.slice(after).join('')
}

/** Starts a service around the tests of the calling file; what a client leaves open fails its test. */
export function createService(): Service {
  const pending = new Set<ServerResponse>()
  const replies = new Map<string, string>()
  const exchanges: Exchange[] = []
  const watchers = new Set<() => void>()
  let url = ''
  let close: () => Promise<void>

  const server = createServer((request, response) => void take(request, response))

  async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {}) // a client may leave at any time
    pending.add(response)
    response.once('close', () => pending.delete(response))
    const { method = '', url: path = '', headers } = request
    const body = (await readAll(request)).toString()
    const key = headers['idempotency-key']?.toString()
    if (key !== undefined && !replies.has(key)) replies.set(key, `reply-${replies.size + 1}`)
    const id = key === undefined ? decodeURIComponent(path.split('/')[2] ?? '') : replies.get(key)!
    const events = toEvents(deltas, Number(headers['last-event-id'] ?? 0))
    const exchange = { method, path, body, headers, response, id, events }
    exchanges.push(exchange)
    for (const watcher of watchers) watcher()
    await (path.endsWith('/stop') ? self.onStop : (self.answers.shift() ?? everything))(exchange)
  }

  beforeAll(async () => {
    const listening = await listen(server)
    close = listening.close
    url = `http://127.0.0.1:${listening.port}/chat`
  })
  afterAll(() => close())
  beforeEach(() => {
    exchanges.length = 0
    replies.clear()
    watchers.clear()
    self.answers = []
    self.onStop = stopped
  })
  afterEach(() => expect.poll(() => pending.size, { timeout: 5000 }).toBe(0))

  const self: Service = {
    get url() {
      return url
    },
    exchanges,
    get story() {
      return exchanges.map(({ method, path, headers }) => {
        if (path.endsWith('/stop')) return 'stop'
        return method === 'GET' ? `GET after ${String(headers['last-event-id'] ?? 0)}` : method
      })
    },
    answers: [],
    onStop: stopped,
    replies,
    asked: (n) =>
      new Promise((resolve) => {
        const check = (): void => {
          const exchange = exchanges[n - 1]
          if (exchange) resolve(exchange)
        }
        watchers.add(check)
        check()
      }),
  }
  return self
}

export function open({ response, id }: Exchange, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'x-reply-id': id, ...headers })
  response.flushHeaders()
}

export const everything: Answer = (exchange) => {
  open(exchange)
  exchange.response.end(exchange.events)
}

/** Sends so many bytes of what is missing, or so many events with `all`, and breaks the connection. */
export const cutAfter =
  (bytes: number): Answer =>
  async (exchange) => {
    open(exchange)
    const { response, events } = exchange
    const sent = Buffer.from(events).subarray(0, bytes)
    if (sent.length > 0) response.write(sent)
    await turn()
    response.socket?.destroySoon()
  }

/** Sends so many of the events that are missing, and then ends properly. */
export const endAfter =
  (count: number): Answer =>
  (exchange) => {
    open(exchange)
    exchange.response.end(
      exchange.events
        .split(/(?<=\n\n)/)
        .slice(0, count)
        .join(''),
    )
  }

/** Sends so many of the events that are missing, and then nothing more. */
export const stallAfter =
  (count: number): Answer =>
  (exchange) => {
    open(exchange)
    const sent = exchange.events
      .split(/(?<=\n\n)/)
      .slice(0, count)
      .join('')
    if (sent) exchange.response.write(sent)
  }

/** Sends this, whatever was asked, and ends. */
export const send =
  (text: string, headers: Readonly<Record<string, string>> = {}): Answer =>
  (exchange) => {
    open(exchange, headers)
    exchange.response.end(text)
  }

export const refuse =
  (status: number, body: string, headers: Readonly<Record<string, string>> = {}): Answer =>
  ({ response }) =>
    response.writeHead(status, headers).end(body)

/** A refusal of the service's own. */
export const decline = (
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): Answer => refuse(status, JSON.stringify({ error: { code, message: `It is ${code}.` } }), headers)

/** Breaks the connection before there is an answer. */
export const hangUp: Answer = ({ response }) => response.socket?.destroy()

const stopped: Answer = ({ id, response }) => response.end(JSON.stringify({ id, status: 'stopped' }))
