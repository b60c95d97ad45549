import { type Budget, outOfMemory } from './budget.ts'
import { collect } from './collect.ts'
import { inPieces } from './document.ts'
import { errorOf } from './chat.ts'
import { partLost } from './ends.ts'
import { ChatError } from './errors.ts'
import { empty, json, readBody, stream, urlOf } from './http.ts'
import { limitedTo } from './limited.ts'
import { readClient } from './clients.ts'
import { callerOf, chatName, ownerOf, readKey } from './names.ts'
import { type AllowContinue, type DisconnectPolicy, readPolicy, requireAllowed } from './policy.ts'
import type { Replies, Started } from './replies.ts'
import { type Opening, peek } from './peek.ts'
import { replay } from './replay.ts'
import type { Reply } from './reply.ts'
import type { Signer } from './signing.ts'
import { heartbeatFrame } from './sse.ts'
import { createStatePoller } from './state-poller.ts'
import {
  type ChatRequest,
  type Dialect,
  type DialectRequest,
  type HttpReply,
  type HttpRequest,
  type ReplyState,
  type RequestLimits,
  type StreamStore,
} from './types.ts'

export interface ServiceOptions {
  readonly store: StreamStore
  /** Counts what whole answers take while they are put together and sent. */
  readonly budget: Budget
  readonly replies: Replies
  /** Makes a request of ours of what a client asks: model, limits, instructions, tools. */
  readonly prepare: (chat: DialectRequest['chat']) => ChatRequest
  readonly limits: RequestLimits
  readonly signer: Signer
  readonly maxBodyBytes: number
  /** JSON values that a body may hold. */
  readonly maxJsonNodes: number
  readonly acceptWaitMs: number
  readonly heartbeatMs: number
  /** How long a reply goes on without a reader, in milliseconds. */
  readonly lingerMs: number
  readonly allowContinue: AllowContinue
  /** How long somebody who came back is served before it has to come again, in milliseconds. */
  readonly followMs: number
  readonly streamingElsewhere: string | undefined
}

/** What every dialect's routes are made of. Each part answers with a reply or throws a `ChatError`. */
export interface Service {
  /** Reads the body of a request for an answer, and verifies the calls that it has results for. */
  read(
    dialect: Dialect,
    request: HttpRequest,
    options?: { readonly plainText?: boolean },
  ): Promise<DialectRequest>
  /** Asks the model: the answer streams, or is one document when that was asked for. */
  answer(dialect: Dialect, asked: DialectRequest, request: HttpRequest): Promise<HttpReply>
  /** Answers with what came after the delta `after` of a reply, and with what comes. */
  follow(dialect: Dialect, reading: Reading, request: HttpRequest): Promise<HttpReply>
  /** Stops a reply, if it is not over, wherever it is produced. */
  stop(id: string, request: HttpRequest): Promise<HttpReply>
  /** What is known of a reply; undefined when there is none that this request may see. */
  find(id: string, request: HttpRequest): Promise<ReplyState | undefined>
  /** @throws `ChatError` `not-found`, in words that are the same for a reply of somebody else. */
  require(id: string, request: HttpRequest): Promise<ReplyState>
}

/** Where a reader goes on. */
export interface Reading {
  readonly id: string
  readonly after: number
  /** Runs when the reader has read to the end of the reply. Must not reject. */
  readonly onRead?: (() => Promise<void>) | undefined
}

