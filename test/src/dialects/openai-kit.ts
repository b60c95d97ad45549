import { expect } from 'vitest'
import { openai } from '../../../src/dialects/openai.ts'
import { ChatError } from '../../../src/errors.ts'
import type { HttpReply, RequestLimits } from '../../../src/types.ts'
import { textOf } from '../kit.ts'

const limits: RequestLimits = { maxMessages: 5 }
/** The shortest conversation. */
export const hi = { role: 'user', content: 'hi' }
/** The beginning of an image. */
export const png = 'data:image/png;base64,iVBORw0KGgo='

/** What is read of a body. */
export function read(body: unknown, more: Partial<RequestLimits> = {}) {
  return openai.readRequest(body, { ...limits, ...more })
}

/** What is read of a body with one question and these fields. */
export function readWith(fields: object) {
  const { chat, ...rest } = read({ messages: [hi], ...fields })
  return { ...chat, ...rest }
}

/** The message that is read of one message. */
export function readMessage(message: unknown, more: Partial<RequestLimits> = {}) {
  return read({ messages: [message] }, more).chat.messages[0]
}

/** What is said against a body. */
export function against(
  body: unknown,
  more: Partial<RequestLimits> = {},
): { param: string | undefined; message: string } {
  try {
    read(body, more)
  } catch (error) {
    if (!(error instanceof ChatError)) throw error
    return { param: error.param, message: error.message }
  }
  return { param: undefined, message: 'nothing' }
}

/** The body of a reply that says it is JSON. */
export async function json(reply: HttpReply): Promise<unknown> {
  expect(reply.headers['content-type']).toBe('application/json; charset=utf-8')
  return JSON.parse(await textOf(reply))
}

/** What an error of OpenAI's API is made of. */
export interface ErrorReport {
  readonly message: string
  readonly type: string
  readonly param: string | null
  readonly code: string | null
}

/** The error object of a refusal, which has the shape of OpenAI's API and nothing else. */
export async function errorIn(reply: HttpReply): Promise<ErrorReport> {
  const body = (await json(reply)) as { error: ErrorReport } // checked by the next lines
  expect(Object.keys(body)).toEqual(['error'])
  expect(Object.keys(body.error)).toEqual(['message', 'type', 'param', 'code'])
  return body.error
}
