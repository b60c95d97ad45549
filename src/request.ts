import * as z from 'zod/mini'
import { ChatError } from './errors.ts'
import type { ChatMessage, DialectRequest, RequestLimits } from './types.ts'

/** Arrays and objects within each other: deeper bodies are refused before anything walks them. */
const MAX_DEPTH = 32

/** Roles that only the service may speak in: a page that could use them could rewrite its instructions. */
const reservedRoles = ['system', 'developer', 'tool', 'function']

const range = (low: number, high: number) => z.optional(z.number().check(z.gte(low), z.lte(high)))
const positive = z.optional(z.int().check(z.gte(1)))

// Field names are those of OpenAI's Chat Completions API, as every user of such a server knows them.
const chatRequest = z.strictObject({
  messages: z
    .array(z.strictObject({ role: z.enum(['user', 'assistant']), content: z.string() }))
    .check(z.minLength(1)),
  model: z.optional(z.string().check(z.minLength(1), z.maxLength(200))),
  stream: z.optional(z.boolean()),
  n: z.optional(z.literal(1)),
  temperature: range(0, 2),
  top_p: range(0, 1),
  max_tokens: positive,
  max_completion_tokens: positive,
  stop: z.optional(z.union([z.string(), z.array(z.string()).check(z.maxLength(4))])),
  seed: z.optional(z.int()),
  presence_penalty: range(-2, 2),
  frequency_penalty: range(-2, 2),
  reasoning_effort: z.optional(z.string().check(z.minLength(1), z.maxLength(32))),
})

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
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new ChatError('invalid-request', `The body must be a JSON object; got ${kindOf(body)}.`)
  }
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null))
  const asked = withMessages(given)
  const { messages } = asked
  if (Array.isArray(messages) && messages.length > maxMessages) {
    const text = `\`messages\` may hold at most ${maxMessages} messages; got ${messages.length}. Leave out the oldest.`
    throw new ChatError('limit-exceeded', text, { param: 'messages' })
  }
  const result = chatRequest.safeParse(asked)
  if (!result.success) throw explain(result.error.issues[0]!, asked)
  const fields = result.data
  return {
    stream: fields.stream ?? true,
    chat: {
      model: fields.model,
      messages: fields.messages,
      temperature: fields.temperature,
      topP: fields.top_p,
      maxOutputTokens: fields.max_completion_tokens ?? fields.max_tokens,
      stop: fields.stop,
      seed: fields.seed,
      presencePenalty: fields.presence_penalty,
      frequencyPenalty: fields.frequency_penalty,
      reasoningEffort: fields.reasoning_effort,
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

function explain(issue: z.core.$ZodIssue, body: unknown): ChatError {
  const value = issue.path.reduce(
    (at: unknown, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], // zod walked this path already
    body,
  )
  const param = pathOf(issue.path)
  if (issue.path.at(-1) === 'role' && typeof value === 'string' && reservedRoles.includes(value)) {
    const text = `\`${param}\` must be "user" or "assistant"; got "${value}". Instructions are set on the server.`
    return new ChatError('role-not-allowed', text, { param })
  }
  if (issue.code === 'unrecognized_keys') {
    const key = pathOf([...issue.path, String(issue.keys[0]).slice(0, 60)])
    return new ChatError('invalid-request', `\`${key}\` is not a field of this request.`, { param: key })
  }
  const where = param === '' ? 'The body' : `\`${param}\``
  return new ChatError(
    'invalid-request',
    `${where} must be ${expectation(issue)}; got ${show(value, issue.path)}.`,
    {
      param,
    },
  )
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'int' ? 'a whole number' : withArticle(issue.expected)
    case 'invalid_value':
      return oneOf(issue.values)
    case 'invalid_union':
      return 'a string or an array of at most 4 strings'
    case 'too_small':
      return sized.includes(issue.origin) ? `a non-empty ${issue.origin}` : `at least ${issue.minimum}`
    case 'too_big':
      return issue.origin === 'string'
        ? `at most ${issue.maximum} characters long`
        : `at most ${issue.maximum}`
    default:
      return 'valid'
  }
}

/** Kinds of values whose minimum is a length; it is 1 wherever this file sets one. */
const sized: readonly string[] = ['array', 'string']

function oneOf(values: readonly unknown[]): string {
  const words = values.map((value) => JSON.stringify(value))
  return words.length === 1 ? words[0]! : `one of ${words.join(', ')}`
}

// Words of a conversation are never repeated; a role, a number, a model's name are.
const spoken = ['messages', 'content', 'prompt', 'stop']

function show(value: unknown, path: readonly PropertyKey[]): string {
  const mayQuote = path.length > 0 && !spoken.includes(String(path.at(-1))) && typeof path.at(-1) === 'string'
  if (mayQuote && (typeof value === 'number' || typeof value === 'boolean')) return String(value)
  if (mayQuote && typeof value === 'string') return JSON.stringify(value.slice(0, 40))
  return Array.isArray(value) && value.length === 0 ? 'an empty array' : kindOf(value)
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  return withArticle(Array.isArray(value) ? 'array' : typeof value)
}

function withArticle(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`
}

function pathOf(path: readonly PropertyKey[]): string {
  return path
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i > 0 ? '.' : ''}${String(key)}`))
    .join('')
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1))
}
