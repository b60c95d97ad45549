import type { ChatError } from '../errors.ts'
import { empty, retryAfter } from '../http.ts'
import { event } from '../sse.ts'
import { type Dialect, type Encoder, type HttpReply, isTerminal } from '../types.ts'
import type { UiChunk } from './ai-sdk-chunks.ts'
import { readUiRequest } from './ai-sdk-request.ts'
import type { Checkpoint } from './ai-sdk-index.ts'
import { createUiChunks } from './ai-sdk-stream.ts'

/**
 * The AI SDK's UI message stream, version 1: what `useChat` of its versions 5, 6 and 7 sends and reads. Every frame
 * holds one chunk, the last one is `[DONE]`; there are no ids, a reader goes on by the index of a chunk.
 */
export const aiSdk: Dialect = {
  readRequest: readUiRequest,
  createEncoder: ({ replyId }) => createEncoder(replyId, 0),
  refuse,
  headers: streamHeaders,
}

/**
 * The same stream as a message of its own, for a page that reads it from its first chunk: such a page drops what it
 * has under the id that comes first, and with it the results of its tools that the answer goes on from.
 */
export const aiSdkAgain: Dialect = {
  ...aiSdk,
  createEncoder: ({ replyId }) => ownMessage(createEncoder(replyId, 0)),
}

function ownMessage(encode: Encoder): Encoder {
  return (delta, seq) => {
    if (delta.type !== 'start') return encode(delta, seq)
    const { continues: _, ...start } = delta
    return encode(start, seq)
  }
}

/**
 * The same stream without its first chunks. `count` chunks there are when the reader comes; `at`: the place in the log
 * that is read from. Default: its beginning.
 */
export function aiSdkFrom(startIndex: number, count: number, at?: Checkpoint): Dialect {
  return {
    ...aiSdk,
    createEncoder: ({ replyId }) => createEncoder(replyId, startIndex, at),
    headers: (replyId) => ({ ...streamHeaders(replyId), ...tailHeader(count) }),
  }
}

/** Which index the last of `count` chunks has: a reader that counts from the end learns where that was. */
export function tailHeader(count: number): Readonly<Record<string, string>> {
  return { 'x-workflow-stream-tail-index': String(count - 1) }
}

// `x-workflow-run-id` is what WorkflowChatTransport of @ai-sdk/workflow asks for when its connection breaks.
function streamHeaders(replyId: string): Readonly<Record<string, string>> {
  return { 'x-vercel-ai-ui-message-stream': 'v1', 'x-workflow-run-id': replyId }
}

function createEncoder(replyId: string, skip: number, at?: Checkpoint): Encoder {
  const chunksOf = at?.chunksOf.fork() ?? createUiChunks(replyId)
  let index = at?.count ?? 0
  return (delta, seq) => {
    let text = ''
    for (const chunk of chunksOf.read(delta)) {
      // What is in no log is not counted, and nobody has it yet.
      if (seq === undefined || index++ >= skip) text += event(encode(chunk))
    }
    return isTerminal(delta) ? text + event('[DONE]') : text
  }
}

// The frequent one by template: the same text as JSON.stringify gives, for less.
function encode(chunk: UiChunk): string {
  if (chunk.type !== 'text-delta') return JSON.stringify(chunk)
  return `{"type":"text-delta","id":"${chunk.id}","delta":${JSON.stringify(chunk.delta)}}`
}

/** A failure as plain text: the client shows the body as its error's message. */
function refuse(error: ChatError, headers: Readonly<Record<string, string>> = {}): HttpReply {
  const reply = empty(error.status, {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'x-error-code': error.code,
    ...headers,
    ...retryAfter(error),
  })
  return { ...reply, body: error.message }
}
