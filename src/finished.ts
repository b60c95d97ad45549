import { createCollector, type PartialAnswer } from './collect.ts'
import { ChatError } from './errors.ts'
import type { Report } from './report.ts'
import { type ChatDelta, type ChatRequest, isTerminal, type Usage } from './types.ts'

/** What became of a reply. */
export interface FinishedReply {
  readonly id: string
  /** `finished`: whole, as the model says. `cancelled`: somebody stopped it, or nobody read it. `failed`: see `error`. */
  readonly status: 'finished' | 'cancelled' | 'failed'
  readonly request: ChatRequest
  /** The answer as far as it came. */
  readonly answer: PartialAnswer
  readonly usage?: Usage | undefined
  /** Whole, with its cause. */
  readonly error?: ChatError | undefined
  /** Which upstream answered, where there are several. */
  readonly upstream?: string | undefined
  /** The client's own name for the conversation, where its dialect has one. */
  readonly chatId?: string | undefined
  readonly timings: Timings
}

export interface Timings {
  /** Milliseconds since 1970. */
  readonly startedAt: number
  /** Milliseconds from there until the upstream took the request, until its first delta, until the end. */
  readonly acceptedMs?: number | undefined
  readonly firstDeltaMs?: number | undefined
  readonly durationMs: number
}

/** Runs once for each reply, however it ended. A promise is waited for before the platform may freeze. */
export type OnFinish = (reply: FinishedReply) => unknown

export interface WatchOptions {
  readonly id: string
  readonly request: ChatRequest
  readonly chatId?: string | undefined
  readonly now: () => number
  readonly onFinish: OnFinish
  readonly report: Report
}

/** Watches one reply for `onFinish`. */
export interface Watch {
  onAccept(): void
  onDelta(delta: ChatDelta): void
  /** Tells `onFinish`; what that throws, or rejects with, is reported. Never rejects. */
  finish(end: Pick<FinishedReply, 'error' | 'upstream'>): Promise<void>
}

/** Starts to watch a reply: the answer is put together a second time, so only where somebody wants to know. */
export function watchReply({ id, request, chatId, now, onFinish, report }: WatchOptions): Watch {
  const collector = createCollector()
  const startedAt = now()
  let acceptedMs: number | undefined
  let firstDeltaMs: number | undefined

  return {
    onAccept() {
      // A later step, or a retry of one, is not where the answer began.
      if (firstDeltaMs === undefined) acceptedMs = now() - startedAt
    },
    onDelta(delta) {
      if (delta.type !== 'start' && !isTerminal(delta)) firstDeltaMs ??= now() - startedAt
      collector.add(delta)
    },
    async finish({ error, upstream }) {
      const answer = collector.answer ?? { id, model: request.model, createdAt: startedAt, text: '' }
      const { finishReason } = answer
      const status =
        error || !finishReason ? 'failed' : finishReason === 'cancelled' ? 'cancelled' : 'finished'
      const timings = { startedAt, acceptedMs, firstDeltaMs, durationMs: now() - startedAt }
      const { usage } = answer
      try {
        await onFinish({ id, status, request, answer, usage, error, upstream, chatId, timings })
      } catch (cause) {
        report(new ChatError('internal', 'The onFinish hook failed.', { cause }), { replyId: id })
      }
    },
  }
}
