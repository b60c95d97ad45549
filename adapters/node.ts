import {
  Agent as HttpAgent,
  type AgentOptions,
  type ClientRequest,
  type IncomingMessage,
  request as askHttp,
} from 'node:http'
import { Agent as HttpsAgent, request as askHttps } from 'node:https'
import { toNodeBody } from './node-body.ts'

type Fetch = typeof globalThis.fetch

export interface NodeFetchOptions {
  /** Whether the proxies of the environment are used. Default true. */
  readonly proxies?: boolean | undefined
}

/**
 * A stream holds its connection for its whole life: a limit of their number would let the next ones wait, and say
 * nothing. One that is idle for longer may be closed by the server just as it is used again.
 */
const agentOptions: AgentOptions = { keepAlive: true, maxSockets: Infinity, timeout: 4000 }

/**
 * A `fetch` over `node:http` for `createOpenAI`, which costs less than the platform's for each piece of a stream.
 *
 * It sends text and gives what `createOpenAI` reads: `ok`, `status`, `headers`, `text()`, `json()` and a `body` with
 * `getReader()`. Redirects are not followed: one is a `TypeError`, as are all failures of the connection, with the
 * reason as its `cause`. The signal ends request and body, and rejects with its own reason. It never asks twice.
 *
 * Connections are kept, for 4 s without use, and as many as there are requests at a time. `HTTPS_PROXY`, `HTTP_PROXY`
 * and `NO_PROXY`, in either case, are honoured; so is `NODE_EXTRA_CA_CERTS`.
 */
export function createNodeFetch({ proxies: mayUseProxies = true }: NodeFetchOptions = {}): Fetch {
  const direct = { 'http:': new HttpAgent(agentOptions), 'https:': new HttpsAgent(agentOptions) }
  const usesProxies = mayUseProxies && Object.keys(process.env).some((name) => /^https?_proxy$/i.test(name))
  let proxies: Promise<(target: URL) => HttpAgent | undefined> | undefined

  async function agentFor(url: URL): Promise<HttpAgent> {
    const { protocol } = url
    if (protocol !== 'http:' && protocol !== 'https:') throw new TypeError(`unknown scheme ${protocol}`)
    if (!usesProxies) return direct[protocol]
    // A piece of its own, because few need it.
    proxies ??= import('./proxy.ts').then(({ createProxies }) => createProxies(agentOptions))
    try {
      return (await proxies)(url) ?? direct[protocol]
    } catch (error) {
      // Without a free file descriptor it cannot be loaded. The next request tries again.
      proxies = undefined
      throw error
    }
  }

  return async function nodeFetch(input, init = {}) {
    const { signal } = init
    signal?.throwIfAborted()
    try {
      const url = new URL(input instanceof Request ? input.url : input)
      const agent = await agentFor(url)
      signal?.throwIfAborted()
      return toResponse(await ask(url, init, agent), url, signal)
    } catch (cause) {
      if (signal?.aborted) throw signal.reason
      throw new TypeError('fetch failed', { cause })
    }
  }
}

/** Sends a request. Resolves with the head of its answer; from there on the signal ends the body. */
function ask(url: URL, init: RequestInit, agent: HttpAgent): Promise<IncomingMessage> {
  const send = url.protocol === 'https:' ? askHttps : askHttp
  const { method = 'GET', signal } = init
  // The agent's time is for idle connections; who asks has clocks of its own.
  const request = send(url, { method, headers: headersOf(init), agent, timeout: 0 })
  request.end(init.body)
  return answerOf(request, signal)
}

// By itself, because what its closures see is kept as long as the answer streams: not the question.
function answerOf(request: ClientRequest, signal?: AbortSignal | null): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    // At once, because a request that has no connection yet, through a proxy that says nothing, has no error either.
    function abort(): void {
      request.destroy(new Error('aborted'))
      reject(signal?.reason)
    }
    const lift = (): void => signal?.removeEventListener('abort', abort)
    signal?.addEventListener('abort', abort, { once: true })
    request.on('response', (message) => {
      message.on('end', lift).on('close', lift)
      if (!isRedirect(message)) return resolve(message)
      message.destroy()
      reject(new Error('unexpected redirect'))
    })
    request.on('error', (error) => {
      lift()
      reject(error)
    })
  })
}

function headersOf({ headers }: RequestInit): Record<string, string> {
  return Object.fromEntries(new Headers(headers))
}

function isRedirect({ statusCode = 0 }: IncomingMessage): boolean {
  return [301, 302, 303, 307, 308].includes(statusCode)
}

/** What is read of a `Response`. One of the platform's own would ask for a web stream. */
function toResponse(message: IncomingMessage, url: URL, signal?: AbortSignal | null): Response {
  const { statusCode: status = 0, statusMessage: statusText = '' } = message
  const body = toNodeBody(message, signal) // throws where that is not possible
  async function text(): Promise<string> {
    const reader = body.getReader()
    const decoder = new TextDecoder()
    let all = ''
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return all + decoder.decode()
      all += decoder.decode(value, { stream: true })
    }
  }
  const response = {
    ok: status >= 200 && status < 300,
    status,
    statusText,
    headers: toHeaders(message),
    url: url.href,
    redirected: false,
    type: 'basic',
    body: status === 204 || status === 304 ? null : body,
    text,
    json: async (): Promise<unknown> => JSON.parse(await text()),
  }
  return response as unknown as Response // as far as the docstring above goes
}

function toHeaders({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers()
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.append(rawHeaders[at]!, rawHeaders[at + 1]!)
  return headers
}
