import type { Message } from '../client/index.ts'
import type { PageDelta } from './answer.ts'

/** A question and what came of it. */
export interface Turn {
  readonly question: string
  readonly model?: string
  /** Under which the question is asked: the same one again never asks twice. */
  key: string
  /** The id of the reply, once it has one. */
  reply?: string
  /** What was said, when it is over. */
  deltas?: readonly PageDelta[]
  /** The answer, when it is complete or was stopped by the reader; never a broken one. */
  answer?: string
  /** The server refused this question and would again; it must not poison the rest of the chat. */
  rejected?: boolean
}

/** A conversation under the id that its address carries. */
export interface Conversation {
  readonly id: string
  readonly turns: Turn[]
}

/** The conversation as the model should see it: every good question, every answer that can be trusted. */
export function toMessages(turns: readonly Turn[]): Message[] {
  return turns
    .filter((turn) => !turn.rejected)
    .flatMap(({ question, answer }): Message[] => [
      { role: 'user', content: question },
      ...(answer ? [{ role: 'assistant' as const, content: answer }] : []),
    ])
}

/** 128 random bits. Not `randomUUID`: a page that came over plain http does not have it. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** The same deltas in fewer pieces. */
export function compact(deltas: readonly PageDelta[]): PageDelta[] {
  const result: PageDelta[] = []
  for (const delta of deltas) {
    const last = result.at(-1)
    if ('text' in delta && last?.type === delta.type && 'text' in last)
      result[result.length - 1] = { type: delta.type, text: last.text + delta.text }
    else result.push(delta)
  }
  return result
}
