import { wrong } from '../checks.ts'
import { ChatError } from '../errors.ts'
import { requireImageUrl, requirePublicUrls } from '../images.ts'
import type { ChatMessage, Content, ContentPart, Fields, RequestLimits, ToolCall } from '../types.ts'
import { fieldsAt, idAt, nameAt, textAt } from './openai-fields.ts'
import { folded, requirePassable, spellings } from './openai-refused.ts'

type Hosts = readonly string[] | '*'

const names = ['role', 'content', 'tool_calls', 'tool_call_id']
const understood = new Map([...spellings(names), [folded('function_call'), 'tool_calls']])

/** Fields of a message that hold words, or pages that an answer cites: no server fetches what they name. */
const wordy = new Set([
  'name',
  'refusal',
  'annotations',
  'reasoning',
  'reasoning_content',
  'reasoning_details',
])

/**
 * Reads one message of a conversation. Here every role may speak, the service's instructions stand before all the
 * same: who asks is a program, not a page. Fields that are not understood go along in `extra`.
 *
 * @throws `ChatError` that names the field as a path from `at`.
 */
export function readMessage(
  message: unknown,
  at: string,
  { imageHosts = '*', serverTools }: RequestLimits,
): ChatMessage {
  const { role, content, ...rest } = fieldsAt(at, message)
  switch (role) {
    case 'system':
    case 'developer':
    case 'user':
      return {
        role,
        content: readContent(content, `${at}.content`, imageHosts),
        ...readExtra(rest, at, imageHosts),
      }
    case 'assistant':
      return requireClientCalls(readTurn(content, rest, at, imageHosts), at, serverTools)
    case 'tool': {
      const { tool_call_id: id, ...others } = rest
      const toolCallId = idAt(`${at}.tool_call_id`, id)
      return {
        role,
        toolCallId,
        content: readContent(content, `${at}.content`, imageHosts),
        ...readExtra(others, at, imageHosts),
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

function readTurn(content: unknown, fields: Fields, at: string, hosts: Hosts): ChatMessage {
  const { tool_calls: calls, ...others } = fields
  const toolCalls = calls === undefined ? [] : readCalls(calls, `${at}.tool_calls`, hosts)
  const extra = readExtra(others, at, hosts)
  // A turn can be all calls, or all of what only another field holds: a refusal, thoughts.
  const empty = content === undefined && (toolCalls.length > 0 || extra.extra !== undefined)
  return {
    role: 'assistant',
    content: empty ? '' : readContent(content, `${at}.content`, hosts),
    ...(toolCalls.length > 0 ? { toolCalls } : {}),
    ...extra,
  }
}

function readExtra(fields: Fields, at: string, hosts: Hosts): { readonly extra?: Fields } {
  const extra: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) {
    // What belongs to messages of another role says nothing when it is empty: some clients always send every field.
    if (names.includes(name) && isEmpty(value)) continue
    requirePassable(name, understood, `${at}.`)
    if (!wordy.has(name)) requirePublicUrls({ [name]: value }, at, hosts)
    extra[name] = value
  }
  return Object.keys(extra).length > 0 ? { extra } : {}
}

function isEmpty(value: unknown): boolean {
  return value === '' || (Array.isArray(value) && value.length === 0)
}

function readCalls(calls: unknown, at: string, hosts: Hosts): readonly ToolCall[] {
  if (!Array.isArray(calls)) throw wrong(at, 'an array', calls)
  return calls.map((call, index) => readCall(call, `${at}[${index}]`, hosts))
}

function readCall(call: unknown, at: string, hosts: Hosts): ToolCall {
  // `index` is what streams say; some clients send the pieces back as they joined them.
  const { id, type = 'function', function: fn, index: _, ...others } = fieldsAt(at, call)
  if (type !== 'function') throw wrong(`${at}.type`, '"function"', type)
  const { name, arguments: text } = fieldsAt(`${at}.function`, fn)
  return {
    id: idAt(`${at}.id`, id),
    name: nameAt(`${at}.function.name`, name),
    arguments: textAt(`${at}.function.arguments`, text),
    ...readExtra(others, at, hosts),
  }
}

function readContent(content: unknown, at: string, hosts: Hosts): Content {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) throw wrong(at, 'a string or an array of parts', content)
  return content.map((part, index) => readPart(part, `${at}[${index}]`, hosts))
}

/** Reads one part. One with fields of its own beside OpenAI's, such as `cache_control`, is kept as it is. */
function readPart(value: unknown, at: string, hosts: Hosts): ContentPart {
  const part = fieldsAt(at, value)
  const { type, ...rest } = part
  if (type === 'image_url') return readImage(rest, at, hosts)
  if (type === 'text') {
    const { text, ...others } = rest
    const plain: ContentPart = { type, text: textAt(`${at}.text`, text) }
    if (Object.keys(others).length === 0) return plain
    requirePublicUrls(others, at, hosts)
  } else {
    nameAt(`${at}.type`, type)
    requirePublicUrls(rest, at, hosts)
  }
  return { type: 'other', part }
}

function readImage({ image_url: image, ...others }: Fields, at: string, hosts: Hosts): ContentPart {
  const where = `${at}.image_url`
  const short = typeof image === 'string'
  const fields: Fields = short ? { url: image } : fieldsAt(where, image)
  const { url: address, detail, ...more } = fields
  const url = requireImageUrl(address, short ? where : `${where}.url`, hosts)
  const known = { url, ...(detail === undefined ? {} : { detail: textAt(`${where}.detail`, detail) }) }
  if (Object.keys(others).length === 0 && Object.keys(more).length === 0) return { type: 'image', ...known }
  requirePublicUrls(others, at, hosts)
  requirePublicUrls(more, where, hosts)
  return { type: 'other', part: { ...others, type: 'image_url', image_url: { ...more, ...known } } }
}
