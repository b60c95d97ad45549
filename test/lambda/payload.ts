import type { IncomingMessage } from 'node:http'
import { randomUUID } from 'node:crypto'

/** What a function receives from its URL: payload format 2.0, as far as a URL without authentication fills it. */
export interface UrlEvent {
  readonly version: '2.0'
  readonly routeKey: '$default'
  readonly rawPath: string
  readonly rawQueryString: string
  readonly cookies?: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  readonly queryStringParameters?: Readonly<Record<string, string>>
  readonly requestContext: Readonly<Record<string, unknown>>
  readonly body?: string
  readonly isBase64Encoded: boolean
}

// Each connection has its own: the service in front of the function ends them.
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'te',
])

/**
 * Builds the event of a request, with the fields and omissions of a real one.
 *
 * - https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
 * - a recorded one: https://docs.powertools.aws.dev/lambda/typescript/latest/api/variables/_aws-lambda-powertools_parser.schemas.LambdaFunctionUrlSchema.html
 *
 * As in the service, TLS ends in front of the function: `x-forwarded-proto` says https although the client spoke http.
 */
export function toUrlEvent(request: IncomingMessage, body: Buffer): UrlEvent {
  const { url = '/', method = 'GET', socket } = request
  const [rawPath = '/', ...query] = url.split('?')
  const rawQueryString = query.join('?')
  const sourceIp = socket.remoteAddress ?? '127.0.0.1'
  const { cookies, headers } = readHeaders(request)
  const now = new Date()

  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString,
    ...(cookies.length > 0 && { cookies }),
    headers: {
      ...headers,
      ...(body.length > 0 && { 'content-length': String(body.length) }),
      'x-forwarded-for': joined(headers['x-forwarded-for'], sourceIp),
      'x-forwarded-port': '443',
      'x-forwarded-proto': 'https',
      'x-amzn-trace-id': headers['x-amzn-trace-id'] ?? traceId(now),
    },
    ...(rawQueryString !== '' && { queryStringParameters: readQuery(rawQueryString) }),
    requestContext: {
      accountId: 'anonymous',
      apiId: 'local',
      domainName: headers['host'] ?? 'localhost',
      domainPrefix: 'local',
      http: {
        method,
        path: rawPath,
        protocol: `HTTP/${request.httpVersion}`,
        sourceIp,
        userAgent: headers['user-agent'] ?? '',
      },
      requestId: randomUUID(),
      routeKey: '$default',
      stage: '$default',
      time: commonLogTime(now),
      timeEpoch: now.getTime(),
    },
    ...(body.length > 0 && {
      body: isText(headers['content-type']) ? body.toString() : body.toString('base64'),
    }),
    isBase64Encoded: body.length > 0 && !isText(headers['content-type']),
  }
}

/** A trace id of today's form, as X-Ray makes them. */
export function traceId(now: Date = new Date()): string {
  const seconds = Math.floor(now.getTime() / 1000).toString(16)
  return `Root=1-${seconds}-${randomUUID().replaceAll('-', '').slice(0, 24)}`
}

/** Lower-cased names, repeated headers joined by a comma; cookies stand apart and only there. */
function readHeaders({ rawHeaders }: IncomingMessage): {
  cookies: string[]
  headers: Record<string, string>
} {
  const headers: Record<string, string> = {}
  const cookies: string[] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    const value = rawHeaders[i + 1]!
    if (name === 'cookie') cookies.push(...value.split(';').map((cookie) => cookie.trim()))
    else if (!hopByHop.has(name)) headers[name] = joined(headers[name], value)
  }
  return { cookies, headers }
}

function readQuery(rawQueryString: string): Record<string, string> {
  const parameters: Record<string, string> = {}
  for (const [name, value] of new URLSearchParams(rawQueryString)) {
    parameters[name] = joined(parameters[name], value)
  }
  return parameters
}

function joined(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before},${value}`
}

function isText(contentType = ''): boolean {
  return /^text\/|\b(json|xml|javascript)\b/i.test(contentType)
}

/** As in `12/Mar/2020:19:03:58 +0000`. */
function commonLogTime(date: Date): string {
  const [, day, month, year, time] = date.toUTCString().split(' ')
  return `${day}/${month}/${year}:${time} +0000`
}
