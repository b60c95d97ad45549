import { ChatError } from './errors.ts'
import { isOwnPage } from './origin.ts'
import { streamHeaders } from './sse.ts'
import type { Frames, HttpReply, HttpRequest } from './types.ts'
import { parseLargeJson } from './json-parse.ts'
import { createPacer, LARGE, sliceEnd } from './pause.ts'

const nothingRuns = Promise.resolve()

/** Headers of every answer that is a document. */
const jsonHeaders = {
  'content-type': 'application/json; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
} as const

/** A reply without a body. */
export function empty(status: number, headers: Readonly<Record<string, string>> = {}): HttpReply {
  return { status, headers, body: '', settled: nothingRuns }
}

/** A reply that is one JSON document. */
export function json(
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): HttpReply {
  return {
    status,
    headers: { ...jsonHeaders, ...headers },
    body: JSON.stringify(value),
    settled: nothingRuns,
  }
}

/** A reply that streams events. */
export function stream(
  body: Frames,
  headers: Readonly<Record<string, string>>,
  settled: Promise<void> = nothingRuns,
): HttpReply {
  return { status: 200, headers: { ...streamHeaders, ...headers }, body, settled }
}

/** The reply that tells of an error: `{"error":{"code","message","param"?}}`. */
export function failure(error: ChatError, headers: Readonly<Record<string, string>> = {}): HttpReply {
  const { code, message, param, status } = error
  return json(
    status,
    { error: { code, message, ...(param ? { param } : {}) } },
    { ...headers, ...retryAfter(error) },
  )
}

/**
 * The header that says when to ask again, where that is known: whole seconds (RFC 9110 §10.2.3), and at most a
 * minute, because a client should not wait for longer without asking.
 */
export function retryAfter({ retryAfterMs }: ChatError): Readonly<Record<string, string>> {
  if (retryAfterMs === undefined) return {}
  return { 'retry-after': String(Math.min(60, Math.max(1, Math.ceil(retryAfterMs / 1000)))) }
}

/** The address of a request. @throws `ChatError` for what is none. */
export function urlOf(request: HttpRequest): URL {
  try {
    // A path that begins with two slashes would otherwise name a host.
    return new URL(request.url.replace(/^\/+/, '/'), 'http://localhost')
  } catch (cause) {
    throw new ChatError('invalid-request', "The request's address is not a URL.", { cause })
  }
}

export interface BodyOptions {
  readonly maxBytes: number
  /** JSON values that it may hold. */
  readonly maxNodes?: number | undefined
  /** Takes JSON that says it is plain text too, where no page of another site can have sent it. */
  readonly plainText?: boolean
}

/** Reads a JSON body. @throws `ChatError` naming what is wrong with it. */
export async function readBody(
  request: HttpRequest,
  { maxBytes, maxNodes, plainText = false }: BodyOptions,
): Promise<unknown> {
  requireJson(request, plainText)
  const length = Number(request.headers.get('content-length') ?? 0)
  if (length > maxBytes) throw tooLarge(maxBytes)
  const text = await request.text(maxBytes)
  if (text.length > maxBytes || (await byteLength(text)) > maxBytes) throw tooLarge(maxBytes)
  return parseLargeJson(text, maxNodes)
}

/** The length of a text as UTF-8. */
async function byteLength(text: string): Promise<number> {
  const encoder = new TextEncoder()
  if (text.length <= LARGE) return encoder.encode(text).length
  const pace = createPacer()
  let length = 0
  for (let from = 0; from < text.length;) {
    const end = sliceEnd(text, from)
    length += encoder.encode(text.slice(from, end)).length
    await pace()
    from = end
  }
  return length
}

// A browser asks before it sends JSON to another site, but sends plain text without asking.
function requireJson(request: HttpRequest, plainText: boolean): void {
  const type = (request.headers.get('content-type') ?? '').trim()
  if (/^application\/json\s*(?:;|$)/i.test(type)) return
  if (plainText && /^(?:text\/plain\s*(?:;|$)|$)/i.test(type) && isOwnPage(request)) return
  const got = type === '' ? 'none' : JSON.stringify(type.slice(0, 60))
  throw new ChatError('unsupported-media-type', `The content type must be application/json; got ${got}.`)
}

/**
 * What an adapter asks before it decodes a body by itself.
 * @throws `ChatError` `unsupported-media-type` for one that is compressed, or not UTF-8.
 */
export function requirePlainText(headers: HttpRequest['headers']): void {
  const encoding = headers.get('content-encoding') ?? 'identity'
  if (encoding.toLowerCase() !== 'identity') {
    const text = `The body must not be compressed; got content encoding ${JSON.stringify(encoding.slice(0, 60))}.`
    throw new ChatError('unsupported-media-type', text)
  }
  const charset = /charset\s*=\s*"?([^";\s]+)/i.exec(headers.get('content-type') ?? '')?.[1] ?? 'utf-8'
  if (!/^(?:utf-?8|us-ascii)$/i.test(charset)) {
    const text = `The body must be UTF-8; got charset ${JSON.stringify(charset.slice(0, 60))}.`
    throw new ChatError('unsupported-media-type', text)
  }
}

/** The text of a body. @throws `ChatError` `invalid-json` for bytes that are no UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw notUtf8()
  }
}

/** The refusal of a body that is no text. Some platforms replace such bytes, and the refusal is that of their JSON. */
export function notUtf8(): ChatError {
  return new ChatError('invalid-json', 'The body is not valid JSON.')
}

/** The refusal of a body that is larger than `maxBytes`. */
export function tooLarge(maxBytes: number): ChatError {
  return new ChatError(
    'body-too-large',
    `The body may have at most ${maxBytes} bytes. Send less: fewer or shorter messages, smaller images.`,
  )
}

/** Where a reader wants to go on: after which delta, of which reply when the cursor says so. */
export interface Cursor {
  readonly id: string | undefined
  readonly after: number
}

/**
 * Reads `Last-Event-ID`, or `?last_event_id=`; the header wins. Undefined when there is neither.
 * `7`, or `<reply id>.7`. @throws `ChatError` `bad-cursor` for anything else.
 */
export function readCursor(request: HttpRequest, url: URL): Cursor | undefined {
  const text = request.headers.get('last-event-id') ?? url.searchParams.get('last_event_id')
  if (text === null || text === '') return undefined
  const match = /^(?:([\w-]{1,64})\.)?(\d{1,15})$/.exec(text)
  if (!match) {
    throw new ChatError(
      'bad-cursor',
      'The last event id must be a number, or <reply id>.<number>, as it was sent.',
    )
  }
  return { id: match[1], after: Number(match[2]) }
}
