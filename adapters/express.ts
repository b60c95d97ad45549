import { ChatError, toChatError } from '../src/errors.ts'
import { failure, requirePlainText } from '../src/http.ts'
import { setTimer } from '../src/timer.ts'
import type { Frames, Handler, HttpReply, HttpRequest } from '../src/types.ts'
import { type IncomingBody, readText } from './body.ts'
import { reset } from './connection.ts'
import { dropRest, isIncomplete } from './leftover.ts'
import { waitForTurn } from './turns.ts'
import { type Outcome, type Sink, writeFrames } from './write.ts'

/** What we use of Express's, or Node's own, request. */
export interface ExpressRequest extends IncomingBody {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Names and values as they were sent, in turn. */
  readonly rawHeaders?: readonly string[] | undefined
  /** Express's, which heeds the app's `trust proxy` setting. */
  readonly ip?: string | undefined
}

/** What we use of Express's, or Node's own, response. */
export interface ExpressResponse extends Sink {
  readonly headersSent: boolean
  readonly destroyed: boolean
  /** Null while an earlier response has the connection. */
  readonly socket?: unknown
  /** Bytes that the operating system has not taken yet. */
  readonly writableLength?: number | undefined
  on(event: 'close' | 'error', listener: () => void): unknown
  once(event: 'close' | 'drain' | 'finish' | 'socket', listener: () => void): unknown
  setHeader(name: string, value: string): unknown
  /** Node's: keeps what the app has set before. */
  appendHeader?(name: string, value: string): unknown
  writeHead(status: number): unknown
  flushHeaders(): void
  end(body?: string): unknown
  destroy(): unknown
}

export interface ExpressOptions {
  /** How long a request's body may take to arrive, in milliseconds. Default 15000. */
  readonly bodyTimeoutMs?: number | undefined
  /** A reader that takes nothing for so long is disconnected, in milliseconds; it can resume. Default 30000. */
  readonly stallTimeoutMs?: number | undefined
  /**
   * Determines the authenticated sender of a request: a string, undefined for an anonymous one, or a promise of either.
   * Default: all requests are anonymous. Throw a `ChatError` to refuse a request; anything else that it throws or
   * returns is `500 internal`, and is reported to the handler's `onError`.
   */
  principal?(request: ExpressRequest): string | undefined | Promise<string | undefined>
}

/**
 * Carries a handler on Express: `app.use(toExpress(handler))`, or below a path. It is a listener for
 * `http.createServer` too. With a `next`, requests that are none of ours are passed on.
 *
 * Mount it before middleware that compresses; a body parser before it does no harm.
 */
export function toExpress(handler: Handler, options: ExpressOptions = {}) {
  const { bodyTimeoutMs = 15_000, stallTimeoutMs = 30_000 } = options

  return async function deltarelay(
    request: ExpressRequest,
    response: ExpressResponse,
    next?: (error?: unknown) => void,
  ): Promise<void> {
    const { socket: connection } = request
    // Node still emits the requests that it had read before the connection closed: maybe thousands.
    if (connection?.destroyed) return
    // Pipelined: nothing is done before its turn, because until then a disconnect would not be noticed.
    if (response.socket === null && !response.destroyed && connection) {
      if (!(await waitForTurn(connection, response))) return
    }
    // On the response, and before anything else is awaited: a request's own `close` comes when its body was read.
    const gone = new AbortController()
    const onClose = (): void => gone.abort(left)
    response.on('close', onClose)
    response.on('error', onClose)
    if (response.destroyed) onClose()
    const exchange: Exchange = { request, response, signal: gone.signal, stallTimeoutMs }
    try {
      const { principal } = options
      const identify = principal && (() => principal(request))
      const reply = await handler({ ...toRequest(request, gone.signal, bodyTimeoutMs), identify })
      if (reply.unmatched && next) return next()
      await send(reply, exchange)
    } catch (error) {
      // Ours are replies already: this is the platform's, such as a header it does not accept.
      if (response.headersSent) response.destroy()
      else await send(failure(toChatError(error)), exchange)
    }
  }
}

