import { ChatError, toChatError } from './errors.ts'
import type { ChatDelta, ChatRequest, Upstream } from './types.ts'

export interface StreamChatOptions {
  readonly upstream: Upstream
  /** Ends the answer. A `ChatError` as its reason becomes the last delta; code `cancelled`, or any other reason, a `finish`. */
  readonly signal: AbortSignal
  /** The reply's id, for the `start` delta. */
  readonly id: string
  /** Milliseconds since 1970. */
  readonly now?: (() => number) | undefined
  /** How often to ask again when an answer failed before it said anything. Default 0. */
  readonly retries?: number | undefined
  /** 0 ≤ n < 1, for the jitter of the waits between. */
  readonly random?: (() => number) | undefined
  /** Told when the model's server has taken the request; where an upstream does not say, never. */
  readonly onAccept?: (() => void) | undefined
  /** Told of the failure behind an `error` delta, whole, with its cause. */
  readonly onError?: ((error: ChatError) => void) | undefined
}

/** A wait longer than this is the client's to do: it gets the refusal, with the time. */
const LONGEST_WAIT_MS = 5000

/**
 * The pure generator of chat deltas: `start`, what the upstream says, and exactly one `finish` or `error`.
 *
 * It never throws. `start` comes together with the first delta, so that a caller who waits for two deltas
 * knows whether the answer began or failed at once. Failures before that are retried, later ones never.
 */
export async function* streamChat(
  request: ChatRequest,
  options: StreamChatOptions,
): AsyncGenerator<ChatDelta> {
  const {
    upstream,
    signal,
    id,
    now = Date.now,
    retries = 0,
    random = Math.random,
    onAccept,
    onError,
  } = options
  const start: ChatDelta = { type: 'start', id, model: request.model, createdAt: now() }
  let started = false
  let finished = false
  for (let attempt = 0; ; attempt++) {
    try {
      for await (const delta of upstream(request, { signal, onAccept })) {
        if (!started) {
          started = true
          yield start
        }
        finished = delta.type === 'finish'
        yield delta
        if (finished) return
      }
      throw new ChatError('upstream-truncated', 'The model stopped answering before it finished.')
    } catch (error) {
      // The upstream failed while it cleaned up: the answer was whole already.
      if (finished) return
      const waitMs =
        started || signal.aborted || attempt >= retries ? undefined : retryWait(error, attempt, random)
      if (waitMs !== undefined && (await pause(waitMs, signal))) continue
      if (!started) yield start
      const reason = signal.aborted ? abortReason(signal) : error
      const terminal = terminalFor(reason)
      if (terminal.type === 'error') onError?.(toChatError(reason))
      yield terminal
      return
    }
  }
}

/** The last delta of a reply that did not end by itself. */
export function terminalFor(reason: unknown): ChatDelta {
  const { code, message, retryable } = toChatError(reason)
  if (code === 'cancelled') return { type: 'finish', reason: 'cancelled' }
  return { type: 'error', code, message, retryable }
}

/** Whoever aborts without a `ChatError` wants an end, and has nothing to say about it. */
function abortReason({ reason }: AbortSignal): ChatError {
  return reason instanceof ChatError ? reason : new ChatError('cancelled', 'The answer was stopped.')
}

/** How long to wait before asking again; undefined when asking again cannot help, or not soon. */
function retryWait(error: unknown, attempt: number, random: () => number): number | undefined {
  if (!(error instanceof ChatError) || !error.retryable) return undefined
  // These have used up the caller's patience already, or would be cut short again.
  if (
    error.code === 'upstream-timeout' ||
    error.code === 'upstream-incomplete' ||
    error.code === 'deadline'
  ) {
    return undefined
  }
  const waitMs = error.retryAfterMs ?? 250 * 2 ** attempt * (0.5 + random())
  return waitMs <= LONGEST_WAIT_MS ? waitMs : undefined
}

/** Resolves true after `ms`, false as soon as `signal` aborts. */
function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(end, ms, true)
    const stop = (): void => end(false)
    signal.addEventListener('abort', stop, { once: true })
    function end(waited: boolean): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      resolve(waited)
    }
  })
}
