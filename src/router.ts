import { kindOf } from './checks.ts'
import { ChatError, toChatError } from './errors.ts'
import { empty, failure, urlOf } from './http.ts'
import type { HttpReply, HttpRequest } from './types.ts'

/** What a route gets: the request, its address, and what the path's group holds, `''` without one. */
export interface Call {
  readonly request: HttpRequest
  readonly url: URL
  readonly id: string
}

export type Route = Endpoint | Territory

/** An address with an answer. */
export interface Endpoint {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: RegExp
  readonly answer: (call: Call) => HttpReply | Promise<HttpReply>
  /** Answers HEAD where GET would start or read something. Default: as GET, without its body. */
  readonly head?: (call: Call) => HttpReply | Promise<HttpReply>
  /** Tells of a failure in the words of the route's clients. */
  readonly refuse?: Refuse
  /** Answers without knowing who sends the request: health checks. */
  readonly open?: true
}

/** Addresses without an answer whose askers want to be told so in their words. Last in a list of routes. */
export interface Territory {
  readonly path: RegExp
  readonly refuse: Refuse
}

export type Refuse = (error: ChatError, headers?: Readonly<Record<string, string>>) => HttpReply

/** Told of every failure before it becomes a refusal. */
type Heed = (error: ChatError) => void

/**
 * Answers with the route that fits: 405 where only the method does not, 404 and `unmatched` where nothing does.
 * Never rejects: what a route throws is told in the route's words.
 */
export async function dispatch(
  routes: readonly Route[],
  request: HttpRequest,
  onFailure: Heed = () => {},
): Promise<HttpReply> {
  let refuse: Refuse = failure
  let reply: HttpReply
  try {
    const url = urlOf(request)
    const matching = routes.filter(({ path }) => path.test(url.pathname))
    refuse = matching[0]?.refuse ?? failure
    reply = await choose(matching, refuse, { request, url })
  } catch (error) {
    const known = toChatError(error)
    onFailure(known)
    reply = refuse(known)
  }
  return isHead(request) ? { ...reply, body: '' } : reply
}

async function choose(
  matching: readonly Route[],
  refuse: Refuse,
  { request, url }: Omit<Call, 'id'>,
): Promise<HttpReply> {
  const path = url.pathname.slice(0, 100)
  const endpoints = matching.filter((route) => 'answer' in route)
  if (endpoints.length === 0) {
    const text = `There is nothing at ${path}. See POST /chat, POST /v1/chat/completions, POST /api/chat, GET /stream?prompt=… and GET /healthz.`
    return { ...refuse(new ChatError('not-found', text)), unmatched: true }
  }
  const allow = methodsOf(endpoints)
  const method = isHead(request) ? 'GET' : request.method.toUpperCase()
  if (method === 'OPTIONS') return empty(204, { allow })
  const route = endpoints.find((candidate) => candidate.method === method)
  if (!route) {
    const text = `${request.method.slice(0, 20)} is not possible at ${path}; use ${allow}.`
    return refuse(new ChatError('method-not-allowed', text), { allow })
  }
  const id = decoded(route.path.exec(url.pathname)?.[1] ?? '')
  const call = { request: route.open ? request : await identified(request), url, id }
  return isHead(request) && route.head ? route.head(call) : route.answer(call)
}

/** @throws `ChatError` `internal` for a principal that is no string: it would own nothing, or everything. */
async function identified(request: HttpRequest): Promise<HttpRequest> {
  const { identify } = request
  const principal: unknown = identify ? await identify() : request.principal
  if (principal !== undefined && typeof principal !== 'string') {
    const text = `The principal of a request must be a string; got ${kindOf(principal)}.`
    throw toChatError(new TypeError(text))
  }
  return identify ? { ...request, principal, identify: undefined } : request
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new ChatError('invalid-request', "The request's address is not a URL.", { cause })
  }
}

function methodsOf(routes: readonly Endpoint[]): string {
  const methods: readonly string[] = routes.map(({ method }) => method)
  return [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ')
}

/** Whether only the head of an answer is asked for. */
export function isHead({ method }: HttpRequest): boolean {
  return method.toUpperCase() === 'HEAD'
}
