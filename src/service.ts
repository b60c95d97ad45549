import { collect } from './collect.ts'
import { ChatError } from './errors.ts'
import { withHeartbeat } from './heartbeat.ts'
import { empty, json, readBody, stream } from './http.ts'
import type { Replies } from './replies.ts'
import { type Opening, peek, replay } from './replay.ts'
import type { Reply } from './reply.ts'
import { heartbeatFrame } from './sse.ts'
import {
  type ChatRequest,
  type Dialect,
  type DialectRequest,
  type HttpReply,
  type HttpRequest,
  type RequestLimits,
  type StreamStore,
} from './types.ts'

export interface ServiceOptions {
  readonly store: StreamStore
  readonly replies: Replies
  /** Makes a request of ours of what a client asks: model, limits, instructions, tools. */
  readonly prepare: (chat: DialectRequest['chat']) => ChatRequest
  readonly limits: RequestLimits
  readonly maxBodyBytes: number
  readonly acceptWaitMs: number
  readonly heartbeatMs: number
  readonly streamingElsewhere: string | undefined
}

/** What every dialect's routes are made of. Each part answers with a reply or throws a `ChatError`. */
export interface Service {
  /** Reads the body of a request for an answer. */
  read(
    dialect: Dialect,
    request: HttpRequest,
    options?: { readonly plainText?: boolean },
  ): Promise<DialectRequest>
  /** Asks the model: the answer streams, or is one document when that was asked for. */
  answer(dialect: Dialect, asked: DialectRequest, request: HttpRequest): Promise<HttpReply>
  /** Answers with what came after the delta `after` of a reply, and with what comes. */
  follow(dialect: Dialect, reading: Reading, request: HttpRequest): Promise<HttpReply>
  /** Stops a reply, if it is not over. */
  stop(id: string): Promise<HttpReply>
  /** @throws `ChatError` `not-found`. */
  require(id: string): Promise<void>
}

/** Where a reader goes on. */
export interface Reading {
  readonly id: string
  readonly after: number
  /** Runs when the reader has read to the end of the reply. */
  readonly onRead?: (() => void) | undefined
}

/** Joins the log of replies and the ways to read it. */
export function createService(options: ServiceOptions): Service {
  const { store, replies, prepare, limits, maxBodyBytes, acceptWaitMs, heartbeatMs } = options

  /** Starts a reply and answers with its stream, or with a status when it fails before its first delta. */
  async function begin(dialect: Dialect, asked: DialectRequest, request: HttpRequest): Promise<HttpReply> {
    requireStreaming()
    const reply = await start(dialect, asked, request)
    const leave = reply.join()
    // `start` and what comes with it: an answer, or the reason why there is none.
    const { deltas, batches } = await open(reply.id, request.signal).catch((error: unknown) => {
      leave()
      throw error
    })
    if (reply.failure && deltas[1]?.type === 'error') {
      await batches.return?.()
      leave(true)
      return { ...dialect.refuse(reply.failure, headersOf(reply)), settled: reply.settled }
    }
    // From here on it lingers: the request was taken, and who asked may come back for the answer.
    if (request.signal.aborted && !reply.accepted) await abandon(reply)
    const encode = dialect.createEncoder({ replyId: reply.id, usage: asked.usage })
    const preamble = dialect.preamble?.(reply.id)
    const frames = replay(batches, { after: 0, encode, preamble, onEnd: leave })
    return stream(
      alive(frames, dialect),
      { ...headersOf(reply), ...dialect.headers?.(reply.id) },
      reply.settled,
    )
  }

  async function open(id: string, signal: AbortSignal): Promise<Opening> {
    return peek(store.read(id, { after: 0, signal }), { count: 2, waitMs: acceptWaitMs })
  }

  /** Answers with the whole answer as one JSON document. */
  async function whole(dialect: Dialect, asked: DialectRequest, request: HttpRequest): Promise<HttpReply> {
    const reply = await start(dialect, asked, request)
    const leave = reply.join()
    try {
      const answer = await collect(store.read(reply.id, { after: 0, signal: request.signal }))
      const stopped = new ChatError('cancelled', 'The reply was stopped.')
      const document = answer && dialect.toDocument?.(answer)
      const result = document
        ? json(200, document, headersOf(reply))
        : dialect.refuse(reply.failure ?? stopped, headersOf(reply))
      return { ...result, settled: reply.settled }
    } finally {
      if (request.signal.aborted) await abandon(reply)
      leave(!request.signal.aborted)
    }
  }

  async function start(dialect: Dialect, asked: DialectRequest, request: HttpRequest): Promise<Reply> {
    const chat = prepare(asked.chat)
    if (request.signal.aborted) throw leftEarly()
    const { chatId, continues } = asked
    const { remainingMs } = request
    return replies.start(chat, { remainingMs, lingerMs: dialect.lingerMs, chatId, continues })
  }

  function alive(frames: AsyncIterableIterator<string>, { heartbeat = heartbeatFrame }: Dialect) {
    return withHeartbeat(frames, { everyMs: heartbeatMs, frame: heartbeat })
  }

  function requireStreaming(): void {
    const { streamingElsewhere } = options
    if (streamingElsewhere === undefined) return
    const where = streamingElsewhere === '' ? 'its function URL' : streamingElsewhere
    const text = `This address cannot stream. Send the request to ${where}, or ask for one document with "stream": false.`
    throw new ChatError('streaming-unavailable', text)
  }

  return {
    async read(dialect, request, { plainText = false } = {}) {
      return dialect.readRequest(await readBody(request, { maxBytes: maxBodyBytes, plainText }), limits)
    },

    answer(dialect, asked, request) {
      return asked.stream ? begin(dialect, asked, request) : whole(dialect, asked, request)
    },

    async follow(dialect, { id, after, onRead }, { signal }) {
      requireStreaming()
      const state = await store.state(id)
      if (!state) throw unknownReply()
      if (state.sealed && after === state.length) return empty(204, { 'x-reply-id': id })
      if (after > state.length) {
        const text = `The last event id is ${after}, but this reply has only ${state.length} events.`
        throw new ChatError('cursor-beyond-tail', text)
      }
      const batches = store.read(id, { after, signal })
      const encode = dialect.createEncoder({ replyId: id })
      const leave = replies.get(id)?.join()
      const onEnd = (toTheEnd: boolean): void => {
        leave?.(toTheEnd)
        if (toTheEnd) onRead?.()
      }
      const frames = replay(batches, { after, encode, onEnd })
      return stream(alive(frames, dialect), { 'x-reply-id': id, ...dialect.headers?.(id) })
    },

    async stop(id) {
      if (!(await store.state(id))) throw unknownReply()
      const stopped = await replies.get(id)?.stop(new ChatError('cancelled', 'The reply was stopped.'))
      return json(200, { id, status: stopped ? 'stopped' : 'ended' })
    },

    async require(id) {
      if (!(await store.state(id))) throw unknownReply()
    },
  }
}

function headersOf({ id, upstream }: Reply): Readonly<Record<string, string>> {
  return { 'x-reply-id': id, ...(upstream === undefined ? {} : { 'x-upstream': upstream }) }
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
