import { ChatError } from './errors.ts'
import { empty, failure, urlOf } from './http.ts'
import { isOwnPage, takesEvents } from './origin.ts'
import type { Handler, HttpRequest } from './types.ts'
import { refuseOwn } from './unmatched.ts'

export interface CorsOptions {
  /** Exact origins of other sites that may use this service, such as `https://chat.example`. Default: none. */
  readonly origins?: readonly string[] | undefined
}

/**
 * Lets pages of the named origins use the handler, and no others: a page elsewhere could otherwise spend tokens
 * in its visitors' browsers, even where it cannot read the answer. Programs, which send no origin, are not affected.
 */
export function withCors(handler: Handler, { origins = [] }: CorsOptions = {}): Handler {
  // A cache must not give one origin's answer to another.
  const vary = origins.length > 0 ? { vary: 'origin' } : undefined

  return async (request) => {
    const origin = request.headers.get('origin')
    const known = origin !== null && origins.includes(origin)
    const granted = known ? { 'access-control-allow-origin': origin, ...vary } : undefined
    if (request.method === 'OPTIONS' && granted && request.headers.get('access-control-request-method')) {
      return refuseOwn(handler, request, empty(204, { ...granted, ...preflight, ...allowedHeaders(request) }))
    }
    if (!granted && isForeign(request)) {
      const refusal = failure(new ChatError('origin-not-allowed', whyRefused(request)), vary)
      return refuseOwn(handler, request, refusal)
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
 * Whether a page of another origin sends this: browsers state it where the connection is trustworthy (`isOwnPage`).
 * Elsewhere a request that acts without a preflight needs proof: to start a reply, to read one, or to stop one.
 */
function isForeign(request: HttpRequest): boolean {
  const { method, headers } = request
  if (method === 'OPTIONS') return false
  const path = pathOf(request)
  const acts = /\/(?:stream|stop)$/.test(path)
  if (headers.get('sec-fetch-site') === null) return acts && !(isOwnPage(request) && mayRead(request, path))
  // A link to the page is fine; a link, a form, a frame or a window that starts or stops a reply is not.
  return !isOwnPage(request) && (acts || headers.get('sec-fetch-mode') !== 'navigate')
}

// The AI SDK does not name what it accepts when it resumes a reply: GET /api/chat/{id}/stream.
function mayRead(request: HttpRequest, path: string): boolean {
  return /\/stop$|\/api\/chat\/[^/]+\/stream$/.test(path) || takesEvents(request)
}

/** The path that a request is routed by. An address that is no URL has none, and is refused by the router. */
function pathOf(request: HttpRequest): string {
  try {
    return urlOf(request).pathname
  } catch {
    return ''
  }
}

function whyRefused({ headers }: HttpRequest): string {
  const origin = headers.get('origin')
  if (origin === null && headers.get('sec-fetch-site') === null) {
    return (
      'This request may come from a page of another site: on plain http browsers do not say. Use https, POST /chat with ' +
      'Content-Type: application/json, or EventSource in a page of this service whose Referrer-Policy is not `no-referrer`.'
    )
  }
  const who = origin === null ? 'other sites' : origin.slice(0, 200)
  return `Pages of ${who} may not use this service: add the origin to the allowed ones (CORS_ORIGINS).`
}
