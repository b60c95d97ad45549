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
  /** The one that is being produced here for a conversation, by the client's own name for it: the newest. */
  of(chatId: string): Reply | undefined
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

/** Keeps count of the replies produced here, and ends them all when `signal` aborts. */
export function createReplies(options: RepliesOptions): Replies {
  const { upstream, store, maxReplies, maxReplyBytes, totalTimeoutMs, lingerMs, retries } = options
  const { signal: shutdown, report, onFinish, tools, maxSteps, createId, now } = options
  const running = new Map<string, Reply>()
  /** The newest reply of each conversation, while it runs. */
  const chats = new Map<string, string>()
  let starting = 0
  shutdown?.addEventListener('abort', () => {
    const reason = toChatError(shutdown.reason)
    for (const reply of running.values()) {
      reply.stop(reason).catch((error: unknown) => report(toChatError(error), { replyId: reply.id }))
    }
  })

  function requireRoom(): void {
    if (shutdown?.aborted) throw toChatError(shutdown.reason)
    if (running.size + starting >= maxReplies) {
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
      async onEnd({ failure, upstream: answeredBy }) {
        running.delete(id)
        if (chatId !== undefined && chats.get(chatId) === id) chats.delete(chatId)
        if (failure) report(failure, { replyId: id, ...(answeredBy ? { upstream: answeredBy } : {}) })
        await watch?.finish({ error: failure, upstream: answeredBy })
      },
    })
    running.set(id, reply)
    if (chatId !== undefined) chats.set(chatId, id)
    return reply
  }

  // Who left an answer and asks the next question will not come back for it: the AI SDK's own stop says no more.
  function endAbandoned(chatId: string | undefined): void {
    const earlier = chatId === undefined ? undefined : running.get(chats.get(chatId) ?? '')
    if (!earlier || earlier.readers > 0) return
    earlier
      .stop(new ChatError('cancelled', 'The conversation went on without this answer.'))
      .catch((error: unknown) => report(toChatError(error), { replyId: earlier.id }))
  }

  return {
    async start(request, options = {}) {
      requireRoom()
      const id = createId()
      // Counted without a gap: `running` has it before `starting` has it no more.
      starting++
      try {
        await store.create(id)
        if (!shutdown?.aborted) {
          endAbandoned(options.chatId)
          return produce(id, request, options)
        }
        // The shutdown came while the store was busy: nobody shall wait for this log.
        const start = startOf({ id, model: request.model, createdAt: now(), continues: options.continues })
        await store.append(id, [start, terminalFor(shutdown.reason)])
        throw toChatError(shutdown.reason)
      } finally {
        starting--
      }
    },
    get: (id) => running.get(id),
    of: (chatId) => running.get(chats.get(chatId) ?? ''),
  }
}
