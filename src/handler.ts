import { collect } from './collect.ts'
import { createEventSourceEncoder, events } from './dialects/events.ts'
import { ChatError, toChatError } from './errors.ts'
import { withHeartbeat } from './heartbeat.ts'
import { empty, failure, json, readBody, readCursor, stream } from './http.ts'
import { type Page, pageRoute } from './page.ts'
import { createReplies } from './replies.ts'
import type { Reply } from './reply.ts'
import { type Opening, peek, replay } from './replay.ts'
import { type Report, toReport } from './report.ts'
import { type Call, dispatch, isHead, type Route } from './router.ts'
import { streamHeaders } from './sse.ts'
import { createMemoryStore } from './stores/memory.ts'
import type {
  ChatRequest,
  DialectRequest,
  Encoder,
  Handler,
  HttpReply,
  HttpRequest,
  StreamStore,
  Upstream,
} from './types.ts'

export interface HandlerOptions {
  readonly upstream: Upstream
  /** The model of a request that names none. */
  readonly model: string
  /** Exact names a request may ask for; `'*'` for any. Default: `model` alone. */
  readonly models?: readonly string[] | '*' | undefined
  /** Put before every conversation. */
  readonly systemPrompt?: string | undefined
  /** Where replies are kept. Default: in memory. */
  readonly store?: StreamStore | undefined
  /** Tokens one answer may have: lowers what a request asks for, and holds where it asks for nothing. */
  readonly maxOutputTokens?: number | undefined
  /** Default 262144. */
  readonly maxBodyBytes?: number | undefined
  /** Default 200. */
  readonly maxMessages?: number | undefined
  /** Replies produced at the same time; above it new ones are refused. Default: no limit. */
  readonly maxReplies?: number | undefined
  /** Characters one answer may have. Default 8 Mi. */
  readonly maxReplyBytes?: number | undefined
  /** How long one answer may take. Default 600000. */
  readonly totalTimeoutMs?: number | undefined
  /** Silence after which the response headers leave without a delta. Default 5000. */
  readonly acceptWaitMs?: number | undefined
  /** Silence after which a comment is sent. Default 15000. */
  readonly heartbeatMs?: number | undefined
  /** How long an answer goes on when nobody reads it any more. Default 30000. */
  readonly lingerMs?: number | undefined
  /** How often the upstream is asked again when it failed before the first delta. Default 2. */
  readonly retries?: number | undefined
  /** The chat page. Default: none. */
  readonly page?: Page | undefined
  /**
   * Set where the platform cannot stream: a request for a stream is then refused with 501 and this address,
   * `''` when it is not known.
   */
  readonly streamingElsewhere?: string | undefined
  /** Ends every reply when it aborts, with its reason: for shutting down. */
  readonly signal?: AbortSignal | undefined
  /** Told of every failure on our side or the upstream's. Its `cause` can hold words of the conversation. */
  readonly onError?: Report | undefined
  /** Default: 128 random bits, base64url. */
  readonly createId?: (() => string) | undefined
  /** Milliseconds since 1970. */
  readonly now?: (() => number) | undefined
}

/** How a reply is to be written. */
interface Reading {
  readonly request: HttpRequest
  readonly createEncoder: (replyId: string) => Encoder
  readonly preamble?: (replyId: string) => string
}

