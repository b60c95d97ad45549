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
  preamble: (replyId) => `retry: ${retryMs(replyId)}\nid: ${replyId}.0\n\n`,
}

/**
 * How long a browser waits before it comes back: 1 to 2 s, so that those whose server went away do not all come at once.
 * A function of the reply alone, because the bytes are the same on every host.
 */
function retryMs(replyId: string): number {
  let sum = 0
  for (let at = 0; at < replyId.length; at++) sum = (sum * 31 + replyId.charCodeAt(at)) % 1000
  return 1000 + sum
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
