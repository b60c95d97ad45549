import { createHandler, type HandlerOptions } from '../../src/handler.ts'
import type { Handler, HttpReply } from '../../src/types.ts'
import { createOpenAI } from '../../src/upstreams/openai.ts'

/** What a model's server sends: a status, a content type, and its body in these pieces. */
export interface Sent {
  readonly status: number
  readonly contentType: string
  readonly pieces: Iterable<Uint8Array<ArrayBuffer>>
}

/** A `fetch` that answers every request with what `sent` gives. */
export function sending(sent: () => Sent): typeof fetch {
  return async () => {
    const { status, contentType, pieces } = sent()
    return new Response(streamOf(pieces), { status, headers: { 'content-type': contentType } })
  }
}

/** A handler whose model's server is this `fetch`. */
export function serviceOver(server: typeof fetch, options: Partial<HandlerOptions> = {}): Handler {
  const upstream = createOpenAI({ baseURL: 'http://upstream.test/v1', apiKey: 'sk-test', fetch: server })
  return createHandler({ upstream, model: 'm', models: '*', retries: 0, ...options })
}

/** A `fetch` that asks a handler directly: for clients that take one. */
export function fetchOf(handler: Handler): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init)
    const { status, headers, body } = await handler({
      method: request.method,
      url: new URL(request.url).pathname + new URL(request.url).search,
      headers: request.headers,
      text: () => request.text(),
      signal: request.signal,
    })
    return new Response(status === 204 ? null : bodyOf(body), { status, headers })
  }
}

function bodyOf(body: HttpReply['body']): BodyInit {
  if (typeof body === 'string') return body
  const encoder = new TextEncoder()
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await body.next()
      if (done) controller.close()
      else controller.enqueue(encoder.encode(value))
    },
    async cancel() {
      await body.return?.()
    },
  })
}

function streamOf(pieces: Iterable<Uint8Array<ArrayBuffer>>): ReadableStream<Uint8Array<ArrayBuffer>> {
  const iterator = pieces[Symbol.iterator]()
  return new ReadableStream({
    pull(controller) {
      const { value, done } = iterator.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
  })
}
