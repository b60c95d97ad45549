import { ChatError } from './errors.ts'
import type { ChatRequest } from './types.ts'

/** Says what a value must be, when it is not; `undefined` when it is. */
export type Check = (value: unknown) => string | undefined

/** The fields of a request that mean the same in every dialect. Their names are those of OpenAI's Chat Completions API. */
export const samplingFields = {
  model: textUpTo(200),
  stream: isBoolean,
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

/** These fields after they were checked. */
export interface Sampling {
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

/** Checked fields in our own words. */
export function toSampling(checked: Sampling): Partial<ChatRequest> {
  return {
    ...(checked.model === undefined ? {} : { model: checked.model }),
    temperature: checked.temperature,
    topP: checked.top_p,
    maxOutputTokens: checked.max_completion_tokens ?? checked.max_tokens,
    stop: checked.stop,
    seed: checked.seed,
    presencePenalty: checked.presence_penalty,
    frequencyPenalty: checked.frequency_penalty,
    reasoningEffort: checked.reasoning_effort,
  }
}

/** A body's fields without those that are null, which counts as absent. @throws `ChatError` for what is no object. */
export function requireObject(body: unknown): Record<string, unknown> {
  if (isObject(body)) return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null))
  throw new ChatError('invalid-request', `The body must be a JSON object; got ${kindOf(body)}.`)
}

/** @throws `ChatError` unless `messages` is an array that is not empty, and not too long. */
export function requireMessageList(
  messages: unknown,
  maxMessages: number,
): asserts messages is readonly unknown[] {
  if (!Array.isArray(messages)) throw wrong('messages', 'an array', messages)
  if (messages.length === 0) throw wrong('messages', 'a non-empty array', messages)
  if (messages.length > maxMessages) {
    const text = `\`messages\` may hold at most ${maxMessages} messages; got ${messages.length}. Leave out the oldest.`
    throw new ChatError('limit-exceeded', text, { param: 'messages' })
  }
}

/** Roles that only the service may speak in: a page that could use them could rewrite its instructions. */
const reservedRoles = ['system', 'developer', 'tool', 'function']

/** @throws `ChatError` `role-not-allowed` for a role that a page must not speak in. */
export function requireOwnRole(role: unknown, at: string): void {
  if (typeof role !== 'string' || !reservedRoles.includes(role)) return
  const text = `\`${at}.role\` must be "user" or "assistant"; got "${role}". Instructions are set on the server.`
  throw new ChatError('role-not-allowed', text, { param: `${at}.role` })
}

/** The check of a switch. */
export function isBoolean(value: unknown): string | undefined {
  return typeof value === 'boolean' ? undefined : 'a boolean'
}

export function textUpTo(length: number): Check {
  return (value) => {
    if (typeof value !== 'string') return 'a string'
    if (value === '') return 'a non-empty string'
    return value.length > length ? `at most ${length} characters long` : undefined
  }
}

export function numberFrom(low: number, high: number): Check {
  return (value) => {
    if (typeof value !== 'number') return 'a number'
    if (value < low) return `at least ${low}`
    return value > high ? `at most ${high}` : undefined
  }
}

export function wholeFrom(low: number): Check {
  return (value) => {
    if (!Number.isSafeInteger(value)) return 'a whole number'
    return (value as number) < low ? `at least ${low}` : undefined // a number, just now
  }
}

function isStop(value: unknown): boolean {
  if (typeof value === 'string') return true
  return Array.isArray(value) && value.length <= 4 && value.every((item) => typeof item === 'string')
}

export function wrong(param: string, expectation: string, value: unknown): ChatError {
  const text = `\`${param}\` must be ${expectation}; got ${show(param, value)}.`
  return new ChatError('invalid-request', text, { param })
}

export function unknownField(path: string): ChatError {
  const param = path.slice(0, 80)
  return new ChatError('invalid-request', `\`${param}\` is not a field of this request.`, { param })
}

// Words of a conversation are never repeated; a role, a number, a model's name are.
const spoken = /^messages\b(?!.*\.(?:role|type)$)|(?:content|prompt|stop)$/

function show(param: string, value: unknown): string {
  if (Array.isArray(value) && value.length === 0) return 'an empty array'
  if (spoken.test(param)) return kindOf(value)
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40))
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : kindOf(value)
}

export function kindOf(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  const kind = Array.isArray(value) ? 'array' : typeof value
  return `${/^[aeiou]/.test(kind) ? 'an' : 'a'} ${kind}`
}

/** Whether arrays and objects are nested in more than so many levels. */
export function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1))
}

/** Whether the value is an object with members: not null, not an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
