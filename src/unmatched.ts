import { isHead } from './router.ts'
import type { Handler, HttpReply, HttpRequest } from './types.ts'

/**
 * Gives a refusal for a request to one of the handler's own routes. At other addresses the reply is `unmatched`: in a
 * user's own app the request is passed on, because it is not this handler's to refuse.
 */
export async function refuseOwn(
  handler: Handler,
  request: HttpRequest,
  refusal: HttpReply,
): Promise<HttpReply> {
  const { url, headers, signal } = request
  // OPTIONS tells whether there is a route, and starts nothing.
  const probe = await handler({ method: 'OPTIONS', url, headers, signal, text: () => Promise.resolve('') })
  const reply = isHead(request) ? { ...refusal, body: '' } : refusal
  return probe.unmatched ? { ...reply, unmatched: true } : reply
}
