import { ChatError } from '../errors.ts'
import { isBlank, isFields } from './json.ts'

/** What an upstream's HTTP error is made of. */
export interface HttpFailure {
  readonly status: number
  /** The parsed body, or its text. */
  readonly body: unknown
  readonly headers?: { get(name: string): string | null } | undefined
  readonly cause?: unknown
}

/**
 * An HTTP refusal of the upstream as an error of ours. A refusal of *our* credentials is our fault, not the
 * client's: 502, never 401. What the request itself got wrong keeps the upstream's status and words.
 */
export function failureOfStatus({ status, body, headers, cause }: HttpFailure): ChatError {
  const retryAfterMs = readRetryAfter(headers)
  const layers = layersOf(body)
  const upstreamCode = codeIn(layers)
  if (status === 401 || status === 403) return credentialsRefused(` (HTTP ${status})`, cause)
  if (status === 429) return rateLimited(layers, retryAfterMs, cause)
  if (status === 408 || status >= 500) {
    const message = `The model's server is not available (HTTP ${status}). Try again in a moment.`
    const ours = status === 503 || status === 529 ? 503 : 502
    return new ChatError('upstream-unavailable', message, { cause, retryAfterMs, status: ours, upstreamCode })
  }
  if (status >= 400) {
    const words = wordsIn(body) ?? 'no reason was given'
    return new ChatError(
      'upstream-rejected',
      `The model's server refused the request (HTTP ${status}): ${words}`,
      {
        cause,
        status,
        param: paramIn(layers),
        upstreamCode,
      },
    )
  }
  const message = `The model's server answered with HTTP ${status} instead of a stream. Check the base URL.`
  return new ChatError('upstream-bad-response', message, { cause, retryable: false })
}

/** The error that an event of a 200 stream reports, in any of the shapes vendors use; undefined when it reports none. */
export function failureInStream(event: unknown): ChatError | undefined {
  if (Array.isArray(event)) {
    for (const item of event) {
      const failure = isFields(item) ? failureInStream(item) : undefined
      if (failure) return failure
    }
    return undefined
  }
  if (!isFields(event)) return undefined
  const report = reportIn(event)
  return report === undefined ? undefined : failureOfReport(report, event)
}

/** An `event: error` says so itself, whatever its data looks like. */
export function failureOfEvent(data: unknown): ChatError {
  return failureInStream(data) ?? failureOfReport(data)
}

/** What is known to be an error report, whatever it looks like. `around` is the event that it came in. */
export function failureOfReport(report: unknown, around: unknown = report): ChatError {
  const layers = around === report ? layersOf(report) : [...layersOf(report), around]
  const status = statusIn(layers)
  const kind = kindsIn(layers)
  const cause = report
  if (status === 429 || tooMany.test(kind)) return rateLimited(layers, undefined, cause)
  if (status === 401 || status === 403) return credentialsRefused(` (HTTP ${status})`, cause)
  if (credentials.test(kind)) return credentialsRefused('', cause)
  const upstreamCode = codeIn(layers)
  const rejected =
    status === undefined ? badRequest.test(kind) : status >= 400 && status < 500 && status !== 408
  const words = rejected ? (wordsIn(report) ?? wordsIn(around)) : undefined
  if (words) {
    return new ChatError('upstream-error', `The model's server refused the request: ${words}`, {
      cause,
      retryable: false,
      status: status ?? 400,
      param: paramIn(layers),
      upstreamCode,
    })
  }
  const text = "The model's server reported an error instead of going on with its answer."
  return new ChatError('upstream-error', text, { cause, upstreamCode })
}

// Words of OpenAI, Anthropic, Google, DashScope and servers that follow them.
const tooMany = /rate.?limit|insufficient_quota|resource_exhausted|too.?many.?requests|throttl/i
const credentials =
  /invalid.?api.?key|authentication|unauthenticated|unauthorized|permission_(?:denied|error)/i
const badRequest = /invalid_request|invalid_argument|bad.?request|context_length|unprocessable/i

function credentialsRefused(how: string, cause: unknown): ChatError {
  const message = `The model's server refused this service's credentials${how}. Check its API key and what the key may use.`
  return new ChatError('upstream-auth', message, { cause })
}

function rateLimited(
  layers: readonly unknown[],
  retryAfterMs: number | undefined,
  cause: unknown,
): ChatError {
  const spent = /insufficient_quota/i.test(kindsIn(layers))
  const message = spent
    ? "This service has used up its quota at the model's server."
    : "The model's server is getting too many requests. Try again later."
  return new ChatError('rate-limited', message, {
    cause,
    retryAfterMs,
    retryable: !spent,
    upstreamCode: codeIn(layers),
  })
}

