import { ChatError, toChatError } from '../src/errors.ts'
import { decodeUtf8, failure, requirePlainText } from '../src/http.ts'
import type { Frames, Handler, HttpReply, HttpRequest } from '../src/types.ts'
import { type Sink, writeFrames } from './write.ts'

/** What we use of a function URL's event: payload format 2.0 (AWS Lambda developer guide, "Invoking function URLs"). */
export interface FunctionUrlEvent {
  readonly rawPath: string
  readonly rawQueryString?: string | undefined
  readonly headers: Readonly<Record<string, string | undefined>>
  /** The request's cookies, which are not among its headers. */
  readonly cookies?: readonly string[] | undefined
  readonly requestContext: {
    readonly http: { readonly method: string; readonly sourceIp?: string | undefined }
  }
  readonly body?: string | undefined
  readonly isBase64Encoded?: boolean | undefined
}

/** What we use of the runtime's response stream. It is no `Writable`: the runtime makes it from a request of its own. */
export interface LambdaStream extends Sink {
  write(chunk: string | Uint8Array): boolean
  on(event: 'error', listener: (error: unknown) => void): unknown
  end(): unknown
}

export interface LambdaContext {
  getRemainingTimeInMillis(): number
}

export interface LambdaOptions {
  /**
   * Determines the authenticated sender of a request, from what the function URL checked (`authorizer: aws_iam`) or by
   * itself: a string, undefined for an anonymous one, or a promise of either. Default: all requests are anonymous.
   * Throw a `ChatError` to refuse a request; anything else that it throws or returns is `500 internal`, and is
   * reported to the handler's `onError`.
   */
  principal?(event: FunctionUrlEvent): string | undefined | Promise<string | undefined>
}

export interface ServeOptions extends LambdaOptions {
  readonly event: FunctionUrlEvent
  readonly stream: LambdaStream
  readonly context: LambdaContext
  /** `awslambda.HttpResponseStream.from`: puts status and headers before what is written. */
  readonly from: (
    stream: LambdaStream,
    head: {
      readonly statusCode: number
      readonly headers: Readonly<Record<string, string>>
      readonly cookies?: readonly string[]
    },
  ) => LambdaStream
}

/** The answer ends with an `error` so long before the function would be cut off without a word. */
const DEADLINE_MARGIN_MS = 1500
/** Reading ends so long before that, even when a store does not. */
const CUT_MARGIN_MS = 1000

/** Characters of one write; at most three times as many bytes. */
const WRITE_LENGTH = 1365

/** What the runtime's global offers; there is no package to import it from. */
interface Runtime {
  streamifyResponse(
    handler: (event: FunctionUrlEvent, stream: LambdaStream, context: LambdaContext) => Promise<void>,
  ): unknown
  readonly HttpResponseStream: { readonly from: ServeOptions['from'] }
}

/**
 * Carries a handler on AWS Lambda, behind a function URL with `InvokeMode: RESPONSE_STREAM`:
 * `export const handler = toLambda(createHandler(…))`.
 *
 * The function is not told when its client leaves: an answer goes on to its end, its deadline, or a stop.
 * @throws when it is called outside of Lambda's Node.js runtime.
 */
export function toLambda(handler: Handler, options: LambdaOptions = {}): unknown {
  const { awslambda: runtime } = globalThis as { awslambda?: Runtime } // a global of the platform
  if (!runtime) {
    throw new Error('toLambda() needs the Node.js runtime of AWS Lambda, which has the global `awslambda`.')
  }
  return runtime.streamifyResponse((event, stream, context) =>
    serve(handler, { ...options, event, stream, context, from: runtime.HttpResponseStream.from }),
  )
}

/** Answers one invocation. What `toLambda` wraps, for tests and for runtimes that look the same. */
export async function serve(handler: Handler, options: ServeOptions): Promise<void> {
  const { event, stream, context, from } = options
  requireHttp(event)
  const leftMs = context.getRemainingTimeInMillis()
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(), Math.max(0, leftMs - CUT_MARGIN_MS))
  stream.on('error', () => over.abort())
  let out = stream
  try {
    const { principal } = options
    const identify = principal && (() => principal(event))
    const asked: Handler = (request) => handler({ ...request, identify })
    const reply = await answerInTime(asked, toRequest(event, over.signal, leftMs - DEADLINE_MARGIN_MS))
    out = from(stream, toHead(reply))
    // The head leaves with the first write, and is lost without one.
    out.write('')
    await orAborted(writeBody(out, reply.body, over.signal), over.signal)
    // Once the stream has ended the environment may be frozen: nothing of ours may still be running then.
    await orAborted(reply.settled, over.signal)
  } finally {
    clearTimeout(timer)
    over.abort()
    // Never destroy(): that ends the runtime's process.
    out.end()
  }
}

