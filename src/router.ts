import { ChatError } from './errors.ts'
import { empty, failure, urlOf } from './http.ts'
import type { HttpReply, HttpRequest } from './types.ts'

/** What a route gets: the request, its address, and what the path's group holds, `''` without one. */
export interface Call {
  readonly request: HttpRequest
  readonly url: URL
  readonly id: string
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: RegExp
  readonly answer: (call: Call) => HttpReply | Promise<HttpReply>
  /** Answers HEAD where GET would start or read something. Default: as GET, without its body. */
  readonly head?: (call: Call) => HttpReply | Promise<HttpReply>
}

/** Answers with the route that fits: 405 where only the method does not, 404 and `unmatched` where nothing does. */
export async function dispatch(routes: readonly Route[], request: HttpRequest): Promise<HttpReply> {
  const url = urlOf(request)
  const matching = routes.filter(({ path }) => path.test(url.pathname))
  const reply = await choose(matching, { request, url })
  return isHead(request) ? { ...reply, body: '' } : reply
}

function choose(
  matching: readonly Route[],
  { request, url }: Omit<Call, 'id'>,
): HttpReply | Promise<HttpReply> {
  const path = url.pathname.slice(0, 100)
  if (matching.length === 0) {
    const text = `There is nothing at ${path}. See POST /chat, GET /stream?prompt=… and GET /healthz.`
    return { ...failure(new ChatError('not-found', text)), unmatched: true }
  }
  const allow = methodsOf(matching)
  const method = isHead(request) ? 'GET' : request.method.toUpperCase()
  if (method === 'OPTIONS') return empty(204, { allow })
  const route = matching.find((candidate) => candidate.method === method)
  if (!route) {
    const text = `${request.method.slice(0, 20)} is not possible at ${path}; use ${allow}.`
    return failure(new ChatError('method-not-allowed', text), { allow })
  }
  const call = { request, url, id: route.path.exec(url.pathname)?.[1] ?? '' }
  return isHead(request) && route.head ? route.head(call) : route.answer(call)
}

function methodsOf(routes: readonly Route[]): string {
  const methods: readonly string[] = routes.map(({ method }) => method)
  return [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ')
}

/** Whether only the head of an answer is asked for. */
export function isHead({ method }: HttpRequest): boolean {
  return method.toUpperCase() === 'HEAD'
}
