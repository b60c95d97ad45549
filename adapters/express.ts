import { ChatError, toChatError } from '../src/errors.ts'
import { failure, requirePlainText } from '../src/http.ts'
import type { Handler, HttpReply, HttpRequest } from '../src/types.ts'
import { type IncomingBody, readText } from './body.ts'
import { type Sink, writeFrames } from './write.ts'

/** What we use of Express's, or Node's own, request. */
export interface ExpressRequest extends IncomingBody {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Names and values as they were sent, in turn. */
  readonly rawHeaders?: readonly string[] | undefined
  /** Express's, which heeds the app's `trust proxy` setting. */
  readonly ip?: string | undefined
  readonly socket?: { readonly remoteAddress?: string | undefined } | null | undefined
}

/** What we use of Express's, or Node's own, response. */
export interface ExpressResponse extends Sink {
  readonly headersSent: boolean
  readonly destroyed: boolean
  /** Null while an earlier response has the connection. */
  readonly socket?: unknown
  on(event: 'close' | 'error' | 'socket', listener: () => void): unknown
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
  /** A reader that takes nothing for so long is disconnected; it can resume. Default 30000. */
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
    // On the response, and before anything is awaited: a request's own `close` comes when its body was read.
    const gone = new AbortController()
    const onClose = (): void => gone.abort(left)
    response.on('close', onClose)
    response.on('error', onClose)
    if (response.destroyed) onClose()
    // Pipelined: nothing is asked before its turn, because until then nobody would be seen leaving.
    else if (response.socket === null) {
      await new Promise<void>((resolve) => {
        response.on('socket', resolve)
        response.on('close', resolve)
      })
    }
    try {
      const { principal } = options
      const identify = principal && (() => principal(request))
      const reply = await handler({ ...toRequest(request, gone.signal, bodyTimeoutMs), identify })
      if (reply.unmatched && next) return next()
      const outcome = await send(reply, response, { signal: gone.signal, stallTimeoutMs })
      if (outcome === 'stalled') response.destroy()
      else if (outcome === 'ended') response.end()
    } catch (error) {
      // Ours are replies already: this is the platform's, such as a header it does not accept.
      if (response.headersSent) response.destroy()
      else await send(failure(toChatError(error)), response, { signal: gone.signal, stallTimeoutMs })
    }
  }
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

async function send(
  { status, headers, body }: HttpReply,
  response: ExpressResponse,
  options: { readonly signal: AbortSignal; readonly stallTimeoutMs: number },
): Promise<'sent' | 'ended' | 'gone' | 'stalled'> {
  if (typeof body === 'string') {
    writeHead(response, status, {
      ...headers,
      ...(body === '' ? {} : { 'content-length': String(new TextEncoder().encode(body).length) }),
      // What such a client would still send is not waited for.
      ...(status === 408 ? { connection: 'close' } : {}),
    })
    response.end(body)
    return 'sent'
  }
  if (!options.signal.aborted) writeHead(response, status, headers)
  return writeFrames(response, body, { ...options, flush: () => response.flushHeaders() })
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
