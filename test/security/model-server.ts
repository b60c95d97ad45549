import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'

/** A request that reached a model's server. */
export interface Received {
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export interface ModelServer {
  /** What a client calls its base URL. */
  readonly url: string
  readonly received: readonly Received[]
}

/** Starts a model's server for one test. Each request is answered by `answer`. */
export async function startModelServer(
  answer: (response: ServerResponse, request: Received) => void,
): Promise<ModelServer> {
  const received: Received[] = []
  const server = createServer((request, response) => {
    let body = ''
    response.on('error', () => {}) // its reader may leave at any time
    request.setEncoding('utf8').on('data', (piece: string) => (body += piece))
    request.on('end', () => {
      received.push({ headers: request.headers, body })
      answer(response, { headers: request.headers, body })
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  })
  const { port } = server.address() as AddressInfo // it listens on TCP
  return { url: `http://127.0.0.1:${port}/v1`, received }
}

const chunk = (delta: object, finish: string | null = null): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`

/** A whole answer of the Chat Completions API. */
export function answerWith(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.end(`${chunk({ content: text })}${chunk({}, 'stop')}data: [DONE]\n\n`)
}

/** A refusal with a JSON body. */
export function refuseWith(
  response: ServerResponse,
  status: number,
  error: object = { message: 'No.' },
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(JSON.stringify({ error }))
}
