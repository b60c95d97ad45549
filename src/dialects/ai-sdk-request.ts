import {
  type Check,
  isObject,
  requireMessageList,
  requireObject,
  requireOwnRole,
  textUpTo,
  wrong,
} from '../checks.ts'
import { ChatError } from '../errors.ts'
import { requireImageUrl, requirePublicUrls } from '../images.ts'
import type {
  ChatMessage,
  ClaimedCall,
  Content,
  ContentPart,
  DialectRequest,
  RequestLimits,
} from '../types.ts'
import { type CalledTool, readCalledTool } from './ai-sdk-tools.ts'

/** A part of a message after its type was seen. */
type Part = Readonly<Record<string, unknown>> & { readonly type: string }

const isName = textUpTo(200)

/**
 * Reads what `useChat` sends: `{ id, messages, trigger, messageId, model? }`. Other fields are an app's own and mean
 * nothing here. Of a message its words and images count, and what tools gave that run in the page, with what the
 * model thought before it called them; the rest is left out. So are calls of tools that run here: a page could write
 * any result for them. `calls` of the result are to be verified: a page can write any call, too.
 *
 * @throws `ChatError` that names the field, what it must be and what it was.
 */
export function readUiRequest(body: unknown, limits: RequestLimits): DialectRequest {
  const { id, model, messages, trigger, messageId } = requireObject(body)
  requireMessageList(messages, limits.maxMessages)
  const own = messages.map(requireMessage)
  const calls: ClaimedCall[] = []
  const conversation = own.flatMap(({ role, parts, at }, index) => {
    if (role === 'assistant') {
      const called = readCalledTools(parts, at, limits)
      calls.push(...[...called.values()].map(({ claim }) => claim))
      return readAssistant(parts, called, at, limits)
    }
    const turns = readUser(parts, at, limits)
    if (turns.length === 0 && index === own.length - 1) throw emptyQuestion(at)
    return turns
  })
  if (conversation.length === 0) {
    throw new ChatError('invalid-request', '`messages` must hold a message with words.', {
      param: 'messages',
    })
  }
  return {
    stream: true,
    chat: { model: optional('model', model, isName), messages: conversation },
    chatId: optional('id', id, isName),
    continues: trigger === 'regenerate-message' ? undefined : continued(own, messageId),
    ...(calls.length > 0 ? { calls } : {}),
  }
}

interface Message {
  readonly id: unknown
  readonly role: 'user' | 'assistant'
  readonly parts: readonly Part[]
  readonly at: string
}

function requireMessage(message: unknown, index: number): Message {
  const at = `messages[${index}]`
  if (!isObject(message)) throw wrong(at, 'an object', message)
  const { id, role, parts } = message
  requireOwnRole(role, at)
  if (role !== 'user' && role !== 'assistant') throw wrong(`${at}.role`, 'one of "user", "assistant"', role)
  if (!Array.isArray(parts)) throw wrong(`${at}.parts`, 'an array', parts)
  for (const [position, part] of parts.entries()) {
    const where = `${at}.parts[${position}]`
    if (!isObject(part)) throw wrong(where, 'an object', part)
    if (typeof part['type'] !== 'string') throw wrong(`${where}.type`, 'a string', part['type'])
    if (part['type'] === 'text' && typeof part['text'] !== 'string') {
      throw wrong(`${where}.text`, 'a string', part['text'])
    }
  }
  return { id, role, parts, at }
}

/**
 * The message of the page that the answer goes on with, when there is one: the assistant's, to which the results of
 * the page's tools were added. A `start` with another id would make the client add the whole message once more.
 */
function continued(messages: readonly Message[], messageId: unknown): string | undefined {
  const named = messages.find(({ id, role }) => role === 'assistant' && id === messageId)
  const { id, role } = named ?? messages.at(-1) ?? {}
  return role === 'assistant' && typeof id === 'string' && isName(id) === undefined ? id : undefined
}

