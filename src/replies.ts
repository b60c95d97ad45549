import { streamChat, terminalFor } from './chat.ts'
import { ChatError, toChatError } from './errors.ts'
import { type Reply, startReply } from './reply.ts'
import type { Report } from './report.ts'
import type { ChatDelta, ChatRequest, StreamStore, Upstream } from './types.ts'

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
  readonly createId: () => string
  readonly now: () => number
}

/** The replies that this process is producing. */
export interface Replies {
  /** Starts one. @throws `ChatError` `overloaded`, or what the service is shutting down with. */
  start(request: ChatRequest, options?: { readonly remainingMs?: number | undefined }): Promise<Reply>
  /** One that is being produced here. */
  get(id: string): Reply | undefined
}

/** Keeps count of the replies produced here, and ends them all when `signal` aborts. */
export function createReplies(options: RepliesOptions): Replies {
  const { upstream, store, maxReplies, maxReplyBytes, totalTimeoutMs, lingerMs, retries } = options
  const { signal: shutdown, report, createId, now } = options
  const running = new Map<string, Reply>()
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

  function produce(id: string, request: ChatRequest, remainingMs: number): Reply {
    const createdAt = now()
    const reply = startReply({
      id,
      store,
      start: { type: 'start', id, model: request.model, createdAt },
      lingerMs,
      maxBytes: maxReplyBytes,
      totalTimeoutMs: Math.max(0, Math.min(totalTimeoutMs, remainingMs)),
      produce: (signal, told) =>
        streamChat(request, { upstream, signal, id, retries, now: () => createdAt, ...told }),
    })
    running.set(id, reply)
    void reply.settled.then(() => {
      running.delete(id)
      if (reply.failure) report(reply.failure, { replyId: id })
    })
    return reply
  }

  return {
    async start(request, { remainingMs = Infinity } = {}) {
      requireRoom()
      const id = createId()
      // Counted without a gap: `running` has it before `starting` has it no more.
      starting++
      try {
        await store.create(id)
        if (!shutdown?.aborted) return produce(id, request, remainingMs)
        // The shutdown came while the store was busy: nobody shall wait for this log.
        const start: ChatDelta = { type: 'start', id, model: request.model, createdAt: now() }
        await store.append(id, [start, terminalFor(shutdown.reason)])
        throw toChatError(shutdown.reason)
      } finally {
        starting--
      }
    },
    get: (id) => running.get(id),
  }
}