/** A function URL sets cookies by a list of their own, not by a header: AWS Lambda developer guide, "Cookies". */
function toHead({ status, headers }: HttpReply): Parameters<ServeOptions['from']>[1] {
  const { 'set-cookie': cookie, ...others } = headers
  return { statusCode: status, headers: others, ...(cookie === undefined ? {} : { cookies: [cookie] }) }
}

// Thrown before anything is sent, it reaches whoever invoked the function.
function requireHttp({ requestContext }: Partial<FunctionUrlEvent>): void {
  if (requestContext?.http) return
  throw new TypeError(
    'This function answers HTTP requests: call it at its function URL. The event is no request of payload format 2.0.',
  )
}

/** The handler's answer, or, when its time is over before there is one, the news of that. */
function answerInTime(handler: Handler, request: HttpRequest): Promise<HttpReply> {
  const { signal } = request
  return new Promise((resolve) => {
    const giveUp = (): void =>
      resolve(
        failure(new ChatError('deadline', 'There was no answer in the time that this function may take.')),
      )
    signal.addEventListener('abort', giveUp, { once: true })
    if (signal.aborted) giveUp()
    void answer(handler, request).then((reply) => {
      signal.removeEventListener('abort', giveUp)
      resolve(reply)
      // It comes too late to be read: what it holds is freed.
      if (signal.aborted && typeof reply.body !== 'string') void reply.body.return?.()
    })
  })
}

async function answer(handler: Handler, request: HttpRequest): Promise<HttpReply> {
  try {
    return await handler(request)
  } catch (error) {
    return failure(toChatError(error))
  }
}

async function writeBody(out: LambdaStream, body: HttpReply['body'], signal: AbortSignal): Promise<void> {
  if (typeof body === 'string') {
    if (body !== '') out.write(body)
    return
  }
  // No stall limit of its own: a stalled reader holds the invocation, which its deadline bounds.
  await writeFrames(inBytes(out), inSmallPieces(body), { signal, stallTimeoutMs: Infinity })
}

/** The stream counts characters of strings as if they were bytes, and would take three times of what it should. */
function inBytes(out: LambdaStream): Sink {
  const encoder = new TextEncoder()
  return {
    write: (chunk) => out.write(encoder.encode(chunk)),
    once: (event, listener) => out.once(event, listener),
    off: (event, listener) => out.off(event, listener),
  }
}

/**
 * What waits for a client that takes nothing is what the stream is willing to hold, and one write: a small one. Frames
 * that are small already, nearly all of them, pass as they are.
 */
function inSmallPieces(frames: Frames): Frames {
  let rest = ''
  function cut(frame: string): IteratorResult<string, undefined> {
    const splitsPair = /[\ud800-\udbff]/.test(frame.charAt(WRITE_LENGTH - 1))
    const end = WRITE_LENGTH - (splitsPair ? 1 : 0)
    rest = frame.slice(end)
    return { value: frame.slice(0, end), done: false }
  }
  return {
    async next() {
      if (rest !== '') return cut(rest)
      const result = await frames.next()
      return result.done || result.value.length <= WRITE_LENGTH ? result : cut(result.value)
    },
    async return() {
      return (await frames.return?.()) ?? { value: undefined, done: true }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

/** Waits for something, but not when `signal` aborts: it may never come then. */
function orAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    work.then(resolve, reject)
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

function toRequest(event: FunctionUrlEvent, signal: AbortSignal, remainingMs: number): HttpRequest {
  const { rawPath, rawQueryString, cookies, body, isBase64Encoded } = event
  const headers = cookies ? { ...event.headers, cookie: cookies.join('; ') } : event.headers
  const fields = { get: (name: string) => headers[name.toLowerCase()] ?? null }
  return {
    method: event.requestContext.http.method,
    url: rawQueryString ? `${rawPath}?${rawQueryString}` : rawPath,
    headers: fields,
    address: event.requestContext.http.sourceIp,
    text: async () => {
      requirePlainText(fields)
      return isBase64Encoded ? decodeBase64(body ?? '') : (body ?? '')
    },
    signal,
    remainingMs,
  }
}

function decodeBase64(text: string): string {
  let bytes: string
  try {
    bytes = atob(text)
  } catch (cause) {
    throw new ChatError('invalid-json', 'The body is marked as base64, but is not.', { cause })
  }
  return decodeUtf8(Uint8Array.from(bytes, (char) => char.charCodeAt(0)))
}
