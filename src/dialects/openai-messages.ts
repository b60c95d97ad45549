import { unknownField, wrong } from '../checks.ts'
import { ChatError } from '../errors.ts'
import { requireImageUrl } from '../images.ts'
import type { ChatMessage, Content, ContentPart, Fields, ToolCall } from '../types.ts'
import { fieldsAt, idAt, nameAt, textAt } from './openai-fields.ts'
import { callFields, contentParts, messageFields } from './openai-known.ts'
import { requirePassed } from './openai-pass.ts'
import { folded, requirePassable, spellings } from './openai-refused.ts'
import { type Bounds, checkFields, type Rules } from './openai-rules.ts'

const names = ['role', 'content', 'tool_calls', 'tool_call_id']
const understood = new Map([...spellings(names), [folded('function_call'), 'tool_calls']])

/**
 * Reads one message of a conversation. Here every role may speak, the service's instructions stand before all the
 * same: who asks is a program, not a page. Fields that are known, and not handled here, go along in `extra`.
 *
 * @throws `ChatError` that names the field as a path from `at`.
 */
export function readMessage(
  message: unknown,
  at: string,
  bounds: Bounds,
  serverTools?: ReadonlySet<string>,
): ChatMessage {
  const { role, content, ...rest } = fieldsAt(at, message)
  switch (role) {
    case 'system':
    case 'developer':
    case 'user':
      return {
        role,
        content: readContent(content, `${at}.content`, bounds),
        ...readExtra(rest, at, bounds),
      }
    case 'assistant':
      return requireClientCalls(readTurn(content, rest, at, bounds), at, serverTools)
    case 'tool': {
      const { tool_call_id: id, ...others } = rest
      const toolCallId = idAt(`${at}.tool_call_id`, id)
      return {
        role,
        toolCallId,
        content: readContent(content, `${at}.content`, bounds),
        ...readExtra(others, at, bounds),
      }
    }
    case 'function': {
      const text = `\`${at}.role\` "function" is an old form. Send role "tool" with the \`tool_call_id\` of the call.`
      throw new ChatError('invalid-request', text, { param: `${at}.role` })
    }
    default:
      throw wrong(`${at}.role`, 'one of "system", "developer", "user", "assistant", "tool"', role)
  }
}

/**
 * A result answers a call of an earlier message of the assistant: a model would take any other one for its own.
 * @throws `ChatError` that names the first result that does not.
 */
export function requireCalled(messages: readonly ChatMessage[]): void {
  const called = new Set<string>()
  for (const [index, message] of messages.entries()) {
    if (message.role === 'assistant') for (const { id } of message.toolCalls ?? []) called.add(id)
    if (message.role !== 'tool' || called.has(message.toolCallId)) continue
    const param = `messages[${index}].tool_call_id`
    const got = JSON.stringify(message.toolCallId.slice(0, 60))
    const text = `\`${param}\` must be the id of a call in the \`tool_calls\` of an earlier assistant message; got ${got}.`
    throw new ChatError('invalid-request', text, { param })
  }
}

// Calls of these tools are never shown to a client, so it cannot have one to send back.
function requireClientCalls(
  message: ChatMessage,
  at: string,
  serverTools: ReadonlySet<string> | undefined,
): ChatMessage {
  const calls = message.role === 'assistant' ? (message.toolCalls ?? []) : []
  const index = calls.findIndex(({ name }) => serverTools?.has(name))
  if (index < 0) return message
  const param = `${at}.tool_calls[${index}].function.name`
  const name = JSON.stringify(calls[index]?.name)
  const text = `\`${param}\` must not be ${name}: a tool of that name runs on this server, and a client cannot have called it.`
  throw new ChatError('invalid-request', text, { param })
}

function readTurn(content: unknown, fields: Fields, at: string, bounds: Bounds): ChatMessage {
  const { tool_calls: calls, ...others } = fields
  const toolCalls = calls === undefined ? [] : readCalls(calls, `${at}.tool_calls`, bounds)
  const extra = readExtra(others, at, bounds)
  // A turn can be all calls, or all of what only another field holds: a refusal, thoughts.
  const empty = content === undefined && (toolCalls.length > 0 || extra.extra !== undefined)
  return {
    role: 'assistant',
    content: empty ? '' : readContent(content, `${at}.content`, bounds),
    ...(toolCalls.length > 0 ? { toolCalls } : {}),
    ...extra,
  }
}

