import type { ChatDelta } from '../src/types.ts'

/** The service's codes, and what only a client can notice. */
export type ChatClientErrorCode =
  | Extract<ChatDelta, { readonly type: 'error' }>['code']
  /** No connection, although it was tried for long enough. */
  | 'unreachable'
  /** A connection, but silence. */
  | 'stalled'
  /** The stream ended before the answer did, and cannot be resumed. */
  | 'incomplete'
  /** Deltas are missing in the middle, and were missing again when they were asked for. */
  | 'gap'
  /** Something that is not a delta, twice. */
  | 'unreadable'
  /** An answer that is not the service's own: a proxy's. */
  | `http-${number}`
  /** A code that is newer than this client. */
  | (string & {})

export interface ChatClientErrorOptions {
  readonly cause?: unknown
  readonly status?: number | undefined
  readonly retryable?: boolean | undefined
  readonly param?: string | undefined
  readonly retryAfterMs?: number | undefined
}

/** Why the client has no answer, or no more of it: something that is no part of the reply itself. */
export class ChatClientError extends Error {
  override readonly name = 'ChatClientError'
  readonly code: ChatClientErrorCode
  /** The HTTP status, when the service refused. */
  readonly status: number | undefined
  /** Whether the same can be expected to work later. */
  readonly retryable: boolean
  /** The request's field that is wrong, as a path. */
  readonly param: string | undefined
  /** How long the service wants to be left alone, in milliseconds. */
  readonly retryAfterMs: number | undefined

  constructor(code: ChatClientErrorCode, message: string, options: ChatClientErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.status = options.status
    this.retryable = options.retryable ?? true
    this.param = options.param
    this.retryAfterMs = options.retryAfterMs
  }
}

/** Trouble that trying again may cure; `error` is what the caller gets when it does not. */
export class Trouble extends Error {
  readonly error: ChatClientError
  /** The stream ended in good order: there is nothing to wait for. */
  readonly orderly: boolean

  constructor(error: ChatClientError, { orderly = false } = {}) {
    super(error.message)
    this.error = error
    this.orderly = orderly
  }
}

/** Reads a refusal: `{"error":{"code","message","param"?}}`, or whatever a proxy put in its place. */
export function toRefusal({ status, statusText, headers }: Response, text: string): ChatClientError {
  const options = {
    status,
    retryable: status === 408 || status === 425 || status === 429 || status >= 500,
    retryAfterMs: readRetryAfter(headers.get('retry-after')),
  }
  try {
    const { code, message, param } = (JSON.parse(text) as { error: Record<string, unknown> }).error
    if (typeof code === 'string') {
      return new ChatClientError(code, String(message), {
        ...options,
        param: typeof param === 'string' ? param : undefined,
      })
    }
  } catch {
    // Not the service's own, so there is nothing in it for a reader.
  }
  return new ChatClientError(
    `http-${status}`,
    `The server answered ${`${status} ${statusText}`.trim()}.`,
    options,
  )
}

/** Seconds, or a date. */
function readRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined
  const ms = /^\s*\d+\s*$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