/** Nothing where the message has only parts that mean nothing to a model. */
function readUser(
  parts: readonly Part[],
  at: string,
  { imageHosts = [] }: RequestLimits,
): readonly ChatMessage[] {
  const content = parts.flatMap((part, index): readonly ContentPart[] => {
    const where = `${at}.parts[${index}]`
    if (part.type === 'file') return [readImage(part, where, imageHosts)]
    const text = textOf(part)
    return text === '' ? [] : [{ type: 'text', text }]
  })
  const [first] = content
  if (!first) return []
  return [{ role: 'user', content: content.length === 1 && first.type === 'text' ? first.text : content }]
}

function emptyQuestion(at: string): ChatError {
  const text = `\`${at}.parts\` must hold a text or an image: other parts mean nothing to the model.`
  return new ChatError('invalid-request', text, { param: `${at}.parts` })
}

function readImage(
  { mediaType, url }: Part,
  at: string,
  hosts: NonNullable<RequestLimits['imageHosts']>,
): ContentPart {
  if (typeof mediaType !== 'string') throw wrong(`${at}.mediaType`, 'a string', mediaType)
  if (!/^image\//i.test(mediaType)) {
    const got = JSON.stringify(mediaType.slice(0, 60))
    throw new ChatError('invalid-request', `\`${at}\` must be an image; got a file of type ${got}.`, {
      param: at,
    })
  }
  return { type: 'image', url: requireImageUrl(url, `${at}.url`, hosts) }
}

function readCalledTools(
  parts: readonly Part[],
  at: string,
  { clientTools }: RequestLimits,
): ReadonlyMap<Part, CalledTool> {
  const called = parts.flatMap((part, index) => {
    const tool = readCalledTool(part, `${at}.parts[${index}]`, clientTools)
    return tool ? [[part, tool] as const] : []
  })
  return new Map(called)
}

/** Step by step: what was said, the calls, what they gave. Steps without calls are one turn together. */
function readAssistant(
  parts: readonly Part[],
  called: ReadonlyMap<Part, CalledTool>,
  at: string,
  { imageHosts = [] }: RequestLimits,
): readonly ChatMessage[] {
  const messages: ChatMessage[] = []
  let said: string[] = []
  for (const step of steps(parts)) {
    const text = step.map((part) => textOf(part)).join('')
    if (text !== '') said.push(text)
    const calls = step.flatMap((part) => called.get(part) ?? [])
    if (calls.length === 0) continue
    for (const { call } of calls) requirePublicUrls(call.extra, `${at}.parts`, imageHosts)
    const reasoning = step.map((part) => textOf(part, 'reasoning')).join('')
    messages.push({
      role: 'assistant',
      content: together(said),
      ...(reasoning === '' ? {} : { reasoning }),
      toolCalls: calls.map(({ call }) => call),
    })
    messages.push(...calls.map(toResult))
    said = []
  }
  return said.length === 0 ? messages : [...messages, { role: 'assistant', content: together(said) }]
}

function steps(parts: readonly Part[]): readonly (readonly Part[])[] {
  const all: Part[][] = [[]]
  for (const part of parts) {
    if (part.type === 'step-start') all.push([])
    else all.at(-1)?.push(part)
  }
  return all
}

function together(said: readonly string[]): Content {
  return said.join('\n\n')
}

function toResult({ call, result }: CalledTool): ChatMessage {
  return { role: 'tool', toolCallId: call.id, content: result }
}

function textOf({ type, text }: Part, kind: 'text' | 'reasoning' = 'text'): string {
  return type === kind && typeof text === 'string' ? text : ''
}

function optional(param: string, value: unknown, check: Check): string | undefined {
  if (value === undefined) return undefined
  const expectation = check(value)
  if (expectation !== undefined) throw wrong(param, expectation, value)
  return value as string // the check takes nothing else
}
