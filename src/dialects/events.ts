import type { ChatDelta, Dialect, DialectRequest, Encoder, RequestLimits } from '../types.ts'
import { readChatRequest } from '../request.ts'
import { event } from '../sse.ts'

/**
 * The deltas themselves as events: `id: 7` and `data: {"type":"text","text":"Hel"}`, without event names, so that
 * one `onmessage` sees everything.
 */
export const events: Dialect = {
  readRequest(body: unknown, limits: RequestLimits): DialectRequest {
    return readChatRequest(body, limits)
  },
  createEncoder: () => (delta, seq) => event(encode(delta), seq),
}

/**
 * The same for a bare `EventSource`: ids are `<replyId>.<seq>`, because a native reconnect brings nothing else.
 */
export function createEventSourceEncoder(replyId: string): Encoder {
  return (delta, seq) => event(encode(delta), seq === undefined ? undefined : `${replyId}.${seq}`)
}

// The frequent ones by template: the same text as JSON.stringify gives, for less.
function encode(delta: ChatDelta): string {
  switch (delta.type) {
    case 'text':
      return `{"type":"text","text":${JSON.stringify(delta.text)}}`
    case 'reasoning':
      return `{"type":"reasoning","text":${JSON.stringify(delta.text)}}`
    default:
      return JSON.stringify(delta)
  }
}
