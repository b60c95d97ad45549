import { ChatError } from './errors.ts'
import { empty, failure, isOwnOrigin } from './http.ts'
import { isHead } from './router.ts'
import type { Handler, HttpReply, HttpRequest } from './types.ts'

export interface CorsOptions {
  /** Exact origins of other sites that may use this service, such as `https://chat.example`. Default: none. */
  readonly origins?: readonly string[] | undefined
}

/**
 * Lets pages of the named origins use the handler, and no others: a page elsewhere could otherwise spend tokens
 * in its visitors' browsers, even where it cannot read the answer. Programs, which send no origin, are not affected.
 */
export function withCors(handler: Handler, { origins = [] }: CorsOptions = {}): Handler {
  // In somebody's own app: what is none of our routes is theirs to answer. OPTIONS asks that and starts nothing.
  async function passable(reply: HttpReply, { url, headers, signal }: HttpRequest): Promise<HttpReply> {
    const probe = await handler({ method: 'OPTIONS', url, headers, signal, text: () => Promise.resolve('') })
    return probe.unmatched ? { ...reply, unmatched: true } : reply
  }

  // A cache must not give one origin's answer to another.
  const vary = origins.length > 0 ? { vary: 'origin' } : undefined

  return async (request) => {
    const origin = request.headers.get('origin')
    const known = origin !== null && origins.includes(origin)
    const granted = known ? { 'access-control-allow-origin': origin, ...vary } : undefined
    if (request.method === 'OPTIONS' && granted && request.headers.get('access-control-request-method')) {
      return passable(empty(204, { ...granted, ...preflight, ...allowedHeaders(request) }), request)
    }
    if (!granted && isForeign(request, origin)) {
      const who = origin === null ? 'other sites' : origin.slice(0, 200)
      const text = `Pages of ${who} may not use this service: add the origin to the allowed ones (CORS_ORIGINS).`
      const refusal = failure(new ChatError('origin-not-allowed', text), vary)
      return passable(isHead(request) ? { ...refusal, body: '' } : refusal, request)
    }
    const reply = await handler(granted ? asOwn(request) : request)
    if (!granted) return vary ? { ...reply, headers: { ...reply.headers, ...vary } } : reply
    return {
      ...reply,
      headers: { ...reply.headers, ...granted, 'access-control-expose-headers': exposed },
    }
  }
}

/** The same request without what says that another site sends it: a page that is allowed may do what our own may. */
function asOwn(request: HttpRequest): HttpRequest {
  const { method, url, headers, signal, principal, identify, address, remainingMs } = request
  const hidden = ['origin', 'sec-fetch-site']
  return {
    method,
    url,
    headers: { get: (name) => (hidden.includes(name.toLowerCase()) ? null : headers.get(name)) },
    text: (maxBytes) => request.text(maxBytes),
    signal,
    principal,
    identify,
    address,
    remainingMs,
  }
}

/** What a page of another origin may read of an answer's head. */
const exposed =
  'x-reply-id, x-reply-resumable, x-reply-state, x-reply-length, x-upstream, retry-after, x-error-code, x-should-retry, x-workflow-run-id, x-workflow-stream-tail-index'

const preflight = {
  'access-control-allow-methods': 'GET, POST, DELETE',
  'access-control-max-age': '86400',
}

// A page that may ask may say what it likes with it: official clients send headers of their own, and none means anything here.
function allowedHeaders({ headers }: HttpRequest): Readonly<Record<string, string>> {
  const names = headers.get('access-control-request-headers') ?? ''
  const known =
    'content-type, authorization, last-event-id, idempotency-key, x-on-disconnect, x-client-secret'
  const asked = /^[\w, -]{1,2000}$/.test(names) ? `, ${names}` : ''
  return { 'access-control-allow-headers': known + asked }
}

/**
 * Whether a page of another origin sends this. Browsers say so (W3C Fetch Metadata) where the connection is
 * trustworthy: https, or this machine. Elsewhere the `Origin` has to do, for what no preflight holds back: a
 * question in the address, and a stop.
 */
function isForeign({ method, url, headers }: HttpRequest, origin: string | null): boolean {
  const site = headers.get('sec-fetch-site')
  if (method === 'OPTIONS' || site === 'same-origin' || site === 'none') return false
  const acts = /\/(?:stream|stop)(?:\?|$)/.test(url)
  if (site === null) return acts && origin !== null && !isOwnOrigin(origin, headers)
  // A link to the page is fine; a link, a form, a frame or a window that asks or stops is not.
  return acts || headers.get('sec-fetch-mode') !== 'navigate'
}