/** Joins the log of replies and the ways to read it. */
export function createService(options: ServiceOptions): Service {
  const { store, budget, replies, prepare, limits, signer, maxBodyBytes, maxJsonNodes } = options
  const { acceptWaitMs, heartbeatMs } = options
  const poller = createStatePoller(store)

  /** Starts a reply and answers with its stream, or with a status when it fails before its first delta. */
  async function begin(dialect: Dialect, asked: DialectRequest, request: HttpRequest): Promise<HttpReply> {
    requireStreaming()
    const { id, fresh, kept, stays, reply, cookie } = await start(dialect, asked, request)
    const leave = reply?.join()
    const settled = reply?.settled
    const limit = limitedTo(request.signal, fresh ? Infinity : options.followMs)
    // `start` and what comes with it: an answer, or the reason why there is none.
    const { deltas, batches } = await open(id, limit.signal).catch((error: unknown) => {
      limit.lift()
      void leave?.()
      throw error
    })
    const head = { ...headersOf(id, reply), ...cookie, ...(kept ? {} : notResumable) }
    if (deltas[1]?.type === 'error') {
      await batches.return?.()
      limit.lift()
      await leave?.(true)
      return {
        ...dialect.refuse(reply?.failure ?? errorOf(deltas[1]), head),
        ...(settled ? { settled } : {}),
      }
    }
    // From here on it lingers: the request was taken, and who asked may come back for the answer.
    if (request.signal.aborted && reply && !reply.accepted && !stays) await abandon(reply)
    const encode = dialect.createEncoder({ replyId: id, usage: asked.usage })
    const preamble = dialect.preamble?.(id)
    const frames = replay(batches, {
      after: 0,
      // What is in no log must not move a reader's cursor.
      encode: kept ? encode : (delta) => encode(delta),
      preamble,
      heartbeat: heartbeatOf(dialect),
      onEnd(toTheEnd) {
        limit.lift()
        return leave?.(toTheEnd)
      },
    })
    return stream(frames, { ...head, ...dialect.headers?.(id) }, settled)
  }

  async function open(id: string, signal: AbortSignal): Promise<Opening> {
    return peek(store.read(id, { after: 0, signal }), { count: 2, waitMs: acceptWaitMs })
  }

  // Who names a reply by its key was told of it once: it is not unknown, but lost.
  async function requireThere(id: string): Promise<void> {
    const state = await store.state(id)
    if (state && !state.lost) return
    throw new ChatError('gone', 'The reply of this Idempotency-Key was lost. Ask again with a new key.')
  }

  /** Answers with the whole answer as one JSON document. */
  async function whole(dialect: Dialect, asked: DialectRequest, request: HttpRequest): Promise<HttpReply> {
    const { id, fresh, stays, reply, cookie } = await start(dialect, asked, request)
    const leave = reply?.join()
    const limit = limitedTo(request.signal, fresh ? Infinity : options.followMs)
    const memory = openCopy()
    let read = false
    try {
      const { answer, error } = await collect(store.read(id, { after: 0, signal: limit.signal }), memory.hold)
      read = !limit.signal.aborted
      if (!answer && !error && limit.signal.aborted && !request.signal.aborted) throw unfinished()
      const stopped = new ChatError('cancelled', 'The reply was stopped.')
      const document = answer && dialect.toDocument?.(answer)
      const failure = reply?.failure ?? (error && errorOf(error)) ?? stopped
      const head = { ...headersOf(id, reply), ...cookie }
      const result = document ? memory.send(() => json(200, document, head)) : dialect.refuse(failure, head)
      return reply ? { ...result, settled: reply.settled } : result
    } finally {
      limit.lift()
      memory.release()
      if (request.signal.aborted && reply && !stays) await abandon(reply)
      await leave?.(read)
    }
  }

  /** Counts one client's copy of a whole answer: while it is put together, and until it was sent. */
  function openCopy() {
    const memory = budget.open()
    let sending = false

    function hold(bytes: number): void {
      if (!budget.fits(bytes)) {
        // At once: otherwise all who wait for the same reply would find no room in this turn.
        memory.close()
        throw outOfMemory('The answer was not put together')
      }
      memory.add(bytes)
    }

    /** As JSON it takes the same once more. */
    function send(toReply: () => HttpReply): HttpReply {
      hold(memory.bytes)
      const reply = toReply()
      const body = typeof reply.body === 'string' ? inPieces(reply.body, memory.close) : undefined
      sending = body !== undefined
      return body ? { ...reply, body } : reply
    }

    function release(): void {
      if (!sending) memory.close()
    }

    return { hold, send, release }
  }

  /** `stays`: leaving before the answer is not the end of it. `cookie`: for the client that has to know its secret. */
  async function start(
    dialect: Dialect,
    asked: DialectRequest,
    request: HttpRequest,
  ): Promise<Started & { readonly stays: boolean; readonly cookie: Readonly<Record<string, string>> }> {
    const chat = prepare(asked.chat)
    const policy = readPolicy(request, urlOf(request))
    requireAllowed(policy, request, options.allowContinue)
    const { chatId, continues } = asked
    // A client comes back to a conversation by a name that others can guess.
    const client = await readClient(request, { issue: chatId !== undefined })
    const key = await readKey(request, asked, client)
    if (request.signal.aborted) throw leftEarly()
    const { namespace } = client
    const { remainingMs } = request
    const lingerMs = lingerOf(policy, dialect)
    const owner = ownerOf(request)
    const started = await replies.start(chat, {
      owner,
      caller: callerOf(request),
      key,
      remainingMs,
      lingerMs,
      chatId,
      conversation: chatId === undefined ? undefined : namespace && chatName(namespace, chatId),
      continues,
    })
    if (!started.fresh) await requireThere(started.id)
    // Who asked under a key can come back without an id.
    const stays = !started.fresh || key !== undefined || policy === 'continue'
    const isTold = started.fresh && client.cookie !== undefined
    return { ...started, stays, cookie: isTold ? { 'set-cookie': client.cookie } : {} }
  }

  function lingerOf(policy: DisconnectPolicy | undefined, dialect: Dialect): number {
    if (policy === 'cancel') return 0
    if (policy === 'continue') return Infinity
    return policy === 'linger' ? options.lingerMs : Math.min(options.lingerMs, dialect.lingerMs ?? Infinity)
  }

  function heartbeatOf({ heartbeat = heartbeatFrame }: Dialect) {
    return { everyMs: heartbeatMs, frame: heartbeat }
  }

  function requireStreaming(): void {
    const { streamingElsewhere } = options
    if (streamingElsewhere === undefined) return
    const where = streamingElsewhere === '' ? 'its function URL' : streamingElsewhere
    const text = `This address cannot stream. Send the request to ${where}, or ask for one document with "stream": false.`
    throw new ChatError('streaming-unavailable', text)
  }

  async function find(id: string, request: HttpRequest): Promise<ReplyState | undefined> {
    const owner = ownerOf(request)
    return visible(await store.state(id, owner), owner)
  }

  function visible(state: ReplyState | undefined, owner: string): ReplyState | undefined {
    if (state?.owner !== owner) return undefined
    if (state.lost) throw partLost()
    return state
  }

  async function require(id: string, request: HttpRequest): Promise<ReplyState> {
    const state = await find(id, request)
    if (!state) throw unknownReply()
    return state
  }

  /** The state of a reply that has all a reader says it has read: where the log lags behind, that is waited for. */
  async function reached(id: string, after: number, request: HttpRequest): Promise<ReplyState> {
    let state = await require(id, request)
    if (after > state.length && !state.sealed && store.leaseMs !== undefined) {
      const isEnough = ({ length, sealed }: ReplyState): boolean => sealed || after <= length
      const { signal } = request
      const later = await poller.wait(id, { signal, withinMs: store.leaseMs, isEnough })
      const seen = signal.aborted ? state : visible(later, state.owner)
      if (!seen) throw unknownReply()
      state = seen
    }
    if (after <= state.length) return state
    const text = `The last event id is ${after}, but this reply has only ${state.length} events.`
    throw new ChatError('cursor-beyond-tail', text)
  }

  return {
    async read(dialect, request, { plainText = false } = {}) {
      const size = { maxBytes: maxBodyBytes, maxNodes: maxJsonNodes }
      const body = await readBody(request, { ...size, plainText })
      const { calls = [], ...asked } = dialect.readRequest(body, limits)
      await signer.requireIssued(calls, ownerOf(request))
      return asked
    },

    answer(dialect, asked, request) {
      return asked.stream ? begin(dialect, asked, request) : whole(dialect, asked, request)
    },

    async follow(dialect, { id, after, onRead }, request) {
      requireStreaming()
      const state = await reached(id, after, request)
      if (state.sealed && after === state.length) return empty(204, { 'x-reply-id': id })
      const limit = limitedTo(request.signal, options.followMs)
      const batches = store.read(id, { after, signal: limit.signal })
      const encode = dialect.createEncoder({ replyId: id })
      const leave = replies.get(id)?.join()
      async function onEnd(toTheEnd: boolean): Promise<void> {
        limit.lift()
        await leave?.(toTheEnd)
        if (toTheEnd) await onRead?.()
      }
      const frames = replay(batches, { after, encode, heartbeat: heartbeatOf(dialect), onEnd })
      return stream(frames, { 'x-reply-id': id, ...dialect.headers?.(id) })
    },

    async stop(id, request) {
      const reply = replies.get(id)
      if (reply && reply.owner === ownerOf(request)) {
        const stopped = await reply.stop(new ChatError('cancelled', 'The reply was stopped.'))
        return json(200, { id, status: stopped ? 'stopped' : 'ended' })
      }
      const { sealed } = await require(id, request)
      const end = sealed ? undefined : (await store.ask(id, 'stop'))?.terminal
      const stopped = end?.type === 'finish' && end.reason === 'cancelled' && end.raw === undefined
      return json(200, { id, status: stopped ? 'stopped' : 'ended' })
    },

    find,
    require,
  }
}

const notResumable = { 'x-reply-resumable': 'no' } as const

function headersOf(id: string, reply: Reply | undefined): Readonly<Record<string, string>> {
  return { 'x-reply-id': id, ...(reply?.upstream === undefined ? {} : { 'x-upstream': reply.upstream }) }
}

/** Gone before there was anything to come back for, unless somebody else came meanwhile. */
async function abandon(reply: Reply): Promise<void> {
  if (reply.readers <= 1) await reply.stop(leftEarly())
}

function unfinished(): ChatError {
  const text = 'The answer is still being written. Ask again under the same key.'
  return new ChatError('deadline', text, { retryAfterMs: 1000 })
}

function leftEarly(): ChatError {
  return new ChatError('cancelled', 'The client left before the answer began.')
}

function unknownReply(): ChatError {
  return new ChatError('not-found', 'There is no reply with this id, or none any more.')
}