/** Makes the handler that every adapter carries: the routes over one log of replies. */
export function createHandler(options: HandlerOptions): Handler {
  const {
    model: defaultModel,
    models = [defaultModel],
    systemPrompt,
    store = createMemoryStore(),
    maxOutputTokens = Infinity,
    maxBodyBytes = 262_144,
    maxMessages = 200,
    acceptWaitMs = 5000,
    heartbeatMs = 15_000,
    page,
    streamingElsewhere,
    onError,
  } = options
  const report = toReport(onError)
  const replies = createReplies({
    upstream: options.upstream,
    store,
    maxReplies: options.maxReplies ?? Infinity,
    maxReplyBytes: options.maxReplyBytes ?? 8 * 1024 * 1024,
    totalTimeoutMs: options.totalTimeoutMs ?? 600_000,
    lingerMs: options.lingerMs ?? 30_000,
    retries: options.retries ?? 2,
    signal: options.signal,
    report,
    createId: options.createId ?? randomId,
    now: options.now ?? Date.now,
  })

  const routes: readonly Route[] = [
    { method: 'POST', path: /^\/chat$/, answer: postChat },
    { method: 'GET', path: /^\/stream$/, answer: getStream, head: () => empty(200, streamHeaders) },
    { method: 'GET', path: /^\/chat\/([\w-]+)$/, answer: resume, head: headOfReply },
    { method: 'DELETE', path: /^\/chat\/([\w-]+)$/, answer: stop },
    { method: 'POST', path: /^\/chat\/([\w-]+)\/stop$/, answer: stop },
    { method: 'GET', path: /^\/v1\/models$/, answer: listModels },
    { method: 'GET', path: /^\/healthz$/, answer: () => json(200, { status: 'ok' }) },
    ...(page ? [pageRoute(page)] : []),
  ]

  async function postChat({ request }: Call): Promise<HttpReply> {
    const body = await readBody(request, maxBodyBytes)
    const { chat, stream: streamed } = events.readRequest(body, { maxMessages })
    const asked = toRequest(chat)
    return streamed
      ? begin(asked, { request, createEncoder: events.createEncoder })
      : answerWhole(asked, request)
  }

  function getStream({ request, url }: Call): Promise<HttpReply> {
    const cursor = readCursor(request, url)
    if (cursor) return reconnect(cursor.id, cursor.after, request)
    const body = { prompt: url.searchParams.get('prompt') ?? '', model: url.searchParams.get('model') }
    return begin(toRequest(events.readRequest(body, { maxMessages }).chat), {
      request,
      createEncoder: createEventSourceEncoder,
      // Sets the browser's last event id before the first delta: a cut before that must not ask again either.
      preamble: (id) => `retry: 1000\nid: ${id}.0\n\n`,
    })
  }

  // A reconnect is never a new question: what is not known here, or not any more, has ended.
  async function reconnect(id: string | undefined, after: number, request: HttpRequest): Promise<HttpReply> {
    if (id === undefined) {
      throw new ChatError(
        'bad-cursor',
        'On /stream the last event id must be <reply id>.<number>, as it was sent.',
      )
    }
    if (!(await store.state(id))) return empty(204)
    return follow(id, after, { request, createEncoder: createEventSourceEncoder })
  }

  function resume({ request, url, id }: Call): Promise<HttpReply> {
    const cursor = readCursor(request, url)
    if (cursor?.id !== undefined && cursor.id !== id) {
      throw new ChatError('bad-cursor', 'The last event id belongs to another reply.')
    }
    return follow(id, cursor?.after ?? 0, { request, createEncoder: events.createEncoder })
  }

  async function headOfReply({ id }: Call): Promise<HttpReply> {
    if (!(await store.state(id))) throw unknownReply()
    return empty(200, { ...streamHeaders, 'x-reply-id': id })
  }

  async function stop({ id }: Call): Promise<HttpReply> {
    if (!(await store.state(id))) throw unknownReply()
    const stopped = await replies.get(id)?.stop(new ChatError('cancelled', 'The reply was stopped.'))
    return json(200, { id, status: stopped ? 'stopped' : 'ended' })
  }

  function listModels(): HttpReply {
    const names = models === '*' ? [defaultModel] : models
    const data = names.map((id) => ({ id, object: 'model', created: 0, owned_by: 'deltarelay' }))
    return json(200, { object: 'list', data })
  }

  /** Starts a reply and answers with its stream, or with a status when it fails before its first delta. */
  async function begin(asked: ChatRequest, reading: Reading): Promise<HttpReply> {
    requireStreaming()
    const { request, createEncoder, preamble } = reading
    if (request.signal.aborted) throw leftEarly()
    const reply = await replies.start(asked, request)
    const leave = reply.join()
    // `start` and what comes with it: an answer, or the reason why there is none.
    const { deltas, batches } = await open(reply.id, request.signal).catch((error: unknown) => {
      leave()
      throw error
    })
    if (reply.failure && deltas[1]?.type === 'error') {
      await batches.return?.()
      leave()
      return { ...failure(reply.failure, { 'x-reply-id': reply.id }), settled: reply.settled }
    }
    // From here on it lingers: the request was taken, and who asked may come back for the answer.
    if (request.signal.aborted && !reply.accepted) await abandon(reply)
    const encode = createEncoder(reply.id)
    const frames = replay(batches, { after: 0, encode, preamble: preamble?.(reply.id), onEnd: leave })
    return stream(reply.id, withHeartbeat(frames, { everyMs: heartbeatMs }), reply.settled)
  }

  async function open(id: string, signal: AbortSignal): Promise<Opening> {
    return peek(store.read(id, { after: 0, signal }), { count: 2, waitMs: acceptWaitMs })
  }

  /** Answers with what came after `after`, and with what comes. */
  async function follow(id: string, after: number, { request, createEncoder }: Reading): Promise<HttpReply> {
    requireStreaming()
    const state = await store.state(id)
    if (!state) throw unknownReply()
    if (state.sealed && after === state.length) return empty(204, { 'x-reply-id': id })
    if (after > state.length) {
      const text = `The last event id is ${after}, but this reply has only ${state.length} events.`
      throw new ChatError('cursor-beyond-tail', text)
    }
    const reply = replies.get(id)
    const batches = store.read(id, { after, signal: request.signal })
    const frames = replay(batches, { after, encode: createEncoder(id), onEnd: reply?.join() })
    return stream(id, withHeartbeat(frames, { everyMs: heartbeatMs }), Promise.resolve())
  }

  /** Answers with the whole answer as one JSON document. */
  async function answerWhole(asked: ChatRequest, request: HttpRequest): Promise<HttpReply> {
    if (request.signal.aborted) throw leftEarly()
    const reply = await replies.start(asked, request)
    const leave = reply.join()
    try {
      const answer = await collect(store.read(reply.id, { after: 0, signal: request.signal }))
      const headers = { 'x-reply-id': reply.id }
      const error = reply.failure ?? new ChatError('cancelled', 'The reply was stopped.')
      const result = answer ? json(200, answer, headers) : failure(error, headers)
      return { ...result, settled: reply.settled }
    } finally {
      if (request.signal.aborted) await abandon(reply)
      leave()
    }
  }

  function requireStreaming(): void {
    if (streamingElsewhere === undefined) return
    const where = streamingElsewhere === '' ? 'its function URL' : streamingElsewhere
    const text = `This address cannot stream. Send the request to ${where}, or ask for one document with "stream": false.`
    throw new ChatError('streaming-unavailable', text)
  }

  function toRequest({ model = defaultModel, ...chat }: DialectRequest['chat']): ChatRequest {
    if (models !== '*' && model !== defaultModel && !models.includes(model)) {
      const names = [...new Set([defaultModel, ...models])].map((name) => `"${name}"`).join(', ')
      const text = `\`model\` must be one of ${names}; got ${JSON.stringify(model.slice(0, 60))}.`
      throw new ChatError('model-not-allowed', text, { param: 'model' })
    }
    const asked = chat.maxOutputTokens ?? Infinity
    const limit = Math.min(asked, maxOutputTokens)
    return {
      ...chat,
      model,
      messages: systemPrompt ? [{ role: 'system', content: systemPrompt }, ...chat.messages] : chat.messages,
      maxOutputTokens: limit === Infinity ? undefined : limit,
    }
  }

  return async (request) => {
    try {
      return await dispatch(routes, request)
    } catch (error) {
      const known = toChatError(error)
      if (known.code === 'internal') report(known, {})
      const reply = failure(known)
      return isHead(request) ? { ...reply, body: '' } : reply
    }
  }
}

/** Gone before there was anything to come back for. */
async function abandon(reply: Reply): Promise<void> {
  await reply.stop(leftEarly())
}

function leftEarly(): ChatError {
  return new ChatError('cancelled', 'The client left before the answer began.')
}

function unknownReply(): ChatError {
  return new ChatError('not-found', 'There is no reply with this id, or none any more.')
}

function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '')
}
