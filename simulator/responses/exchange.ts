import { streamHead } from '../exchange.ts'
import type { Exchange } from '../exchange.ts'
import type { Reply } from '../reply.ts'
import type { ChatBody } from '../request.ts'
import { responseFrames, textEvent } from './wire.ts'

/** Lays out the answer to a request of the Responses API as the events of a stream. */
export function createResponsesExchange(chat: ChatBody, reply: Reply, origin: string): Exchange {
  const frames = responseFrames(reply, chat.raw)
  return { chat, reply, head: streamHead, frames, origin, say: (text) => textEvent(reply, text) }
}
