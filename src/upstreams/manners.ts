import type { Fields } from '../types.ts'

/** What a server understands of all that can be asked; learned from its refusals. */
export interface Manners {
  readonly includeUsage: boolean
  readonly maxTokensField: 'max_tokens' | 'max_completion_tokens'
  /** Whether it takes a limit of tokens that is only this service's default. */
  readonly takesDefaultLimit: boolean
  /** The role that a `developer` message is sent in. */
  readonly instructions: 'developer' | 'system'
  /** Whether it takes back what it thought, as `reasoning_content`: DeepSeek and Kimi ask for it within a turn with tools. */
  readonly takesReasoning: boolean
  /** What may be said of reasoning in the Responses API: effort and summary, the effort alone, or nothing. */
  readonly reasoning: 'summary' | 'effort' | 'none'
}

/** A refusal with status 400 or 422, as far as something can be learned from it. */
export interface Refusal {
  /** Everything it says, `param` as well. */
  readonly words: string
  readonly param: string | undefined
  readonly code: string | undefined
}

/** What a server is believed to understand as long as it has not said otherwise. */
export function mannersAt(baseURL: string): Manners {
  // `max_tokens` is deprecated, and refused by reasoning models, where these hosts are; elsewhere the new name is rare.
  const modern = /(?:^|\.)(?:openai|azure)\.com$/.test(new URL(baseURL).hostname)
  return {
    includeUsage: true,
    maxTokensField: modern ? 'max_completion_tokens' : 'max_tokens',
    takesDefaultLimit: true,
    instructions: 'developer',
    takesReasoning: !modern,
    reasoning: 'summary',
  }
}

/** What was learned, for each model: behind one address there can be many, with manners of their own. */
export interface Memory {
  of(model: string): Manners
  keep(model: string, manners: Manners): void
}

/** How many models are remembered: the name is the caller's to choose. */
const MAX_MODELS = 200

/** Creates a memory that knows nothing yet but what to begin with. */
export function createMemory(initial: Manners): Memory {
  const learned = new Map<string, Manners>()
  return {
    of: (model) => learned.get(model) ?? initial,
    keep(model, manners) {
      learned.delete(model)
      learned.set(model, manners)
      for (const oldest of learned.keys()) {
        if (learned.size <= MAX_MODELS) return
        learned.delete(oldest)
      }
    },
  }
}

/** What the refusal of `body` teaches about the server; undefined when it is about something else. */
export function lessonOf(refusal: Refusal, body: Fields, used: Manners): Partial<Manners> | undefined {
  const { words } = refusal
  if (body['stream_options'] && /\b(?:stream_options|include_usage)\b/.test(words))
    return { includeUsage: false }
  if (used.takesReasoning && hasThought(body) && /reasoning/.test(words)) return { takesReasoning: false }
  if (speaksAsDeveloper(body) && /\bdeveloper\b|\brole\b/i.test(words)) return { instructions: 'system' }
  if (body['input'] && body['reasoning']) return lessonInReasoning(refusal, used)
  const field = used.maxTokensField
  // Such a message often names both fields: only the one that was sent can be wrong.
  if (body[field] === undefined || (refusal.param && refusal.param !== field)) return undefined
  if (!isUnsupported(field, refusal)) return undefined
  return { maxTokensField: field === 'max_tokens' ? 'max_completion_tokens' : 'max_tokens' }
}

/**
 * Whether a refusal may be about the limit of tokens, however the server words it: too large for the model, or together
 * with the conversation too large for its context. To be asked about a limit that nobody chose: repeating the request
 * without it changes nothing else.
 */
export function refusesLimit({ words, param }: Refusal, limit: number): boolean {
  return (
    limitWords.test(`${words} ${param ?? ''}`) || new RegExp(`\\b${limit}\\b`).test(words.replaceAll(',', ''))
  )
}

/** How servers name the limit, or the sum of it and the conversation. A conversation alone that is too long is not meant. */
const limitWords = /max\w*[ _-]?tokens|maximum (?:\w+ )?tokens|too many tokens|\brequested\b.*\btokens/i

/** Whether the refusal depends on the conversation as well: then it says nothing about other requests. */
export function isAboutContext({ words }: Refusal): boolean {
  return /context|input|prompt|message/i.test(words)
}

function lessonInReasoning(refusal: Refusal, used: Manners): Partial<Manners> | undefined {
  const { words } = refusal
  if (!/\breasoning\b/.test(words)) return undefined
  if (used.reasoning === 'summary' && /summar/i.test(words)) return { reasoning: 'effort' }
  // A value that a model does not take is the caller's mistake, and the caller's to know.
  return isUnsupported('reasoning', refusal) && !/\bvalue\b/i.test(words) ? { reasoning: 'none' } : undefined
}

function isUnsupported(field: string, { code, words }: Refusal): boolean {
  if (!new RegExp(`\\b${field}\\b`).test(words)) return false
  return (
    code === 'unsupported_parameter' || /unsupported|unrecogni[sz]ed|unknown|not permitted|extra/i.test(words)
  )
}

function hasThought({ messages }: Fields): boolean {
  return (
    Array.isArray(messages) &&
    messages.some((turn: { readonly reasoning_content?: unknown }) => turn.reasoning_content !== undefined)
  )
}

function speaksAsDeveloper(body: Fields): boolean {
  const turns = body['messages'] ?? body['input']
  return Array.isArray(turns) && turns.some((turn: { readonly role?: unknown }) => turn.role === 'developer')
}
