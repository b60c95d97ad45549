import { ChatError } from './errors.ts'
import type { ChatMessage, DialectRequest, RequestLimits } from './types.ts'

/** Arrays and objects within each other: deeper bodies are refused before anything walks them. */
const MAX_DEPTH = 32

/** Roles that only the service may speak in: a page that could use them could rewrite its instructions. */
const reservedRoles = ['system', 'developer', 'tool', 'function']

/** Says what a value must be, when it is not; `undefined` when it is. */
type Check = (value: unknown) => string | undefined

/** The fields beside `messages`. Their names are those of OpenAI's Chat Completions API, which users know. */
const fields = {
  model: textUpTo(200),
  stream: (value) => (typeof value === 'boolean' ? undefined : 'a boolean'),
  n: (value) => (value === 1 ? undefined : '1'),
  temperature: numberFrom(0, 2),
  top_p: numberFrom(0, 1),
  max_tokens: wholeFrom(1),
  max_completion_tokens: wholeFrom(1),
  stop: (value) => (isStop(value) ? undefined : 'a string or an array of at most 4 strings'),
  seed: wholeFrom(Number.MIN_SAFE_INTEGER),
  presence_penalty: numberFrom(-2, 2),
  frequency_penalty: numberFrom(-2, 2),
  reasoning_effort: textUpTo(32),
} as const satisfies Record<string, Check>

/** What is left of a body once its fields were checked. */
interface Fields {
  readonly messages: readonly ChatMessage[]
  readonly model?: string
  readonly stream?: boolean
  readonly temperature?: number
  readonly top_p?: number
  readonly max_tokens?: number
  readonly max_completion_tokens?: number
  readonly stop?: string | readonly string[]
  readonly seed?: number
  readonly presence_penalty?: number
  readonly frequency_penalty?: number
  readonly reasoning_effort?: string
}

/**
 * Parses a JSON body.
 *
 * @throws `ChatError`: `invalid-json` for an empty or malformed one, `limit-exceeded` for one nested too deeply.
 */
export function parseJson(text: string): unknown {
  if (text.trim() === '') {
    throw new ChatError('invalid-json', 'The body is empty; expected JSON, for example {"prompt":"Hello"}.')
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
  if (isDeeper(body, MAX_DEPTH)) {
    throw new ChatError('limit-exceeded', `The body is nested more than ${MAX_DEPTH} levels deep.`)
  }
  return body
}

/**
 * Reads the body of `POST /chat`: `messages`, or `prompt` for a single question, and sampling fields.
 * Fields that are null count as absent.
 *
 * @throws `ChatError` that names the field, what it must be and what it was.
 */
export function readChatRequest(body: unknown, { maxMessages }: RequestLimits): DialectRequest {
  if (!isObject(body)) {
    throw new ChatError('invalid-request', `The body must be a JSON object; got ${kindOf(body)}.`)
  }
  const asked = withMessages(Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null)))
  requireMessages(asked['messages'], maxMessages)
  for (const [name, value] of Object.entries(asked)) if (name !== 'messages') requireField(name, value)
  const checked = asked as unknown as Fields // field by field, just now
  return {
    stream: checked.stream ?? true,
    chat: {
      model: checked.model,
      messages: checked.messages.map(({ role, content }) => ({ role, content })),
      temperature: checked.temperature,
      topP: checked.top_p,
      maxOutputTokens: checked.max_completion_tokens ?? checked.max_tokens,
      stop: checked.stop,
      seed: checked.seed,
      presencePenalty: checked.presence_penalty,
      frequencyPenalty: checked.frequency_penalty,
      reasoningEffort: checked.reasoning_effort,
    },
  }
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

function requireMessages(messages: unknown, maxMessages: number): void {
  if (!Array.isArray(messages)) throw wrong('messages', 'an array', messages)
  if (messages.length === 0) throw wrong('messages', 'a non-empty array', messages)
  if (messages.length > maxMessages) {
    const text = `\`messages\` may hold at most ${maxMessages} messages; got ${messages.length}. Leave out the oldest.`
    throw new ChatError('limit-exceeded', text, { param: 'messages' })
  }
  messages.forEach(requireMessage)
}

function requireMessage(message: unknown, index: number): void {
  const at = `messages[${index}]`
  if (!isObject(message)) throw wrong(at, 'an object', message)
  const { role, content } = message
  if (typeof role === 'string' && reservedRoles.includes(role)) {
    const text = `\`${at}.role\` must be "user" or "assistant"; got "${role}". Instructions are set on the server.`
    throw new ChatError('role-not-allowed', text, { param: `${at}.role` })
  }
  if (role !== 'user' && role !== 'assistant') throw wrong(`${at}.role`, 'one of "user", "assistant"', role)
  if (typeof content !== 'string') throw wrong(`${at}.content`, 'a string', content)
  const other = Object.keys(message).find((key) => key !== 'role' && key !== 'content')
  if (other !== undefined) throw unknownField(`${at}.${other}`)
}

function requireField(name: string, value: unknown): void {
  if (!Object.hasOwn(fields, name)) throw unknownField(name)
  const expectation = fields[name as keyof typeof fields](value) // an own key, just now
  if (expectation !== undefined) throw wrong(name, expectation, value)
}

function textUpTo(length: number): Check {
  return (value) => {
    if (typeof value !== 'string') return 'a string'
    if (value === '') return 'a non-empty string'
    return value.length > length ? `at most ${length} characters long` : undefined
  }
}

function numberFrom(low: number, high: number): Check {
  return (value) => {
    if (typeof value !== 'number') return 'a number'
    if (value < low) return `at least ${low}`
    return value > high ? `at most ${high}` : undefined
  }
}

function wholeFrom(low: number): Check {
  return (value) => {
    if (!Number.isSafeInteger(value)) return 'a whole number'
    return (value as number) < low ? `at least ${low}` : undefined // a number, just now
  }
}

function isStop(value: unknown): boolean {
  if (typeof value === 'string') return true
  return Array.isArray(value) && value.length <= 4 && value.every((item) => typeof item === 'string')
}

function wrong(param: string, expectation: string, value: unknown): ChatError {
  const text = `\`${param}\` must be ${expectation}; got ${show(param, value)}.`
  return new ChatError('invalid-request', text, { param })
}

function unknownField(path: string): ChatError {
  const param = path.slice(0, 80)
  return new ChatError('invalid-request', `\`${param}\` is not a field of this request.`, { param })
}

// Words of a conversation are never repeated; a role, a number, a model's name are.
const spoken = /(?:^messages(?:\[\d+\])?|content|prompt|stop)$/

function show(param: string, value: unknown): string {
  if (Array.isArray(value) && value.length === 0) return 'an empty array'
  if (spoken.test(param)) return kindOf(value)
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40))
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : kindOf(value)
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  const kind = Array.isArray(value) ? 'array' : typeof value
  return `${/^[aeiou]/.test(kind) ? 'an' : 'a'} ${kind}`
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1))
}
