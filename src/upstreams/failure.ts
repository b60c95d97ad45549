import { ChatError } from '../errors.ts'

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
  if (status === 401 || status === 403) {
    const message = `The model's server refused this service's credentials (HTTP ${status}). Check its API key and what the key may use.`
    return new ChatError('upstream-auth', message, { cause })
  }
  if (status === 429) return rateLimited(body, retryAfterMs, cause)
  if (status === 408 || status >= 500) {
    const message = `The model's server is not available (HTTP ${status}). Try again in a moment.`
    const ours = status === 503 || status === 529 ? 503 : 502
    return new ChatError('upstream-unavailable', message, { cause, retryAfterMs, status: ours })
  }
  if (status >= 400) {
    const words = messageOf(body) ?? 'no reason was given'
    return new ChatError(
      'upstream-rejected',
      `The model's server refused the request (HTTP ${status}): ${words}`,
      {
        cause,
        status,
        param: paramOf(body),
      },
    )
  }
  const message = `The model's server answered with HTTP ${status} instead of a stream. Check the base URL.`
  return new ChatError('upstream-bad-response', message, { cause, retryable: false })
}

/** The error that a chunk of a 200 stream reports, in any of the shapes vendors use; undefined when it reports none. */
export function failureInStream(chunk: Readonly<Record<string, unknown>>): ChatError | undefined {
  const report = chunk['error'] ?? property(chunk['x_groq'], 'error') ?? bareError(chunk)
  if (!report) return undefined
  const status = statusIn(report)
  const kind = `${wordOf(report, 'type')} ${wordOf(report, 'code')}`
  if (status === 429 || /rate.?limit|insufficient_quota/i.test(kind))
    return rateLimited(chunk, undefined, report)
  if (status === 401 || status === 403) return failureOfStatus({ status, body: chunk, cause: report })
  const fault = (status !== undefined && status >= 400 && status < 500) || /invalid_request/i.test(kind)
  const words = fault ? messageOf(report) : undefined
  if (words) {
    return new ChatError('upstream-error', `The model's server refused the request: ${words}`, {
      cause: report,
      retryable: false,
      status: status ?? 400,
    })
  }
  return new ChatError(
    'upstream-error',
    "The model's server reported an error instead of going on with its answer.",
    {
      cause: report,
    },
  )
}

/** An `event: error` says so itself, whatever its data looks like. */
export function failureOfEvent(data: unknown): ChatError {
  const chunk = typeof data === 'object' && data !== null ? { ...data } : {}
  return (
    failureInStream(chunk) ??
    failureInStream({ error: data || 'error' }) ??
    failureInStream({ error: 'error' })!
  )
}

function rateLimited(body: unknown, retryAfterMs: number | undefined, cause: unknown): ChatError {
  const spent = property(property(body, 'error') ?? body, 'code') === 'insufficient_quota'
  const message = spent
    ? "This service has used up its quota at the model's server."
    : "The model's server is getting too many requests. Try again later."
  return new ChatError('rate-limited', message, { cause, retryAfterMs, retryable: !spent })
}

// {"object":"error",…} of vLLM, {"type":"error",…}, {"detail":…} of FastAPI, {"message":…} without choices.
function bareError(chunk: Readonly<Record<string, unknown>>): unknown {
  if (chunk['object'] === 'error' || chunk['type'] === 'error') return chunk
  if (chunk['choices'] !== undefined || chunk['usage'] !== undefined) return undefined
  if (chunk['detail'] !== undefined) return chunk['detail']
  return typeof chunk['message'] === 'string' ? chunk : undefined
}

function statusIn(report: unknown): number | undefined {
  for (const key of ['status_code', 'status', 'code']) {
    const value = Number(wordOf(report, key))
    if (Number.isInteger(value) && value >= 400 && value < 600) return value
  }
  return undefined
}

/** The upstream's own sentence, made fit to be shown: no key, no control characters, at most 300 characters. */
function messageOf(body: unknown): string | undefined {
  for (const value of [body, property(body, 'error'), property(body, 'detail')]) {
    const text = typeof value === 'string' ? value : property(value, 'message')
    if (typeof text === 'string' && text.trim() !== '' && !text.trimStart().startsWith('<'))
      return presentable(text)
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

function paramOf(body: unknown): string | undefined {
  const param = property(property(body, 'error') ?? body, 'param')
  // A path such as `messages[0].content`: anything else may repeat what it was sent.
  return typeof param === 'string' && /^[\w.[\]-]{1,100}$/.test(param) ? param : undefined
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