/** Where in an event an error is reported. What is empty beside choices or usage is no report. */
function reportIn(event: Readonly<Record<string, unknown>>): unknown {
  const { error, choices } = event
  if (error && !isBlank(error)) return error
  const inGroq = event['x_groq'] ? property(event['x_groq'], 'error') : undefined
  if (inGroq) return inGroq
  if (event['object'] === 'error' || event['type'] === 'error') return event
  if (Array.isArray(choices) && choices.length > 0) return undefined
  if (!isBlank(event['errors'])) return event['errors']
  // MiniMax says in every event how it went; 0 is well.
  if (Number(wordOf(event['base_resp'], 'status_code')) > 0) return event['base_resp']
  if (Array.isArray(choices) || isFields(event['usage'])) return undefined
  if (typeof error === 'object' && error !== null) return error
  if (!isBlank(event['detail'])) return event['detail']
  return bareWords.some((key) => typeof event[key] === 'string') ? event : undefined
}

/** Fields that hold the sentence where nothing else says that there is an error. */
const bareWords = ['message', 'error_msg', 'error_message', 'msg'] as const

/** The objects of a report, the innermost first: `{"error":{"error":{…}}}`, `[{"error":…}]`, `{"errors":[…]}`. */
function layersOf(report: unknown, depth = 5): readonly unknown[] {
  if (depth === 0 || typeof report !== 'object' || report === null) return []
  if (Array.isArray(report)) return layersOf(report[0], depth - 1)
  const inner = property(report, 'error') ?? property(report, 'errors')
  return [...layersOf(inner, depth - 1), report]
}

function statusIn(layers: readonly unknown[]): number | undefined {
  for (const layer of layers) {
    for (const key of ['status_code', 'statusCode', 'status', 'code', 'error_code']) {
      const value = Number(wordOf(layer, key))
      if (Number.isInteger(value) && value >= 400 && value < 600) return value
    }
  }
  return undefined
}

const kindKeys = ['code', 'type', 'status', 'error_code', 'error_type'] as const

function kindsIn(layers: readonly unknown[]): string {
  return layers.flatMap((layer) => kindKeys.map((key) => wordOf(layer, key))).join(' ')
}

/** The upstream's own word for what went wrong: `code` before `type`. Never a sentence, never what may be a key. */
function codeIn(layers: readonly unknown[]): string | undefined {
  for (const key of kindKeys) {
    for (const layer of layers) {
      const word = wordOf(layer, key)
      // "error" only says that it is one.
      if (/^[a-z][\w.-]{0,63}$/i.test(word) && !/^error$/i.test(word) && presentable(word) === word)
        return word
    }
  }
  return undefined
}

const wordKeys = ['message', 'error', 'errors', 'detail', ...bareWords, 'status_msg'] as const

/** The upstream's own sentence, made fit to be shown: no key, no control characters, at most 300 characters. */
function wordsIn(value: unknown, depth = 5): string | undefined {
  if (typeof value === 'string') {
    return value.trim() === '' || value.trimStart().startsWith('<') ? undefined : presentable(value)
  }
  if (depth === 0) return undefined
  if (Array.isArray(value)) return wordsIn(value[0], depth - 1)
  for (const key of wordKeys) {
    const words = wordsIn(property(value, key), depth - 1)
    if (words) return words
  }
  return undefined
}

function presentable(text: string): string {
  const plain = text
    .replace(/\s+/g, ' ')
    .replace(/[^\P{C}]/gu, '')
    .replace(/\b(?:(?:sk|pk|key|gsk|xai)[-_]|AIza)[\w*.-]{4,}/g, '[key]')
    .replace(/\bBearer \S+/gi, 'Bearer [key]')
    .trim()
  // Cut between words: half of a key is not recognised by whoever looks for the whole one.
  return plain.length > 300 ? `${plain.slice(0, 299).replace(/\S*$/, '')}…` : plain
}

function paramIn(layers: readonly unknown[]): string | undefined {
  // A path such as `messages[0].content`: anything else may repeat what it was sent.
  for (const layer of layers) {
    const param = property(layer, 'param')
    if (typeof param === 'string' && /^[\w.[\]-]{1,100}$/.test(param)) return param
  }
  return undefined
}

// RFC 9110 §10.2.3: seconds, or a date. `retry-after-ms` is OpenAI's own.
function readRetryAfter(headers: HttpFailure['headers']): number | undefined {
  const ms = Number(headers?.get('retry-after-ms') ?? Number.NaN)
  if (ms >= 0) return ms
  const value = headers?.get('retry-after')
  if (!value) return undefined
  const seconds = Number(value)
  const waitMs = Number.isNaN(seconds) ? Date.parse(value) - Date.now() : seconds * 1000
  return waitMs >= 0 ? waitMs : undefined
}

/** A text or a number as text; anything else says nothing, and some of it cannot even be made a text. */
function wordOf(value: unknown, key: string): string {
  const word = property(value, key)
  return typeof word === 'string' || typeof word === 'number' ? String(word) : ''
}

function property(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key] // an object with this own key
    : undefined
}
