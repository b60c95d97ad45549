import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { createParser } from 'eventsource-parser'
import type { ChatDelta } from '../../src/types.ts'

export interface Asking {
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

/** What a client got, without what the connection adds. */
export interface Exchange {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Whether the body ended properly. */
  readonly complete: boolean
}

// Of the connection, or of the server in front; the bodies are compared themselves.
const ofTheConnection = ['connection', 'keep-alive', 'date', 'transfer-encoding', 'content-length']

/** Sends exactly this on a connection of its own and resolves with the head. */
export async function open(
  url: string,
  { method = 'GET', path, headers, body }: Asking,
): Promise<IncomingMessage> {
  const request = httpRequest(url + path, { method, agent: false, headers: { ...headers } })
  request.end(body)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  return response
}

/** Asks and reads as far as it goes. Heartbeats, which depend on time, are left out. */
export async function ask(url: string, asking: Asking): Promise<Exchange> {
  const response = await open(url, asking)
  const chunks: Buffer[] = []
  let complete = true
  try {
    for await (const piece of response) chunks.push(piece as Buffer) // no encoding is set
  } catch {
    complete = false
  }
  const entries = Object.entries(response.headers).filter(([name]) => !ofTheConnection.includes(name))
  return {
    status: response.statusCode ?? 0,
    headers: Object.fromEntries(entries.map(([name, value]) => [name, String(value)]).sort()),
    body: Buffer.concat(chunks).toString().replaceAll(': \n\n', ''),
    complete,
  }
}

const json = { 'content-type': 'application/json' }

/** A request for a chat answer. */
export function post(body: unknown, headers: Readonly<Record<string, string>> = {}): Asking {
  return { method: 'POST', path: '/chat', headers: { ...json, ...headers }, body: JSON.stringify(body) }
}

/** The deltas of a stream; throws when an event is none. */
export function deltas(body: string): readonly ChatDelta[] {
  const all: ChatDelta[] = []
  const parser = createParser({ onEvent: ({ data }) => all.push(JSON.parse(data) as ChatDelta) })
  parser.feed(body)
  return all
}

/** Yields the body as it arrives. */
export async function* pieces(response: IncomingMessage): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  for await (const piece of response) yield decoder.decode(piece as Buffer, { stream: true })
}
