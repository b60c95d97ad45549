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

/** Arrays and objects within each other: deeper bodies are refused before anything walks them. */
const MAX_DEPTH = 32
/** The same below the fields that hold a JSON Schema, which takes several levels for one of what it describes. */
const MAX_SCHEMA_DEPTH = 96
const schemaFields = ['response_format', 'tools']

/**
 * Parses a JSON body. Keys named `__proto__` are left out.
 *
 * @throws `ChatError`: `invalid-json` for an empty or malformed one, `limit-exceeded` for one nested too deeply.
 */
export function parseJson(text: string): unknown {
  if (text.trim() === '') {
    throw new ChatError('invalid-json', 'The body is empty; expected a JSON object.')
  }
  let body: unknown
  try {
    // A byte order mark is no part of the text; not every decoder drops it.
    body = JSON.parse(text.startsWith('\ufeff') ? text.slice(1) : text)
  } catch (error) {
    // The position helps, the quoted text could be somebody's words.
    const position = /position \d+/.exec((error as Error).message)?.[0]
    throw new ChatError('invalid-json', `The body is not valid JSON${position ? ` (at ${position})` : ''}.`)
  }
  if (isTooDeep(body)) {
    const allowed = `${MAX_DEPTH} levels deep (${MAX_SCHEMA_DEPTH} below \`${schemaFields.join('` and `')}\`)`
    throw new ChatError('limit-exceeded', `The body is nested more than ${allowed}.`)
  }
  // A copy of such a key would become the copy's prototype. Looked for only where the text can hold one.
  return prototypeKey.test(text) ? withoutPrototypes(body) : body
}

/** `__proto__` as JSON can write it: as it is, or with one of its letters escaped. */
const prototypeKey = /"__proto__"|\\u00(?:5f|6f|7[024])/i

function withoutPrototypes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutPrototypes)
  if (!isObject(value)) return value
  const fields = Object.entries(value).filter(([name]) => name !== '__proto__')
  return Object.fromEntries(fields.map(([name, inner]) => [name, withoutPrototypes(inner)]))
}

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

function isTooDeep(body: unknown): boolean {
  if (!isObject(body)) return isDeeper(body, MAX_DEPTH)
  return Object.entries(body).some(([name, value]) =>
    isDeeper(value, schemaFields.includes(name) ? MAX_SCHEMA_DEPTH : MAX_DEPTH - 1),
  )
}

/** Whether a value has more levels of arrays and objects than `levels`. */
export function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1))
}
