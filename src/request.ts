import {
  isObject,
  kindOf,
  requireMessageList,
  requireObject,
  requireOwnRole,
  type Sampling,
  samplingFields,
  toSampling,
  unknownField,
  wrong,
} from './checks.ts'
import { ChatError } from './errors.ts'
import type { ChatMessage, DialectRequest, RequestLimits } from './types.ts'

/**
 * Reads the body of `POST /chat`: `messages`, or `prompt` for a single question, and sampling fields.
 * Fields that are null count as absent.
 *
 * @throws `ChatError` that names the field, what it must be and what it was.
 */
export function readChatRequest(body: unknown, { maxMessages }: RequestLimits): DialectRequest {
  const asked = withMessages(requireObject(body))
  const messages = requireMessages(asked['messages'], maxMessages)
  for (const [name, value] of Object.entries(asked)) if (name !== 'messages') requireField(name, value)
  const checked = asked as Sampling // field by field, just now
  return { stream: checked.stream ?? true, chat: { ...toSampling(checked), messages } }
}

/** A single question as a conversation. @throws `ChatError` when it is empty. */
function promptMessages(prompt: unknown): readonly ChatMessage[] {
  if (typeof prompt !== 'string' || prompt.trim() === '') {
    const got = typeof prompt === 'string' ? 'an empty one' : kindOf(prompt)
    throw new ChatError('invalid-request', `\`prompt\` must be a text that is not empty; got ${got}.`, {
      param: 'prompt',
    })
  }
  return [{ role: 'user', content: prompt }]
}

function withMessages({ prompt, ...rest }: Record<string, unknown>): Record<string, unknown> {
  if (prompt === undefined) return rest
  if (rest['messages'] !== undefined) {
    throw new ChatError('invalid-request', 'Send `messages` or `prompt`, not both.', { param: 'prompt' })
  }
  return { ...rest, messages: promptMessages(prompt) }
}

function requireMessages(messages: unknown, maxMessages: number): readonly ChatMessage[] {
  requireMessageList(messages, maxMessages)
  return messages.map(requireMessage)
}

function requireMessage(message: unknown, index: number): ChatMessage {
  const at = `messages[${index}]`
  if (!isObject(message)) throw wrong(at, 'an object', message)
  const { role, content } = message
  requireOwnRole(role, at)
  if (role !== 'user' && role !== 'assistant') throw wrong(`${at}.role`, 'one of "user", "assistant"', role)
  if (typeof content !== 'string') throw wrong(`${at}.content`, 'a string', content)
  const other = Object.keys(message).find((key) => key !== 'role' && key !== 'content')
  if (other !== undefined) throw unknownField(`${at}.${other}`)
  return { role, content }
}

function requireField(name: string, value: unknown): void {
  if (!Object.hasOwn(samplingFields, name)) throw unknownField(name)
  const expectation = samplingFields[name as keyof typeof samplingFields](value) // an own key, just now
  if (expectation !== undefined) throw wrong(name, expectation, value)
}