/** A request, and what its response needs. */
interface Exchange {
  readonly request: ExpressRequest
  readonly response: ExpressResponse
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal
  readonly stallTimeoutMs: number
}

/** One for all: the platform would make an error, with a stack, for every response that closes. */
const left = new ChatError('cancelled', 'The client left.')

function toRequest(request: ExpressRequest, signal: AbortSignal, bodyTimeoutMs: number): HttpRequest {
  const headers = {
    get(name: string): string | null {
      const value = request.headers[name.toLowerCase()]
      // Node keeps the first of several: which one a proxy heeded is not known.
      if (name.toLowerCase() === 'host') return hostsIn(request) ?? value?.toString() ?? null
      return Array.isArray(value) ? value.join(', ') : (value ?? null)
    },
  }
  return {
    method: request.method ?? 'GET',
    url: request.url ?? '/',
    headers,
    address: request.ip ?? request.socket?.remoteAddress,
    text: async (maxBytes = Infinity) => {
      if (request.body === undefined) requirePlainText(headers)
      return readText(request, { maxBytes, bodyTimeoutMs })
    },
    signal,
  }
}

/** All `Host` headers of a request, joined as other headers are; undefined where the platform does not have them. */
function hostsIn({ rawHeaders = [] }: ExpressRequest): string | undefined {
  const hosts = rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === 'host')
  return hosts.length > 0 ? hosts.join(', ') : undefined
}

/** Characters of a document that is sent in one piece with its head. */
const SHORT = 64 * 1024

async function send({ status, headers, body }: HttpReply, exchange: Exchange): Promise<void> {
  const { request, response, signal } = exchange
  if (typeof body !== 'string') {
    if (!signal.aborted) writeHead(response, status, headers)
    return end(await write(body, exchange), exchange)
  }
  writeHead(response, status, {
    ...headers,
    ...(body === '' ? {} : { 'content-length': String(new TextEncoder().encode(body).length) }),
    // The rest of a body that comes too slowly is not waited for.
    ...(status === 408 ? { connection: 'close' } : {}),
  })
  if (body.length > SHORT || isIncomplete(request)) return end(await write(inOne(body), exchange), exchange)
  response.end(body)
  watchEnd(exchange)
}

function write(frames: Frames, { response, signal, stallTimeoutMs }: Exchange): Promise<Outcome> {
  return writeFrames(response, frames, { signal, stallTimeoutMs, flush: () => response.flushHeaders() })
}

async function* inOne(text: string): Frames {
  yield text
}

/** Ends a response whose body is written, or its connection where that did not succeed. */
async function end(outcome: Outcome, exchange: Exchange): Promise<void> {
  const { request, response } = exchange
  if (outcome === 'gone') return
  if (outcome === 'stalled') return disconnect(exchange)
  if (isIncomplete(request)) {
    // The response ends after that, because Node may close the connection at its end, or read the body without limit.
    response.flushHeaders()
    if (!(await dropRest(request))) return void response.destroy()
  }
  response.end()
  watchEnd(exchange)
}

/** Disconnects a client that does not take the end of its response: nothing waits for that. */
function watchEnd(exchange: Exchange): void {
  const { response, stallTimeoutMs } = exchange
  const { writableLength = 0 } = response
  // Nearly always: the operating system has taken all of it.
  if (!(writableLength > 0)) return
  const timer = setTimer(() => disconnect(exchange), stallTimeoutMs)
  const stop = (): void => clearTimeout(timer)
  response.once('finish', stop)
  response.once('close', stop)
}

function disconnect({ request, response }: Exchange): void {
  if (request.socket) reset(request.socket)
  response.destroy()
}

// One by one: what is given to `writeHead` is on the wire, but not in the `getHeaders()` of serverless-http.
function writeHead(response: ExpressResponse, status: number, headers: HttpReply['headers']): void {
  for (const [name, value] of Object.entries(headers)) {
    // An app may have a cookie of its own.
    if (name === 'set-cookie' && response.appendHeader) response.appendHeader(name, value)
    else response.setHeader(name, value)
  }
  response.writeHead(status)
}
