/** Every code, the HTTP status it has before a stream began, and whether asking again can help. */
const codes = {
  'invalid-json': [400, false],
  'invalid-request': [400, false],
  'bad-cursor': [400, false],
  'model-not-allowed': [403, false],
  'origin-not-allowed': [403, false],
  'policy-not-allowed': [403, false],
  'not-found': [404, false],
  'method-not-allowed': [405, false],
  'request-timeout': [408, true],
  'cursor-beyond-tail': [409, false],
  gone: [410, false],
  'body-too-large': [413, false],
  'unsupported-media-type': [415, false],
  'misdirected-request': [421, false],
  'role-not-allowed': [422, false],
  'idempotency-mismatch': [422, false],
  'limit-exceeded': [422, false],
  'rate-limited': [429, true],
  internal: [500, false],
  'streaming-unavailable': [501, false],
  'upstream-auth': [502, false],
  'upstream-bad-response': [502, true],
  'upstream-error': [502, true],
  'upstream-incomplete': [502, true],
  'upstream-malformed': [502, true],
  'upstream-rejected': [400, false],
  'upstream-too-large': [502, false],
  'upstream-truncated': [502, true],
  'upstream-unavailable': [503, true],
  'upstream-unreachable': [502, true],
  overloaded: [503, true],
  'server-shutdown': [503, true],
  'store-unavailable': [503, true],
  'producer-lost': [503, true],
  /** All of it was sent, but the store did not take its end: it cannot be read again. */
  'log-incomplete': [500, false],
  'upstream-timeout': [504, true],
  deadline: [504, true],
  'reply-too-large': [502, false],
  /** Not a failure: the reason a reply is aborted with when somebody stopped it. */
  cancelled: [499, false],
} as const satisfies Record<string, readonly [status: number, retryable: boolean]>

/** What can go wrong, as a program sees it. Stable: a code is never renamed or given another meaning. */
export type ErrorCode = keyof typeof codes

export interface ChatErrorOptions {
  /** What really happened. Never sent to a client. */
  readonly cause?: unknown
  /** The request's field that is wrong, as a path: `messages[2].role`. */
  readonly param?: string | undefined
  /** The HTTP status before the stream began, where it differs from the code's own. */
  readonly status?: number | undefined
  /** Whether asking again can help, where it differs from the code's own. */
  readonly retryable?: boolean | undefined
  /** How long to wait before asking again, in milliseconds. */
  readonly retryAfterMs?: number | undefined
  /** The upstream's own short word for it, such as `context_length_exceeded`: for clients of the upstream's API. */
  readonly upstreamCode?: string | undefined
}

/**
 * The one error of this project. `message` is a sentence that a caller may see: it names the field, the
 * expectation, the value and the fix, and never a key, a prompt or a stack. `cause` holds the rest.
 */
export class ChatError extends Error {
  override readonly name = 'ChatError'
  readonly code: ErrorCode
  readonly status: number
  readonly retryable: boolean
  readonly param: string | undefined
  readonly retryAfterMs: number | undefined
  readonly upstreamCode: string | undefined

  constructor(code: ErrorCode, message: string, options: ChatErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.status = options.status ?? codes[code][0]
    this.retryable = options.retryable ?? codes[code][1]
    this.param = options.param
    this.retryAfterMs = options.retryAfterMs
    this.upstreamCode = options.upstreamCode
  }
}

/** The HTTP status of a failure with this code, before the stream began. */
export function statusOf(code: ErrorCode): number {
  return codes[code][0]
}

/** Turns anything thrown into a `ChatError`: what is not one becomes `internal`, with the thrown thing as cause. */
export function toChatError(error: unknown): ChatError {
  if (error instanceof ChatError) return error
  return new ChatError('internal', "Something failed on our side. The details are in the server's log.", {
    cause: error,
  })
}