function readExtra(asked: Fields, at: string, bounds: Bounds): { readonly extra?: Fields } {
  const extra: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(asked)) {
    // What belongs to messages of another role says nothing when it is empty: some clients always send every field.
    if (names.includes(name) && isEmpty(value)) continue
    // What OpenAI's client adds to an answer that it parsed, and sends back: the content again.
    if (name === 'parsed') continue
    requirePassable(name, understood, `${at}.`)
    extra[name] = value
  }
  return checked(extra, messageFields, at, bounds)
}

function checked(extra: Fields, rules: Rules, at: string, bounds: Bounds): { readonly extra?: Fields } {
  checkFields(extra, rules, bounds, `${at}.`)
  return Object.keys(extra).length > 0 ? { extra } : {}
}

function isEmpty(value: unknown): boolean {
  return value === '' || (Array.isArray(value) && value.length === 0)
}

function readCalls(calls: unknown, at: string, bounds: Bounds): readonly ToolCall[] {
  if (!Array.isArray(calls)) throw wrong(at, 'an array', calls)
  return calls.map((call, index) => readCall(call, `${at}[${index}]`, bounds))
}

function readCall(call: unknown, at: string, bounds: Bounds): ToolCall {
  // `index` is what streams say; some clients send the pieces back as they joined them.
  const { id, type = 'function', function: fn, index: _, ...others } = fieldsAt(at, call)
  if (type !== 'function') throw wrong(`${at}.type`, '"function"', type)
  // OpenAI's client adds the arguments once more, parsed.
  const { name, arguments: text, parsed_arguments: __, ...more } = fieldsAt(`${at}.function`, fn)
  for (const other of Object.keys(more)) throw unknownField(`${at}.function.${other}`)
  return {
    id: idAt(`${at}.id`, id),
    name: nameAt(`${at}.function.name`, name),
    arguments: textAt(`${at}.function.arguments`, text),
    ...checked(others, callFields, at, bounds),
  }
}

function readContent(content: unknown, at: string, bounds: Bounds): Content {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) throw wrong(at, 'a string or an array of parts', content)
  return content.map((part, index) => readPart(part, `${at}[${index}]`, bounds))
}

/** Reads one part. One with fields of its own beside OpenAI's, such as `cache_control`, is kept as it is. */
function readPart(value: unknown, at: string, bounds: Bounds): ContentPart {
  const part = fieldsAt(at, value)
  const { type, ...rest } = part
  const kind = nameAt(`${at}.type`, type)
  if (!Object.hasOwn(contentParts, kind)) {
    // The name of a type passes where the field of this name would.
    requirePassed(`${at}.${kind}`, rest, bounds)
    return { type: 'other', part }
  }
  if (kind === 'image_url') return readImage(rest, at, bounds)
  if (kind === 'text') textAt(`${at}.text`, rest['text'])
  checkFields(rest, contentParts[kind]!, bounds, `${at}.`)
  if (kind === 'text' && Object.keys(rest).length === 1) return { type: 'text', text: rest['text'] as string } // just now
  return { type: 'other', part }
}

function readImage({ image_url: image, ...others }: Fields, at: string, bounds: Bounds): ContentPart {
  const where = `${at}.image_url`
  const short = typeof image === 'string'
  const fields: Fields = short ? { url: image } : fieldsAt(where, image)
  const { url: address, detail, ...more } = fields
  const url = requireImageUrl(address, short ? where : `${where}.url`, bounds.hosts)
  const known = { url, ...(detail === undefined ? {} : { detail: textAt(`${where}.detail`, detail) }) }
  if (Object.keys(others).length === 0 && Object.keys(more).length === 0) return { type: 'image', ...known }
  const rest = {
    ...others,
    ...(short ? {} : { image_url: { ...more, ...(detail === undefined ? {} : { detail }) } }),
  }
  checkFields(rest, contentParts['image_url']!, bounds, `${at}.`)
  return { type: 'other', part: { ...others, type: 'image_url', image_url: { ...more, ...known } } }
}
