import { startOf, streamChat, terminalFor } from './chat.ts'
import { ChatError, toChatError } from './errors.ts'
import { type Reply, startReply } from './reply.ts'
import { type OnFinish, watchReply } from './finished.ts'
import type { Report } from './report.ts'
import type { Toolbox } from './tools.ts'
import type { ChatRequest, StreamStore, Upstream } from './types.ts'

export interface RepliesOptions {
  readonly upstream: Upstream
  readonly store: StreamStore
  readonly maxReplies: number
  readonly maxReplyBytes: number
  readonly totalTimeoutMs: number
  readonly lingerMs: number
  readonly retries: number
  readonly signal?: AbortSignal | undefined
  readonly report: Report
  readonly onFinish?: OnFinish | undefined
  readonly tools?: Toolbox | undefined
  readonly maxSteps?: number | undefined
  readonly createId: () => string
  readonly now: () => number
}

/** The replies that this process is producing. */
export interface Replies {
  /** Starts one. @throws `ChatError` `overloaded`, or what the service is shutting down with. */
  start(request: ChatRequest, options?: StartOptions): Promise<Reply>
  /** One that is being produced here. */
  get(id: string): Reply | undefined
  /** The newest one that is being produced here for a conversation, by the client's own name for it. */
  of(chatId: string): Reply | undefined
  /** The last reply of a conversation whose end nobody has read, until it is forgotten or another one begins. */
  missed(chatId: string): string | undefined
  forget(chatId: string): void
}

export interface StartOptions {
  /** How long the platform lets the answer take, in milliseconds. */
  readonly remainingMs?: number | undefined
  /** Where it is less than for every reply. */
  readonly lingerMs?: number | undefined
  /** The client's own name for the conversation. */
  readonly chatId?: string | undefined
  /** The client's id of the message that the answer goes on with. */
  readonly continues?: string | undefined
}

/** Conversations whose last answer nobody saw the end of: more than can come back soon are forgotten. */
const MAX_MISSED = 10_000

/** Keeps count of the replies produced here, and ends them all when `signal` aborts. */
export function createReplies(options: RepliesOptions): Replies {
  const { upstream, store, maxReplies, maxReplyBytes, totalTimeoutMs, lingerMs, retries } = options
  const { signal: shutdown, report, onFinish, tools, maxSteps, createId, now } = options
  const running = new Map<string, Reply>()
  /** The replies of each conversation that are running, the newest last. */
  const chats = new Map<string, Set<string>>()
  const missed = new Map<string, string>()
  let starting = 0
  shutdown?.addEventListener('abort', () => {
    const reason = toChatError(shutdown.reason)
    for (const reply of running.values()) {
      reply.stop(reason).catch((error: unknown) => report(toChatError(error), { replyId: reply.id }))
    }
  })

  function requireRoom(): void {
    if (shutdown?.aborted) throw toChatError(shutdown.reason)
    if (running.size + starting < maxReplies) return
    const busy = [...running.values()].filter(({ over }) => !over)
    if (busy.length + starting >= maxReplies) {
      const text = `This service answers at most ${maxReplies} requests at once. Try again in a moment.`
      throw new ChatError('overloaded', text, { retryAfterMs: 1000 })
    }
  }

  function produce(id: string, request: ChatRequest, options: StartOptions): Reply {
    const { remainingMs = Infinity, lingerMs: ownLingerMs = Infinity, chatId, continues } = options
    const createdAt = now()
    const watch = onFinish && watchReply({ id, request, chatId, now, onFinish, report })
    const reply = startReply({
      id,
      store,
      start: startOf({ id, model: request.model, createdAt, continues }),
      lingerMs: Math.min(lingerMs, ownLingerMs),
      maxBytes: maxReplyBytes,
      totalTimeoutMs: Math.max(0, Math.min(totalTimeoutMs, remainingMs)),
      produce: (signal, told) =>
        streamChat(request, {
          upstream,
          signal,
          id,
          continues,
          retries,
          tools,
          onToolError: (error) => report(error, { replyId: id }),
          maxSteps,
          now: () => createdAt,
          ...told,
        }),
      onAccept: watch?.onAccept,
      onDelta: watch?.onDelta,
      onSeen: () => {
        if (chatId !== undefined && missed.get(chatId) === id) missed.delete(chatId)
      },
      async onEnd({ failure, upstream: answeredBy, missed: unread }) {
        running.delete(id)
        if (chatId !== undefined) leaveChat(chatId, id, unread)
        if (failure) report(failure, { replyId: id, ...(answeredBy ? { upstream: answeredBy } : {}) })
        await watch?.finish({ error: failure, upstream: answeredBy })
      },
    })
    running.set(id, reply)
    if (chatId !== undefined) enterChat(chatId, id)
    return reply
  }

  async function refuseLate(
    id: string,
    request: ChatRequest,
    { chatId, continues }: StartOptions,
    error: ChatError,
  ): Promise<ChatError> {
    const deltas = [startOf({ id, model: request.model, createdAt: now(), continues }), terminalFor(error)]
    await store.append(id, deltas)
    const watch = onFinish && watchReply({ id, request, chatId, now, onFinish, report })
    for (const delta of deltas) watch?.onDelta(delta)
    await watch?.finish({ error, upstream: undefined })
    return error
  }

  function enterChat(chatId: string, id: string): void {
    missed.delete(chatId)
    const ids = chats.get(chatId) ?? new Set()
    chats.set(chatId, ids.add(id))
  }

  function leaveChat(chatId: string, id: string, unread: boolean): void {
    const ids = chats.get(chatId)
    const newest = ids && [...ids].at(-1) === id
    ids?.delete(id)
    if (ids?.size === 0) chats.delete(chatId)
    if (!unread || !newest) return
    missed.set(chatId, id)
    for (const oldest of missed.keys()) {
      if (missed.size <= MAX_MISSED) break
      missed.delete(oldest)
    }
  }

  // Who left an answer and asks the next question will not come back for it: the AI SDK's own stop says no more.
  function supersede(chatId: string | undefined): void {
    if (chatId === undefined) return
    for (const id of chats.get(chatId) ?? []) running.get(id)?.supersede()
  }

  return {
    async start(request, options = {}) {
      supersede(options.chatId)
      requireRoom()
      const id = createId()
      // Counted without a gap: `running` has it before `starting` has it no more.
      starting++
      try {
        await store.create(id)
        if (!shutdown?.aborted) return produce(id, request, options)
        // The shutdown came while the store was busy: nobody shall wait for this log.
        throw await refuseLate(id, request, options, toChatError(shutdown.reason))
      } finally {
        starting--
      }
    },
    get: (id) => running.get(id),
    of: (chatId) => [...(chats.get(chatId) ?? [])].flatMap((id) => running.get(id) ?? []).at(-1),
    missed: (chatId) => missed.get(chatId),
    forget: (chatId) => void missed.delete(chatId),
  }
}
