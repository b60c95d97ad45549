import type { Step } from './play.ts'
import type { Reply } from './reply.ts'
import type { ChatBody } from './request.ts'
import { completionTokens } from './reply.ts'
import { chunkText, completionOf, frameText, streamFrames } from './wire.ts'
import type { Frame } from './wire.ts'

/** A request together with the answer it would get if nothing went wrong. */
export interface Exchange {
  readonly chat: ChatBody
  readonly reply: Reply
  readonly head: Step & { do: 'head' }
  readonly frames: readonly Frame[]
  /** The simulator's own address, without `/v1`. */
  readonly origin: string
  /** An event that adds a piece of text to the answer. */
  readonly say: (text: string) => string
}

/** Status and headers of a stream. */
export const streamHead: Step & { do: 'head' } = {
  do: 'head',
  status: 200,
  headers: {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-cache',
    'X-Accel-Buffering': 'no',
  },
}

/** Lays out the answer to a request: the events of a stream, or one JSON object in pieces. */
export function createExchange(chat: ChatBody, reply: Reply, origin: string): Exchange {
  const say = (text: string): string => chunkText(reply, text)
  if (chat.stream) {
    const frames = streamFrames(reply, chat.includeUsage)
    return { chat, reply, head: streamHead, frames, origin, say }
  }
  const text = JSON.stringify(completionOf(reply))
  const frames = (text.match(/[\s\S]{1,64}/gu) ?? []).map((piece): Frame => ({ kind: 'piece', text: piece }))
  return { chat, reply, head: jsonHead(200), frames, origin, say }
}

/** Status and headers of a JSON answer. */
export function jsonHead(
  status: number,
  headers: Readonly<Record<string, string>> = {},
): Step & { do: 'head' } {
  return { do: 'head', status, headers: { 'Content-Type': 'application/json', ...headers } }
}

/** Turns frames into steps: head first, every token in its turn. An answer in one piece waits for all its tokens. */
export function toSteps({ head, chat, reply }: Exchange, frames: readonly Frame[]): Step[] {
  const steps: Step[] = chat.stream ? [head] : [{ do: 'wait', turn: completionTokens(reply) }, head]
  let turn = 0
  for (const frame of frames) {
    const data = frameText(frame)
    // The role leaves together with the first token.
    if (frame.kind === 'role') steps.push({ do: 'wait', turn: 0 })
    steps.push(frame.kind === 'token' ? { do: 'write', data, turn: turn++ } : { do: 'write', data })
  }
  return steps
}

/** Divides frames after so many tokens (or pieces, or all of them when there are fewer). */
export function divide(frames: readonly Frame[], after: number): [Frame[], Frame[]] {
  const counts = frames.map(({ kind }) => kind === 'token' || kind === 'piece')
  const total = counts.filter(Boolean).length
  let seen = 0
  const at = counts.findIndex((counted) => {
    if (counted) seen++
    return counted && seen > Math.min(after, total - 1)
  })
  return at < 0 ? [frames.slice(0, 1), frames.slice(1)] : [frames.slice(0, at), frames.slice(at)]
}

/** The steps up to and including so many tokens; never all of the answer. */
export function begin(exchange: Exchange, after: number): Step[] {
  return toSteps(exchange, divide(exchange.frames, after)[0])
}

/** Changes the text of every write. */
export function rewrite(steps: readonly Step[], change: (text: string) => string): Step[] {
  return steps.map((step) => {
    return step.do === 'write' && typeof step.data === 'string' ? { ...step, data: change(step.data) } : step
  })
}
