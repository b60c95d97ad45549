import { isObject } from '../checks.ts'
import { ChatError } from '../errors.ts'
import { causeOf, isKnownCode } from './codes.ts'
import { isBlank } from './json.ts'
import { knownParam, type Param, paramOf, presentable, refusalText } from './words.ts'

/** What an upstream's HTTP error is made of. */
export interface HttpFailure {
  readonly status: number
  /** The parsed body, or its text. */
  readonly body: unknown
  readonly headers?: { get(name: string): string | null } | undefined
  readonly cause?: unknown
}

/** What the request itself got wrong: the only statuses that a client gets as they are. */
const ownStatuses: readonly number[] = [400, 404, 413, 415, 422]
/** A conflict, too early, no capacity (Groq's 498), a proxy that lost its patience: another time it may go well. */
const passingStatuses: readonly number[] = [409, 425, 498, 499]

/**
 * An HTTP refusal of the upstream as an error of ours. A refusal of *our* credentials is our fault, not the
 * client's: 502, never 401, even where the upstream says 400. What the request itself got wrong keeps the upstream's
 * status; and its words where it names a known field of the request. Everything else is said in fixed words, and the
 * upstream's own are in the cause.
 */
export function failureOfStatus({ status, body, headers, cause }: HttpFailure): ChatError {
  const retryAfterMs = readRetryAfter(headers)
  const layers = layersOf(body)
  const upstreamCode = codeIn(layers)
  const words = wordsIn(body)
  const kind = kindsIn(layers)
  if (status === 401 || status === 403 || (status === 400 && isAboutKey(kind, words)))
    return credentialsRefused(` (HTTP ${status})`, cause)
  if (status === 429 || status === 402 || (status === 400 && tooMany.test(kind)))
    return rateLimited(layers, { status, retryAfterMs, cause })
  if (status === 408 || status >= 500) {
    const message = `The model's server is not available (HTTP ${status}). Try again in a moment.`
    const ours = status === 503 || status === 529 ? 503 : 502
    return new ChatError('upstream-unavailable', message, { cause, retryAfterMs, status: ours, upstreamCode })
  }
  if (status >= 400) {
    return refused('upstream-rejected', layers, { words, httpStatus: status, cause, ...fateOf(status) })
  }
  const message = `The model's server answered with HTTP ${status} instead of a stream. Check the base URL.`
  return new ChatError('upstream-bad-response', message, { cause, retryable: false })
}

/** The error that an event of a 200 stream reports, in any of the shapes vendors use; undefined when it reports none. */
export function failureInStream(event: unknown): ChatError | undefined {
  if (Array.isArray(event)) {
    for (const item of event) {
      const failure = isObject(item) ? failureInStream(item) : undefined
      if (failure) return failure
    }
    return undefined
  }
  if (!isObject(event)) return undefined
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
  if (status === 429 || status === 402 || tooMany.test(kind)) return rateLimited(layers, { status, cause })
  if (status === 401 || status === 403) return credentialsRefused(` (HTTP ${status})`, cause)
  const words = wordsIn(report) ?? wordsIn(around)
  if (isAboutKey(kind, words)) return credentialsRefused('', cause)
  const rejected =
    status === undefined ? badRequest.test(kind) : status >= 400 && status < 500 && status !== 408
  if (rejected && words) {
    return refused('upstream-error', layers, { words, cause, ...fateOf(status ?? impliedStatus(kind)) })
  }
  const text = "The model's server reported an error instead of going on with its answer."
  return new ChatError('upstream-error', text, { cause, upstreamCode: codeIn(layers) })
}

// Words of OpenAI, Anthropic, Google, Amazon, Databricks, DashScope, Hugging Face and servers that follow them. The
// numbers are Zhipu's (1302) and MiniMax's.
const tooMany =
  /rate.?limit|request.?limit|insufficient_quota|resource_exhausted|too.?many.?requests|throttl|\b1302\b|\bstatus_code:100[28]\b/i
const spentQuota = /insufficient_quota|\bstatus_code:1008\b/i
const credentials =
  /invalid.?api.?key|authentication|unauthenticated|unauthorized|permission_(?:denied|error)|\bstatus_code:1004\b/i
const badRequest =
  /invalid_request|invalid_argument|bad.?request|context_length|unprocessable|validation|data_inspection_failed|not_found_error/i
// Google's and xAI's, with status 400. Only as the first words: what follows may repeat the request.
const refusedKey =
  /^\W*(?:(?:incorrect|invalid) api.?key|api.?key (?:is )?(?:not valid|invalid|incorrect|expired|not found))/i

function isAboutKey(kind: string, words = ''): boolean {
  return credentials.test(kind) || refusedKey.test(words)
}

function impliedStatus(kind: string): number {
  return /not_found_error/i.test(kind) ? 404 : 400
}

/** What becomes of a refusal with this status: ours, and whether asking again can help. */
function fateOf(status: number): { readonly status: number; readonly retryable: boolean } {
  const ours = ownStatuses.includes(status) ? status : 502
  return { status: ours, retryable: passingStatuses.includes(status) }
}

