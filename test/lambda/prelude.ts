/** The response head that a streaming handler states with `awslambda.HttpResponseStream.from()`. */
export interface Prelude {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>
  readonly cookies: readonly string[]
}

/** Finds the prelude in a body that comes in pieces. */
export interface PreludeReader {
  /**
   * Takes the next piece; `undefined` as long as the delimiter has not been seen.
   * `rest` is what of this piece belongs to the payload, possibly nothing. Throws when the prelude makes no sense.
   */
  read(chunk: Buffer): { prelude: Prelude; rest: Buffer } | undefined
  /** Whether any byte has been read. */
  readonly started: boolean
}

/** The content type that announces a prelude. */
export const integrationType = 'application/vnd.awslambda.http-integration-response'

// JSON, eight NUL bytes, payload: `HttpResponseStream` in aws-lambda-ric, and
// https://docs.aws.amazon.com/apigateway/latest/developerguide/response-transfer-mode-lambda.html
const delimiter = Buffer.alloc(8)

/** Reads one prelude; use a new reader for each response. */
export function createPreludeReader(): PreludeReader {
  let seen = Buffer.alloc(0)
  return {
    get started() {
      return seen.length > 0
    },
    read(chunk) {
      seen = Buffer.concat([seen, chunk])
      const end = seen.indexOf(delimiter)
      if (end < 0) return undefined
      return { prelude: toHead(JSON.parse(seen.toString('utf8', 0, end))), rest: seen.subarray(end + 8) }
    },
  }
}

/** Reads the response head out of an object with `statusCode`, `headers` and `cookies`, all of them optional. */
export function toHead(value: unknown): Prelude {
  if (typeof value !== 'object' || value === null) throw new TypeError('A response head must be an object.')
  const { statusCode = 200, headers = {}, cookies = [] } = value as Record<string, unknown>

  const status = Number(statusCode)
  if (!Number.isInteger(status) || status < 100 || status > 599) {
    throw new TypeError(`\`statusCode\` must be a number from 100 to 599; got ${JSON.stringify(statusCode)}.`)
  }
  if (typeof headers !== 'object' || !Array.isArray(cookies)) {
    throw new TypeError('`headers` must be an object and `cookies` an array.')
  }

  const entries = Object.entries(headers ?? {}).map(([name, text]) => [name.toLowerCase(), String(text)])
  return { statusCode: status, headers: Object.fromEntries(entries), cookies: cookies.map(String) }
}
