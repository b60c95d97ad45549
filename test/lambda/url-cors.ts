import type { IncomingMessage, ServerResponse } from 'node:http'

/** A function URL's CORS configuration: https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html */
export interface UrlCors {
  readonly allowOrigins?: readonly string[]
  readonly allowMethods?: readonly string[]
  readonly allowHeaders?: readonly string[]
  readonly exposeHeaders?: readonly string[]
  readonly allowCredentials?: boolean
  /** In seconds, as the service wants it. */
  readonly maxAge?: number
}

/** Answers a preflight as the URL does, without the function; `false` when the request is none. */
export function answerPreflight(request: IncomingMessage, response: ServerResponse, cors: UrlCors): boolean {
  if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined)
    return false

  const { allowMethods = [], allowHeaders = [], maxAge } = cors
  for (const [name, value] of corsHeaders(request, cors)) response.setHeader(name, value)
  if (allowMethods.length > 0) response.setHeader('access-control-allow-methods', allowMethods.join(','))
  if (allowHeaders.length > 0) response.setHeader('access-control-allow-headers', allowHeaders.join(','))
  if (maxAge !== undefined) response.setHeader('access-control-max-age', String(maxAge))
  response.writeHead(200).end()
  return true
}

/** What the URL adds to an answer of the function; nothing for a foreign origin. */
export function corsHeaders({ headers }: IncomingMessage, cors: UrlCors): [name: string, value: string][] {
  const { allowOrigins = [], exposeHeaders = [], allowCredentials = false } = cors
  const { origin } = headers
  if (origin === undefined || !(allowOrigins.includes('*') || allowOrigins.includes(origin))) return []

  const anyone = allowOrigins.includes('*') && !allowCredentials
  return [
    ['access-control-allow-origin', anyone ? '*' : origin],
    ...(anyone ? [] : [['vary', 'Origin'] as [string, string]]),
    ...(allowCredentials ? [['access-control-allow-credentials', 'true'] as [string, string]] : []),
    ...(exposeHeaders.length > 0
      ? [['access-control-expose-headers', exposeHeaders.join(',')] as [string, string]]
      : []),
  ]
}
