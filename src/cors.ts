import { ChatError } from './errors.ts'
import { empty, failure } from './http.ts'
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

  return async (request) => {
    const origin = request.headers.get('origin')
    const known = origin !== null && origins.includes(origin)
    const granted = known ? { 'access-control-allow-origin': origin, vary: 'origin' } : undefined
    if (request.method === 'OPTIONS' && granted && request.headers.get('access-control-request-method')) {
      return passable(empty(204, { ...granted, ...preflight }), request)
    }
    if (!granted && isForeign(request, origin)) {
      const who = origin === null ? 'other sites' : origin.slice(0, 200)
      const text = `Pages of ${who} may not use this service: add the origin to the allowed ones (CORS_ORIGINS).`
      const refusal = failure(new ChatError('origin-not-allowed', text))
      return passable(isHead(request) ? { ...refusal, body: '' } : refusal, request)
    }
    const reply = await handler(request)
    if (!granted) return reply
    return {
      ...reply,
      headers: { ...reply.headers, ...granted, 'access-control-expose-headers': 'x-reply-id, retry-after' },
    }
  }
}

const preflight = {
  'access-control-allow-methods': 'GET, POST, DELETE',
  'access-control-allow-headers': 'content-type, authorization, last-event-id, idempotency-key',
  'access-control-max-age': '86400',
}

/**
 * Whether a page of another origin sends this. Browsers say so (W3C Fetch Metadata) where the connection is
 * trustworthy: https, or this machine. Elsewhere the `Origin` has to do, for the one question that no preflight
 * holds back.
 */
function isForeign({ method, url, headers }: HttpRequest, origin: string | null): boolean {
  const site = headers.get('sec-fetch-site')
  if (method === 'OPTIONS' || site === 'same-origin' || site === 'none') return false
  const asks = /\/stream(?:\?|$)/.test(url)
  if (site === null) return asks && origin !== null && !isOwn(origin, headers)
  // A link to the page is fine; a link, a frame or a window that asks is not.
  return asks || headers.get('sec-fetch-mode') !== 'navigate'
}

// A proxy that sets `Host` to its own target says in another header what it was.
function isOwn(origin: string, headers: HttpRequest['headers']): boolean {
  const host = origin.replace(/^https?:\/\//, '')
  return host === headers.get('host') || host === headers.get('x-forwarded-host')
}