function credentialsRefused(how: string, cause: unknown): ChatError {
  const message = `The model's server refused this service's credentials${how}. Check its API key and what the key may use.`
  return new ChatError('upstream-auth', message, { cause })
}

interface Limit {
  readonly status: number | undefined
  readonly retryAfterMs?: number | undefined
  readonly cause: unknown
}

function rateLimited(layers: readonly unknown[], { status, retryAfterMs, cause }: Limit): ChatError {
  const spent = status === 402 || spentQuota.test(kindsIn(layers))
  const message = spent
    ? "This service has used up its quota at the model's server."
    : "The model's server is getting too many requests. Try again later."
  return new ChatError('rate-limited', message, {
    cause,
    retryAfterMs,
    retryable: !spent,
    upstreamCode: spent ? 'insufficient_quota' : codeIn(layers),
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
  if (Array.isArray(choices) || isObject(event['usage'])) return undefined
  if (isAllWell(event)) return undefined
  if (typeof error === 'object' && error !== null) return error
  if (!isBlank(event['detail'])) return event['detail']
  return bareWords.some((key) => typeof event[key] === 'string') ? event : undefined
}

/** Whether an event says of itself that it is no failure: by its code, or by being of another kind. */
function isAllWell(event: Readonly<Record<string, unknown>>): boolean {
  if (/^(?:0|200)$/.test(wordOf(event, 'code'))) return true
  const type = wordOf(event, 'type')
  return type !== '' && !mishap.test(type) && statusIn([event]) === undefined
}

const mishap =
  /error|exception|fail|invalid|denied|forbidden|unauth|rejected|limit|throttl|quota|unavailable|overload|timeout|bad.?request|not.?found/i

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
  return layers
    .flatMap((layer) => [
      ...kindKeys.map((key) => wordOf(layer, key)),
      `status_code:${wordOf(layer, 'status_code')}`,
    ])
    .join(' ')
}

/** The upstream's own word for what went wrong, where it is a known one: `code` before `type`. */
function codeIn(layers: readonly unknown[]): string | undefined {
  for (const key of kindKeys) {
    const word = layers.map((layer) => wordOf(layer, key)).find(isKnownCode)
    if (word !== undefined) return word
  }
  return undefined
}

const wordKeys = ['message', 'error', 'errors', 'detail', ...bareWords, 'status_msg'] as const

/** What is read of a sentence. */
const MAX_READ = 4000

/** The upstream's own sentence, as it is: to be understood, not to be shown. */
function wordsIn(value: unknown, depth = 5): string | undefined {
  if (typeof value === 'string') return value.trim() === '' ? undefined : value.slice(0, MAX_READ)
  if (depth === 0) return undefined
  if (Array.isArray(value)) return wordsIn(value[0], depth - 1)
  for (const key of wordKeys) {
    const words = wordsIn(property(value, key), depth - 1)
    if (words) return words
  }
  return undefined
}

/** The field of the request that a report names: OpenAI's `param`, or the `loc` of FastAPI's `detail`. */
function paramIn(layers: readonly unknown[]): Param | undefined {
  for (const layer of layers) {
    const detail = property(layer, 'detail')
    const place = property(Array.isArray(detail) ? detail[0] : undefined, 'loc')
    const param = knownParam(property(layer, 'param')) ?? (Array.isArray(place) ? paramOf(place) : undefined)
    if (param) return param
  }
  return undefined
}

interface Refusal {
  /** The upstream's own. */
  readonly words: string | undefined
  /** The upstream's own, where the refusal came over HTTP. */
  readonly httpStatus?: number
  readonly status: number
  readonly retryable: boolean
  readonly cause: unknown
}

/**
 * A request that the upstream calls wrong. Its own words are shown only together with a field of the request that they are about:
 * without one they can be about anything, and they have held keys, headers and addresses inside a network.
 */
function refused(
  code: 'upstream-rejected' | 'upstream-error',
  layers: readonly unknown[],
  { words, httpStatus, ...rest }: Refusal,
): ChatError {
  const param = paramIn(layers)
  const upstreamCode = codeIn(layers)
  const known = causeOf(upstreamCode, words)
  const ours =
    known?.text ??
    (param
      ? 'One of its fields is wrong.'
      : 'Its reason is not shown, because it names no field of the request.')
  const shown = param?.whole && words !== undefined ? presentable(words) : undefined
  return new ChatError(code, refusalText(httpStatus, shown, ours), {
    ...rest,
    param: param?.path ?? known?.param,
    upstreamCode: isCode(upstreamCode) ? upstreamCode : (known?.code ?? upstreamCode),
  })
}

/** Whether a word is more than the type of an error: `invalid_request_error` says nothing that the status does not. */
function isCode(word: string | undefined): boolean {
  return word !== undefined && !/_error$|^(?:Bad|Not)|^INVALID_ARGUMENT$|Error$/.test(word)
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
