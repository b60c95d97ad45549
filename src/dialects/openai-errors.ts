import { type ChatError, type ErrorCode, statusOf } from '../errors.ts'
import { json, retryAfter } from '../http.ts'
import type { ChatDelta, HttpReply } from '../types.ts'

/** What OpenAI's API reports an error as. */
interface ErrorReport {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly param: string | null
    readonly code: string | null
  }
}

type Failure = Pick<ChatError, 'code' | 'message' | 'retryable'> & {
  readonly param?: string | undefined
  /** The upstream's own word for it. */
  readonly upstreamCode?: string | undefined
}

/**
 * A failure before the stream began: its status and `{"error":{"message","type","param","code"}}`. The official
 * clients ask again when `x-should-retry` says so, whatever the status.
 */
export function refuse(error: ChatError, headers: Readonly<Record<string, string>> = {}): HttpReply {
  const retry = { ...retryAfter(error), 'x-should-retry': String(error.retryable) }
  const status = statusFor(error)
  return json(status, report(error, status), { ...headers, ...retry })
}

/** A failure in the middle of a stream, as JSON text. */
export function errorInStream(delta: Extract<ChatDelta, { type: 'error' }>): string {
  const { code, status = statusOf(code) } = delta
  return JSON.stringify(report(delta, statusFor({ code, status })))
}

function report(failure: Failure, status: number): ErrorReport {
  const { message, param = null } = failure
  return { error: { message, type: typeOf(failure, status), param, code: codeOf(failure) } }
}

// A model that a request may not name is, for these clients, a model that does not exist.
function statusFor({ code, status }: { readonly code: ErrorCode; readonly status: number }): number {
  return code === 'model-not-allowed' ? statusOf('not-found') : status
}

/** The words of OpenAI's guide to error codes. */
function typeOf(failure: Failure, status: number): string {
  if (failure.code === 'rate-limited') return failure.retryable ? 'rate_limit_error' : 'insufficient_quota'
  if (status >= 500 || failure.code === 'cancelled') return 'server_error'
  if (status === 401) return 'authentication_error'
  return status === 403 ? 'permission_error' : 'invalid_request_error'
}

function codeOf({ code, retryable, upstreamCode }: Failure): string | null {
  // What the upstream says of this service's key would be read as said of the client's.
  if (code === 'upstream-auth') return code
  // What some upstreams give for a code is a type, which this API says apart.
  const isType = upstreamCode?.endsWith('_error')
  if (upstreamCode !== undefined && !isType) return upstreamCode
  if (code === 'rate-limited') return retryable ? 'rate_limit_exceeded' : 'insufficient_quota'
  if (isType) return null
  return code === 'model-not-allowed' ? 'model_not_found' : code
}
