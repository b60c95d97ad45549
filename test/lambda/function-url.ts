import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { payloadLimit } from './environment.ts'
import type { Job } from './environment.ts'
import { toUrlEvent } from './payload.ts'
import { createPreludeReader, integrationType, toHead } from './prelude.ts'
import type { Prelude } from './prelude.ts'
import { listen, readAll } from './sockets.ts'
import { answerPreflight, corsHeaders } from './url-cors.ts'
import type { UrlCors } from './url-cors.ts'

export interface FunctionUrlOptions {
  /** Takes a request on its way to the function. */
  submit(job: Job): void
  readonly propagateBackpressure: boolean
  readonly cors?: UrlCors | undefined
}

export interface FunctionUrl {
  readonly url: string
  close(): Promise<void>
}

/**
 * Serves a function as its URL with `InvokeMode: RESPONSE_STREAM` does, on a free local port.
 *
 * Also right for a handler that returns its answer: the URL and an HTTP API give and take the same format.
 */
export async function startFunctionUrl(options: FunctionUrlOptions): Promise<FunctionUrl> {
  // Clients keep connections for longer than Node's five seconds.
  const server = createServer({ noDelay: true, keepAliveTimeout: 0 }, (request, response) => {
    void serve(options, request, response).catch(() => response.destroy())
  })
  const { port, close } = await listen(server)
  return { url: `http://127.0.0.1:${port}`, close }
}

async function serve(
  options: FunctionUrlOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (options.cors && answerPreflight(request, response, options.cors)) return

  const body = await readAll(request, payloadLimit)
  const event = JSON.stringify(toUrlEvent(request, body))
  // The limit is on what the function receives, so base64 counts.
  if (body.length > payloadLimit || Buffer.byteLength(event) > payloadLimit) {
    const message = `Request must be smaller than ${payloadLimit} bytes for the InvokeFunction operation`
    return answerJson(response, 413, message)
  }
  options.submit({ event, ...answerTo(request, response, options) })
}

/** Carries what the function says to the client. */
function answerTo(
  request: IncomingMessage,
  response: ServerResponse,
  { cors, propagateBackpressure }: FunctionUrlOptions,
): Omit<Job, 'event'> {
  const reader = createPreludeReader()
  let withPrelude = false
  let source: IncomingMessage | undefined
  let over = false

  // The service does not tell the function that its client has left: it reads on, for nobody.
  // https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
  response.once('close', () => {
    over = true
    source?.resume()
  })

  function writeHead({ statusCode, headers, cookies }: Prelude): void {
    for (const [name, value] of Object.entries(headers)) {
      if (!ownHeaders.has(name)) response.setHeader(name, value)
    }
    if (cookies.length > 0) response.setHeader('set-cookie', cookies)
    // A function that sets these itself produces them twice, which browsers refuse.
    for (const [name, value] of cors ? corsHeaders(request, cors) : []) response.appendHeader(name, value)
    response.writeHead(statusCode)
  }

  function forward(chunk: Buffer, body: IncomingMessage): void {
    if (response.write(chunk) || !propagateBackpressure) return
    body.pause()
    response.once('drain', () => body.resume())
  }

  function broken(): void {
    if (over) return
    over = true
    if (response.headersSent) cut(response)
    else answerJson(response, 502, 'Internal Server Error')
  }

  return {
    stream(contentType, body) {
      withPrelude = contentType === integrationType
      source = body
      body.on('data', (chunk: Buffer) => {
        if (over) return
        if (response.headersSent) return forward(chunk, body)
        if (!withPrelude) {
          writeHead({ ...plain, headers: { 'content-type': contentType } })
          return forward(chunk, body)
        }
        const read = attempt(() => reader.read(chunk))
        if (read === failed) return broken()
        if (!read) return
        if (attempt(() => writeHead(read.prelude)) === failed) return broken()
        if (read.rest.length > 0) forward(read.rest, body)
        else response.flushHeaders()
      })
    },
    end() {
      if (over) return
      if (!response.headersSent) {
        // A prelude that never came: https://github.com/aws/aws-lambda-nodejs-runtime-interface-client/issues/97
        if (withPrelude && reader.started) return broken()
        writeHead(plain)
      }
      response.end()
    },
    result(json) {
      if (over) return
      const result = attempt(() => readResult(json))
      if (result === failed) return broken()
      if (attempt(() => writeHead(result.head)) === failed) return broken()
      response.end(result.body)
    },
    fail: broken,
  }
}

const plain: Prelude = {
  statusCode: 200,
  headers: { 'content-type': 'application/octet-stream' },
  cookies: [],
}

// The connection to the client is the service's own, and so are these.
const ownHeaders = new Set(['connection', 'keep-alive', 'transfer-encoding', 'content-length'])

/** https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads */
function readResult(json: string): { head: Prelude; body: Buffer } {
  const value: unknown = JSON.parse(json)
  if (typeof value !== 'object' || value === null || !('statusCode' in value)) {
    const head = { ...plain, headers: { 'content-type': 'application/json' } }
    return { head, body: Buffer.from(typeof value === 'string' ? value : json) }
  }

  const { body = '', isBase64Encoded } = value as { body?: unknown; isBase64Encoded?: unknown }
  const head = toHead(value)
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return {
    head: { ...head, headers: { 'content-type': 'application/json', ...head.headers } },
    body: Buffer.from(text, isBase64Encoded === true ? 'base64' : 'utf8'),
  }
}

function answerJson(response: ServerResponse, status: number, message: string): void {
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ Message: message }))
}

/** Ends the connection without ending the body; what has been written still leaves. */
function cut(response: ServerResponse): void {
  response.socket?.destroySoon()
}

const failed = Symbol('failed')

/** What a function wrote may be nonsense, and then it is the function that has failed, not the lab. */
function attempt<Value>(read: () => Value): Value | typeof failed {
  try {
    return read()
  } catch {
    return failed
  }
}
