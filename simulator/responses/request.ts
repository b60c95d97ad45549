import { RequestError } from '../errors.ts'
import { isObject, readChat } from '../request.ts'
import type { ChatBody, Json } from '../request.ts'

/** Fields of the other API: this one has no such parameters, and says so. */
const unknown = [
  'messages',
  'max_tokens',
  'max_completion_tokens',
  'response_format',
  'reasoning_effort',
  'verbosity',
  'logprobs',
  'seed',
  'stop',
  'n',
  'presence_penalty',
  'frequency_penalty',
  'logit_bias',
]

/**
 * Checks a request of the Responses API and says it as a chat: the same conversation gets the same answer.
 *
 * @throws RequestError with status 400.
 */
export function readResponsesRequest(body: unknown): ChatBody {
  if (!isObject(body)) throw new RequestError(400, 'The body of the request must be a JSON object.')
  const stranger = unknown.find((name) => name in body)
  if (stranger !== undefined) {
    throw new RequestError(400, `Unknown parameter: '${stranger}'.`, stranger, 'unknown_parameter')
  }
  if (body['stream'] !== true) {
    const text = 'This simulator only streams responses: ask with stream: true.'
    throw new RequestError(400, text, 'stream', 'unsupported_value')
  }
  if (body['previous_response_id'] !== undefined && body['previous_response_id'] !== null) {
    const text = 'This simulator keeps no responses: send the whole conversation as input.'
    throw new RequestError(400, text, 'previous_response_id', 'previous_response_not_found')
  }
  const chat = readChat({
    ...body,
    messages: toMessages(body),
    max_completion_tokens: body['max_output_tokens'],
    reasoning_effort: isObject(body['reasoning']) ? body['reasoning']['effort'] : undefined,
    response_format: toFormat(body['text']),
    ...(Array.isArray(body['tools']) ? { tools: body['tools'].map(toTool) } : {}),
    tool_choice: toChoice(body['tool_choice']),
  })
  return chat
}

function toMessages({ input, instructions }: Json): Json[] {
  const first = typeof instructions === 'string' ? [{ role: 'system', content: instructions }] : []
  if (typeof input === 'string') return [...first, { role: 'user', content: input }]
  if (!Array.isArray(input) || input.length === 0) {
    const text = "Missing required parameter: 'input', a string or an array of items."
    throw new RequestError(400, text, 'input', 'missing_required_parameter')
  }
  return [...first, ...joinCalls(input.map(toMessage))]
}

function toMessage(item: unknown, index: number): Json {
  const at = `input[${index}]`
  if (!isObject(item)) throw new RequestError(400, `Invalid type for '${at}': expected an object.`, at)
  switch (item['type'] ?? 'message') {
    case 'message':
      return { role: item['role'], content: toContent(item['content'], `${at}.content`) }
    case 'function_call': {
      const { call_id: id, name, arguments: text } = item
      const call = { id, type: 'function', function: { name, arguments: text } }
      return { role: 'assistant', content: null, tool_calls: [call] }
    }
    case 'function_call_output':
      return {
        role: 'tool',
        tool_call_id: item['call_id'],
        content: toContent(item['output'], `${at}.output`),
      }
    default:
      throw new RequestError(400, `Invalid value: '${String(item['type'])}'.`, `${at}.type`, 'invalid_value')
  }
}

/** Calls of one turn are items of their own here, and one message there. */
function joinCalls(messages: readonly Json[]): Json[] {
  const joined: Json[] = []
  for (const message of messages) {
    const last = joined.at(-1)
    const calls = message['tool_calls']
    const turn = last?.['role'] === 'assistant' && Array.isArray(calls)
    if (!last || !turn) joined.push(message)
    else joined[joined.length - 1] = { ...last, tool_calls: [...callsOf(last), ...calls] }
  }
  return joined
}

function callsOf({ tool_calls: calls }: Json): readonly unknown[] {
  return Array.isArray(calls) ? calls : []
}

const textParts = ['input_text', 'output_text']

function toContent(content: unknown, at: string): unknown {
  if (!Array.isArray(content)) return content
  const parts = content.map((part: unknown, index) => toPart(part, `${at}[${index}]`))
  const [first] = parts
  return parts.length === 1 && first?.['type'] === 'text' ? first['text'] : parts
}

function toPart(part: unknown, at: string): Json {
  const type = isObject(part) ? part['type'] : undefined
  if (!isObject(part) || typeof type !== 'string') {
    throw new RequestError(400, `Invalid type for '${at}': expected a part.`, at, 'invalid_type')
  }
  if (textParts.includes(type)) return { type: 'text', text: part['text'] }
  if (type === 'refusal') return { type: 'text', text: part['refusal'] }
  if (type === 'input_image') return { type: 'image_url', image_url: { url: part['image_url'] } }
  if (type === 'input_file') return { type: 'file' }
  const text = `Invalid value: '${type}'. Supported values are: 'input_text', 'input_image', 'output_text', 'refusal' and 'input_file'.`
  throw new RequestError(400, text, `${at}.type`, 'invalid_value')
}

function toTool(tool: unknown, index: number): unknown {
  if (!isObject(tool) || tool['type'] !== 'function') return tool
  const { type, name, description, parameters } = tool
  if (typeof name !== 'string') {
    const param = `tools[${index}].name`
    throw new RequestError(
      400,
      `Missing required parameter: '${param}'.`,
      param,
      'missing_required_parameter',
    )
  }
  return { type, function: { name, description, parameters } }
}

function toChoice(choice: unknown): unknown {
  return isObject(choice) ? { type: 'function', function: { name: choice['name'] } } : choice
}

function toFormat(text: unknown): Json | undefined {
  const format = isObject(text) ? text['format'] : undefined
  if (!isObject(format)) return undefined
  return format['type'] === 'json_schema' ? { type: 'json_schema', json_schema: format } : format
}
