import { maySecretBeIn } from './secrets.ts'

/** Begins every sentence that can end in the upstream's own words. */
const REFUSED = "The model's server refused the request"

/** The message of a refusal: `words` of the upstream, or a sentence of ours in their place. */
export function refusalText(status: number | undefined, words: string | undefined, ours: string): string {
  const start = status === undefined ? REFUSED : `${REFUSED} (HTTP ${status})`
  return words === undefined ? `${start}. ${ours}` : `${start}: ${words}`
}

/** A message of `refusalText` without the upstream's own words; any other message as it is. */
export function withoutWords(message: string): string {
  return message.replace(/(refused the request(?: \(HTTP \d+\))?): .*$/s, '$1.')
}

/** The upstream's own words in a message of `refusalText`; undefined where it has none. */
export function wordsOf(message: string): string | undefined {
  return /refused the request(?: \(HTTP \d+\))?: (.*)$/s.exec(message)?.[1]
}

/** Reasons of this service's own: an upstream must not seem to have given them, nor the other way round. */
const ownReasons: ReadonlySet<string> = new Set(['abandoned', 'max-steps'])

/** Whether an upstream's own word for how an answer ended may be shown: a few words of letters, and none of ours. */
export function isPlainReason(word: string): boolean {
  return word.length <= 40 && /^[a-z]+(?:[ _-][a-z]+)*$/i.test(word) && !ownReasons.has(word)
}

const MAX_WORDS = 300

/**
 * An upstream's own sentence, made fit to be shown: one line, at most 300 characters. Undefined for a web page, for
 * nothing at all, and for one that may hold a secret: what is left of such a sentence is not shown either.
 */
export function presentable(text: string): string | undefined {
  if (/^\s*<|<(?:!doctype|html|body)\b/i.test(text)) return undefined
  const plain = text
    .slice(0, 10 * MAX_WORDS)
    .replace(/\s+/g, ' ')
    .replace(/[^\P{C}]/gu, '')
    .trim()
  if (plain === '' || maySecretBeIn(plain)) return undefined
  // Cut between words: a half of something is not recognised by a search for the whole.
  return plain.length > MAX_WORDS ? `${plain.slice(0, MAX_WORDS - 1).replace(/\S*$/, '')}…` : plain
}

/** The fields that a request to an upstream can have: OpenAI's two APIs, and what vendors add to them. */
const roots: ReadonlySet<string> = new Set([
  'audio', 'documents', 'enable_thinking', 'extra_body', 'frequency_penalty', 'function_call', 'functions', 'guided_json', 'include',
  'input', 'instructions', 'logit_bias', 'logprobs', 'max_completion_tokens', 'max_output_tokens', 'max_tokens',
  'messages', 'metadata', 'min_p', 'modalities', 'model', 'n', 'parallel_tool_calls', 'prediction', 'presence_penalty', 'previous_response_id',
  'prompt', 'prompt_cache_key', 'provider', 'reasoning', 'reasoning_effort', 'reasoning_format', 'repetition_penalty', 'response_format',
  'safety_identifier', 'safety_settings', 'seed', 'service_tier', 'stop', 'store', 'stream', 'stream_options', 'temperature', 'text',
  'thinking', 'tool_choice', 'tools', 'top_k', 'top_logprobs', 'top_p', 'truncation', 'user', 'verbosity',
  'web_search_options',
]) // prettier-ignore

/** Names of fields inside those. */
const inner: ReadonlySet<string> = new Set([
  'additionalProperties', 'annotations', 'arguments', 'audio', 'budget_tokens', 'cache_control', 'call_id', 'content', 'custom', 'data',
  'definition', 'description', 'detail', 'effort', 'encrypted_content', 'enum', 'file', 'file_data', 'file_id', 'filename', 'format',
  'function', 'function_call', 'grammar', 'id', 'image_url', 'include_usage', 'input', 'input_audio', 'items', 'json_schema', 'mode',
  'name', 'output', 'parameters', 'properties', 'reasoning', 'reasoning_content', 'refusal', 'required', 'role', 'schema', 'strict',
  'summary', 'syntax', 'text', 'thinking', 'tool_call_id', 'tool_calls', 'tool_choice', 'tools', 'type', 'url', 'verbosity', 'voice',
]) // prettier-ignore

/** A field of a request that an upstream names. */
export interface Param {
  /** As this service writes paths: `messages[2].content`. It has known names and places alone. */
  readonly path: string
  /** Whether that is all of what the upstream named. */
  readonly whole: boolean
}

/** The field that a path names, in any way that upstreams write them; undefined for one that no request has. */
export function knownParam(path: unknown): Param | undefined {
  if (typeof path !== 'string' || path.length > 200 || !/^[\w.[\]]+$/.test(path)) return undefined
  return paramOf(path.split(/[.[\]]+/).filter((name) => name !== ''))
}

/** The same for a path in pieces, as FastAPI gives it: `["body", "messages", 2, "content"]`. */
export function paramOf(names: readonly unknown[]): Param | undefined {
  const [root, ...rest] = names[0] === 'body' ? names.slice(1) : names
  if (typeof root !== 'string' || !roots.has(root)) return undefined
  let path = root
  for (const name of rest) {
    if ((typeof name === 'string' || typeof name === 'number') && /^\d{1,6}$/.test(String(name)))
      path += `[${Number(name)}]`
    else if (typeof name === 'string' && inner.has(name)) path += `.${name}`
    else return { path, whole: false }
  }
  return { path, whole: true }
}
