/** The body of a refusal, as OpenAI writes it. */
export interface ErrorBody {
  readonly error: {
    readonly message: string | null
    readonly type: string
    readonly param: string | null
    readonly code: string | null
  }
}

/** A request that is answered with an HTTP error. */
export class RequestError extends Error {
  readonly status: number
  readonly body: ErrorBody

  constructor(status: number, message: string, param: string | null = null, code: string | null = null) {
    super(message)
    this.name = 'RequestError'
    this.status = status
    this.body = errorBody(message, 'invalid_request_error', param, code)
  }
}

/** Writes an error in OpenAI's shape. */
export function errorBody(
  message: string,
  type: string,
  param: string | null = null,
  code: string | null = null,
): ErrorBody {
  return { error: { message, type, param, code } }
}
