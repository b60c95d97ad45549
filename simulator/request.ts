import { RequestError } from './errors.ts'

/** A JSON object whose members are not checked yet. */
export type Json = Readonly<Record<string, unknown>>

/** One message of the conversation, with its content as text. */
export interface Message {
  readonly role: string
  readonly text: string
  readonly images: number
  readonly toolCallId?: string | undefined
  /** The calls an assistant made in this message: id → tool name. */
  readonly calls: ReadonlyMap<string, string>
}

/** A tool the caller offers. */
export interface Tool {
  readonly name: string
  readonly description: string
  readonly parameters: Json
}

/** A chat request that was found correct. */
export interface ChatBody {
  readonly raw: Json
  readonly messages: readonly Message[]
  readonly stream: boolean
  readonly includeUsage: boolean
  readonly maxTokens: number
  readonly tools: readonly Tool[]
  readonly stop: readonly string[]
}

const roles = ['developer', 'system', 'user', 'assistant', 'tool', 'function']

/** Checks a chat request the way OpenAI does. @throws RequestError with status 400. */
export function readChat(body: unknown): ChatBody {
  if (!isObject(body)) throw new RequestError(400, 'The body of the request must be a JSON object.')
  if (typeof body['model'] !== 'string' || body['model'] === '') {
    throw new RequestError(400, 'you must provide a model parameter')
  }
  const { messages } = body
  if (messages === undefined) throw missing('messages')
  if (!Array.isArray(messages)) throw wrongType('messages', 'an array of objects', messages)
  if (messages.length === 0) {
    throw new RequestError(400, "Invalid 'messages': empty array.", 'messages', 'empty_array')
  }
  optional(body, 'stream', 'a boolean', (value) => typeof value === 'boolean')
  optional(body, 'temperature', 'a decimal from 0 to 2', (value) => isBetween(value, 0, 2))
  optional(body, 'top_p', 'a decimal from 0 to 1', (value) => isBetween(value, 0, 1))
  optional(body, 'n', 'the integer 1', (value) => value === 1)
  for (const name of ['max_tokens', 'max_completion_tokens']) {
    optional(body, name, 'an integer of at least 1', (value) => Number.isInteger(value) && Number(value) >= 1)
  }
  optional(body, 'tools', 'an array of objects', Array.isArray)
  const stream = body['stream'] === true
  const streamOptions = body['stream_options']
  if (streamOptions !== undefined && streamOptions !== null && !stream) {
    const text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
    throw new RequestError(400, text, 'stream_options')
  }
  return {
    raw: body,
    messages: messages.map(readMessage),
    stream,
    includeUsage: isObject(streamOptions) && streamOptions['include_usage'] === true,
    maxTokens: Number(body['max_completion_tokens'] ?? body['max_tokens'] ?? Infinity),
    tools: Array.isArray(body['tools']) ? body['tools'].flatMap(readTool) : [],
    stop: [body['stop']].flat().filter((text): text is string => typeof text === 'string' && text !== ''),
  }
}

/** Says whether a value is an object with members (not null, not an array). */
export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readMessage(value: unknown, index: number): Message {
  const at = `messages[${index}]`
  if (!isObject(value)) throw wrongType(at, 'an object', value)
  const { role, content, tool_calls: calls } = value
  if (role === undefined) throw missing(`${at}.role`)
  if (typeof role !== 'string' || !roles.includes(role)) {
    const wanted = roles.map((name) => `'${name}'`).join(', ')
    const text = `Invalid value: '${String(role)}'. Supported values are: ${wanted}.`
    throw new RequestError(400, text, `${at}.role`, 'invalid_value')
  }
  const parts = Array.isArray(content) ? content.filter(isObject) : []
  if (role !== 'assistant' && typeof content !== 'string' && !Array.isArray(content)) {
    throw wrongType(`${at}.content`, 'a string or an array of parts', content)
  }
  const id = value['tool_call_id']
  if (role === 'tool' && typeof id !== 'string') throw missing(`${at}.tool_call_id`)
  return {
    role,
    text:
      typeof content === 'string'
        ? content
        : parts
            .map((part) => String(part['text'] ?? ''))
            .join('\n')
            .trim(),
    images: parts.filter((part) => part['type'] === 'image_url').length,
    toolCallId: typeof id === 'string' ? id : undefined,
    calls: new Map((Array.isArray(calls) ? calls : []).filter(isObject).map(nameOfCall)),
  }
}

function nameOfCall(call: Json): [string, string] {
  const made = isObject(call['function']) ? call['function'] : {}
  return [String(call['id']), String(made['name'])]
}

function readTool(value: unknown, index: number): Tool[] {
  if (!isObject(value)) throw wrongType(`tools[${index}]`, 'an object', value)
  // Other kinds of tools exist ("custom"); nothing here would call them.
  if (value['type'] !== 'function') return []
  const made = value['function']
  if (!isObject(made) || typeof made['name'] !== 'string') throw missing(`tools[${index}].function.name`)
  const { name, description, parameters } = made
  return [
    {
      name,
      description: typeof description === 'string' ? description : '',
      parameters: isObject(parameters) ? parameters : {},
    },
  ]
}

function optional(body: Json, name: string, wanted: string, fits: (value: unknown) => boolean): void {
  const value = body[name]
  if (value !== undefined && value !== null && !fits(value)) throw wrongType(name, wanted, value)
}

function isBetween(value: unknown, low: number, high: number): boolean {
  return typeof value === 'number' && value >= low && value <= high
}

function missing(param: string): RequestError {
  return new RequestError(400, `Missing required parameter: '${param}'.`, param, 'missing_required_parameter')
}

function wrongType(param: string, wanted: string, value: unknown): RequestError {
  const got = JSON.stringify(value)?.slice(0, 40) ?? 'nothing'
  const text = `Invalid value for '${param}': expected ${wanted}, but got ${got} instead.`
  return new RequestError(400, text, param, 'invalid_type')
}
