import { failure } from '../http.ts'
import { readChatRequest } from '../request.ts'
import { event } from '../sse.ts'
import type { Answer, ChatDelta, Dialect } from '../types.ts'

/**
 * The deltas themselves as events: `id: 7` and `data: {"type":"text","text":"Hel"}`, without event names, so that
 * one `onmessage` sees everything.
 */
export const events: Dialect = {
  readRequest: readChatRequest,
  createEncoder: () => (delta, seq) => event(encode(delta), seq),
  toDocument: (answer: Answer) => answer,
  refuse: failure,
}

/**
 * The same for a bare `EventSource`: ids are `<replyId>.<seq>`, because a native reconnect brings nothing else.
 */
export const eventSource: Dialect = {
  ...events,
  createEncoder:
    ({ replyId }) =>
    (delta, seq) =>
      event(encode(delta), seq === undefined ? undefined : `${replyId}.${seq}`),
  // Sets the browser's last event id before the first delta: a cut before that must not ask again either.
  preamble: (replyId) => `retry: 1000\nid: ${replyId}.0\n\n`,
}

// The frequent ones by template: the same text as JSON.stringify gives, for less.
function encode(delta: ChatDelta): string {
  switch (delta.type) {
    case 'text':
      return delta.logprobs ? JSON.stringify(delta) : `{"type":"text","text":${JSON.stringify(delta.text)}}`
    case 'reasoning':
      return `{"type":"reasoning","text":${JSON.stringify(delta.text)}}`
    default:
      return JSON.stringify(delta)
  }
}
