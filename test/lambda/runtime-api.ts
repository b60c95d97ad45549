import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { listen, readAll } from './sockets.ts'

/** Why an invocation, or the start of a runtime, came to nothing. */
export interface Failure {
  readonly errorType: string
  readonly errorMessage: string
  readonly trace?: readonly string[]
}

/** What a runtime process says, in the order in which it says it. */
export interface RuntimeCalls {
  /** The runtime is free; `give` hands it an invocation, now or later. */
  next(give: (headers: Readonly<Record<string, string>>, event: string) => void): void
  /** The answer to `id` begins. The body ends with the failure that the runtime put into the trailers, if any. */
  stream(id: string, contentType: string, body: IncomingMessage): void
  /** The handler of `id` returned a value. */
  result(id: string, json: string): void
  /** The handler of `id` threw. */
  error(id: string, failure: Failure): void
  /** The function could not be loaded. */
  initError(failure: Failure): void
}

/** The local end of the Lambda Runtime API, for one runtime process at a time. */
export interface RuntimeApi {
  /** For `AWS_LAMBDA_RUNTIME_API`. */
  readonly address: string
  /** Resolves once every connection of the runtime has ended, and so everything it sent has been seen. */
  released(): Promise<void>
  close(): Promise<void>
}

const base = '/2018-06-01/runtime'
const typeField = 'lambda-runtime-function-error-type'
const bodyField = 'lambda-runtime-function-error-body'

/**
 * Serves the Runtime API on a free local port.
 *
 * https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html; the streaming part is described in
 * https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
 */
export async function startRuntimeApi(calls: RuntimeCalls): Promise<RuntimeApi> {
  // A runtime waits for its next invocation, and a handler for its model, as long as it takes.
  const patient = { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 }
  const sockets = new Set<Socket>()

  const server = createServer({ noDelay: true, ...patient }, (request, response) => {
    // Without a listener a runtime that dies while it sends would take this process with it; 'close' tells the same.
    request.on('error', () => {})
    void route(calls, request, response).catch(() => response.destroy())
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })

  const { port, close } = await listen(server)
  return {
    address: `127.0.0.1:${port}`,
    async released() {
      await Promise.all([...sockets].map((socket) => new Promise((closed) => socket.once('close', closed))))
    },
    close,
  }
}

async function route(calls: RuntimeCalls, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url ?? ''
  if (request.method === 'GET' && path === `${base}/invocation/next`) {
    calls.next((headers, event) => {
      response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(event)
    })
    return
  }

  const [, id = '', kind] = /^\/2018-06-01\/runtime\/invocation\/([^/]+)\/(response|error)$/.exec(path) ?? []
  if (kind === 'response' && request.headers['lambda-runtime-function-response-mode'] === 'streaming') {
    // The listener of `calls` comes first, so that the answer is complete before the runtime hears of it.
    calls.stream(id, request.headers['content-type'] ?? 'application/octet-stream', request)
    request.once('end', () => accept(response))
    return
  }

  const body = (await readAll(request)).toString()
  if (kind === 'response') calls.result(id, body)
  else if (kind === 'error') calls.error(id, toFailure(request.headers[typeField], body))
  else if (path === `${base}/init/error`) calls.initError(toFailure(request.headers[typeField], body))
  else return void response.writeHead(404).end()
  accept(response)
}

function accept(response: ServerResponse): void {
  response.writeHead(202, { 'content-type': 'application/json' }).end('{"status":"OK"}')
}

/** Reads the failure out of a finished body's trailers. */
export function trailerFailure({ trailers }: IncomingMessage): Failure | undefined {
  const type = trailers[typeField]
  if (type === undefined) return undefined
  return toFailure(type, Buffer.from(trailers[bodyField] ?? '', 'base64').toString())
}

function toFailure(type: string | string[] | undefined, json: string): Failure {
  try {
    const { errorType = String(type), errorMessage = '', trace } = JSON.parse(json)
    return { errorType, errorMessage, ...(trace && { trace }) }
  } catch {
    return { errorType: String(type), errorMessage: json }
  }
}
