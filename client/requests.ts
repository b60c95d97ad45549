import type { Connection } from './connection.ts'
import { toRefusal, Trouble } from './errors.ts'
import type { Scope } from './host.ts'
import type { AskOptions } from './types.ts'

/** The three requests of the protocol. Each throws `Trouble` where trying again may help, `ChatClientError` where not. */
export interface Requests {
  /** Asks; however often, under one key, so that there is one answer. */
  ask(connection: Connection): Promise<Response>
  /** Undefined: there is nothing after this. */
  resume(connection: Connection, id: string, after: number): Promise<Response | undefined>
  stop(connection: Connection, id: string): Promise<'stopped' | 'ended'>
  /** Sends a stop that nobody waits for, from a page that is being left. */
  sendStop(connection: Connection, id: string): void
}

/** Refusals of the service that are about this moment, and about no reply. */
const MOMENTARY = ['server-shutdown', 'overloaded', 'store-unavailable', 'request-timeout']
/** Identifies this page, or process, to a service without authentication. */
let ownSecret: string | undefined
const TRANSIENT = [408, 425, 429, 502, 503, 504]

/** @throws `TypeError` for an address that is none. */
export function createRequests(options: AskOptions, { document, location, navigator }: Scope): Requests {
  const { url = '/chat', headers = {}, key = randomKey(), messages, prompt, model } = options
  const { clientSecret = (ownSecret ??= randomKey()) } = options
  const route = new URL(url, document?.baseURI ?? location?.href)
  route.pathname = route.pathname.replace(/\/$/, '')
  // Once: the service compares what comes again under the same key.
  const body = JSON.stringify({ ...options.body, messages, prompt, model })
  let streamed = false

  function at(...path: readonly string[]): string {
    const url = new URL(route)
    url.pathname = [url.pathname, ...path.map(encodeURIComponent)].join('/')
    return url.href
  }

  async function send(
    connection: Connection,
    url: string,
    own: Readonly<Record<string, string>>,
    init: RequestInit,
  ): Promise<Response> {
    const { signal } = connection
    async function request(): Promise<Response> {
      const all = new Headers(await (typeof headers === 'function' ? headers() : headers))
      for (const [name, value] of Object.entries(own)) all.set(name, value)
      const { fetch = globalThis.fetch } = options
      return fetch(url, { ...init, headers: all, signal })
    }
    return connection.wait(orAborted(request(), signal), 'unreachable')
  }

  async function toStream(connection: Connection, response: Response, asking: boolean): Promise<Response> {
    const isStream = /^text\/event-stream\b/i.test(response.headers.get('content-type') ?? '')
    if (response.status === 200 && isStream && response.body) {
      streamed = true
      return response
    }
    const text = response.ok ? '' : await connection.wait(response.text(), 'incomplete')
    const refusal = toRefusal(response, text)
    // Where there was a stream before, a page in its place is somebody's in between: a hotel's, asking for a room number.
    if (response.ok && streamed) throw new Trouble(refusal)
    const foreign = refusal.code.startsWith('http-')
    const momentary = foreign || MOMENTARY.includes(refusal.code)
    // A refusal with a reply's id is how that reply ended: asked under the same key it ends the same.
    const final = asking && (!momentary || response.headers.has('x-reply-id'))
    throw TRANSIENT.includes(response.status) && !final ? new Trouble(refusal) : refusal
  }

  async function ask(connection: Connection): Promise<Response> {
    const own = {
      accept: 'text/event-stream',
      'content-type': 'application/json',
      'idempotency-key': key,
      'x-client-secret': clientSecret,
    }
    return toStream(connection, await send(connection, route.href, own, { method: 'POST', body }), true)
  }

  async function resume(connection: Connection, id: string, after: number): Promise<Response | undefined> {
    const own = { accept: 'text/event-stream', ...(after > 0 ? { 'last-event-id': String(after) } : {}) }
    const response = await send(connection, at(id), own, {})
    return response.status === 204 ? undefined : toStream(connection, response, false)
  }

  async function stop(connection: Connection, id: string): Promise<'stopped' | 'ended'> {
    // `keepalive`: a stop that is on its way gets there, although the page is left.
    const response = await send(connection, at(id, 'stop'), {}, { method: 'POST', keepalive: true })
    const text = await connection.wait(response.text(), 'incomplete')
    if (response.ok) return /"ended"/.test(text) ? 'ended' : 'stopped'
    const refusal = toRefusal(response, text)
    throw TRANSIENT.includes(response.status) ? new Trouble(refusal) : refusal
  }

  return {
    ask,
    resume,
    stop,
    sendStop(connection, id) {
      // A beacon has no headers; where there are some, the service would not know who sends it.
      if (options.headers === undefined && navigator?.sendBeacon?.(at(id, 'stop'))) return
      void stop(connection, id).catch(() => {}) // nobody is there any more to be told
    },
  }
}

/** Not `randomUUID`: a page that came over plain http does not have it. */
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Waits for something that may not look at the signal by itself, such as the caller's headers. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
