import { events, eventSource } from '../dialects/events.ts'
import { ChatError } from '../errors.ts'
import { empty, readCursor } from '../http.ts'
import type { Call, Route } from '../router.ts'
import type { Service } from '../service.ts'
import { streamHeaders } from '../sse.ts'
import type { HttpReply, RequestLimits } from '../types.ts'

/** Our own dialect: ask, come back, stop; and a question in an address for a bare `EventSource`. */
export function chatRoutes(service: Service, limits: RequestLimits): readonly Route[] {
  async function ask({ request }: Call): Promise<HttpReply> {
    return service.answer(events, await service.read(events, request), request)
  }

  async function open({ request, url }: Call): Promise<HttpReply> {
    const cursor = readCursor(request, url)
    if (!cursor) {
      const body = { prompt: url.searchParams.get('prompt') ?? '', model: url.searchParams.get('model') }
      return service.answer(eventSource, events.readRequest(body, limits), request)
    }
    // A reconnect is never a new question: what is not known here, or not any more, has ended.
    if (cursor.id === undefined) {
      const text = 'On /stream the last event id must be <reply id>.<number>, as it was sent.'
      throw new ChatError('bad-cursor', text)
    }
    const { id, after } = cursor
    return (await service.find(id, request))
      ? service.follow(eventSource, { id, after }, request)
      : empty(204)
  }

  async function resume({ request, url, id }: Call): Promise<HttpReply> {
    const cursor = readCursor(request, url)
    if (cursor?.id !== undefined && cursor.id !== id) {
      throw new ChatError('bad-cursor', 'The last event id belongs to another reply.')
    }
    return service.follow(events, { id, after: cursor?.after ?? 0 }, request)
  }

  async function headOfReply({ request, id }: Call): Promise<HttpReply> {
    const { sealed, length } = await service.require(id, request)
    return empty(200, {
      ...streamHeaders,
      'x-reply-id': id,
      'x-reply-state': sealed ? 'ended' : 'running',
      'x-reply-length': String(length),
    })
  }

  const stop = ({ request, id }: Call): Promise<HttpReply> => service.stop(id, request)

  // POST /chat/completions is OpenAI's.
  const reply = /^\/chat\/(?!completions$)([\w-]+)$/
  return [
    { method: 'POST', path: /^\/chat$/, answer: ask },
    { method: 'GET', path: /^\/stream$/, answer: open, head: () => empty(200, streamHeaders) },
    { method: 'GET', path: reply, answer: resume, head: headOfReply },
    { method: 'DELETE', path: reply, answer: stop },
    { method: 'POST', path: /^\/chat\/([\w-]+)\/stop$/, answer: stop },
  ]
}
