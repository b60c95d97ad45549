import { createCollector, type PartialAnswer } from './collect.ts'
import { ChatError } from './errors.ts'
import type { Report } from './report.ts'
import { type ChatDelta, type ChatRequest, type FinishReason, isTerminal, type Usage } from './types.ts'
import type { UsageDelta } from './usage.ts'

/** What became of a reply, without its words. */
export interface EndedReply {
  /** With it an anonymous client's reply can be read and stopped: a log should have its beginning alone. */
  readonly id: string
  /** `finished`: whole, as the model says. `cancelled`: somebody stopped it, or nobody read it. `failed`: see `error`. */
  readonly status: 'finished' | 'cancelled' | 'failed'
  readonly request: ChatRequest
  readonly finishReason?: FinishReason | undefined
  readonly usage?: Usage | undefined
  /** Whole, with its cause. */
  readonly error?: ChatError | undefined
  /** Which upstream answered, where there are several. */
  readonly upstream?: string | undefined
  /** The client's own name for the conversation, where its dialect has one. */
  readonly chatId?: string | undefined
  readonly timings: Timings
}

/** What became of a reply. */
export interface FinishedReply extends EndedReply {
  /** The answer as far as it came. */
  readonly answer: PartialAnswer
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

/** As `OnFinish`, for who does not need the words. */
export type OnEnd = (reply: EndedReply) => unknown

export interface Hooks {
  readonly onFinish?: OnFinish | undefined
  readonly onEnd?: OnEnd | undefined
}

export interface WatchOptions extends Hooks {
  readonly id: string
  readonly request: ChatRequest
  readonly chatId?: string | undefined
  readonly now: () => number
  readonly report: Report
  /** Receives how many bytes more the answer takes in memory. */
  readonly onHold?: ((bytes: number) => void) | undefined
}

/** Watches one reply for the hooks. */
export interface Watch {
  onAccept(): void
  onDelta(delta: ChatDelta): void
  /** Tells the hooks; what they throw, or reject with, is reported. Never rejects. */
  finish(end: Pick<EndedReply, 'error' | 'upstream'>): Promise<void>
}

/** Starts to watch a reply. The answer is put together only for `onFinish`: it is held in the log already. */
export function watchReply(options: WatchOptions): Watch {
  const { id, request, chatId, now, onFinish, onEnd, report, onHold } = options
  const collector = onFinish && createCollector(onHold)
  const startedAt = now()
  let acceptedMs: number | undefined
  let firstDeltaMs: number | undefined
  let usage: Usage | undefined
  let finishReason: FinishReason | undefined

  async function run(name: keyof Hooks, hook: () => unknown): Promise<void> {
    try {
      await hook()
    } catch (cause) {
      report(new ChatError('internal', `The ${name} hook failed.`, { cause }), { replyId: id })
    }
  }

  return {
    onAccept() {
      // A later step, or a retry of one, is not where the answer began.
      if (firstDeltaMs === undefined) acceptedMs = now() - startedAt
    },
    onDelta(delta) {
      if (delta.type === 'finish') finishReason = delta.reason
      else if (delta.type === 'usage') usage = usageOf(delta)
      if (firstDeltaMs === undefined && delta.type !== 'start' && !isTerminal(delta)) {
        firstDeltaMs = now() - startedAt
      }
      collector?.add(delta)
    },
    async finish({ error, upstream }) {
      const status =
        error || !finishReason ? 'failed' : finishReason === 'cancelled' ? 'cancelled' : 'finished'
      const timings = { startedAt, acceptedMs, firstDeltaMs, durationMs: now() - startedAt }
      const ended = { id, status, request, finishReason, usage, error, upstream, chatId, timings } as const
      const answer = collector?.answer ?? { id, model: request.model, createdAt: startedAt, text: '' }
      if (onEnd) await run('onEnd', () => onEnd(ended))
      if (onFinish) await run('onFinish', () => onFinish({ ...ended, answer }))
    },
  }
}

function usageOf(delta: UsageDelta): Usage {
  const { type: _, ...usage } = delta
  return usage
}
