import { batchesOf } from './batches.ts'
import { ChatError, statusOf, toChatError } from './errors.ts'
import { tell } from './report.ts'
import type { Toolbox } from './tools.ts'
import { createTurn, type Turn } from './turn.ts'
import type { ChatDelta, ChatRequest, StartDelta, ToolCall, Upstream, Usage } from './types.ts'

export interface StreamChatOptions {
  readonly upstream: Upstream
  /** Ends the answer. A `ChatError` as its reason becomes the last delta; code `cancelled`, or any other reason, a `finish`. */
  readonly signal: AbortSignal
  /** The reply's id, for the `start` delta. */
  readonly id: string
  /** On whose behalf the model is called, for an upstream that tells callers apart. */
  readonly caller?: string | undefined
  /** The client's id of the message that the answer goes on with, for the `start` delta. */
  readonly continues?: string | undefined
  /** Milliseconds since 1970. */
  readonly now?: (() => number) | undefined
  /** How often to ask again when an answer failed before it said anything. Default 0. */
  readonly retries?: number | undefined
  /** 0 ≤ n < 1, for the jitter of the waits between. */
  readonly random?: (() => number) | undefined
  /** Told when the model's server has taken the request; where an upstream does not say, never. */
  readonly onAccept?: ((upstream?: string) => void) | undefined
  /** Told of the failure behind an `error` delta, whole, with its cause. */
  readonly onError?: ((error: ChatError) => void) | undefined
  /** Tools of this service, offered to the model beside those of the request. Default: none. */
  readonly tools?: Toolbox | undefined
  /** How often the model may be asked within one reply, retries aside; the last time it must use words. Default 8. */
  readonly maxSteps?: number | undefined
  /** Told of a tool that failed and did not say why in a `ToolError`. The reply goes on. */
  readonly onToolError?: ((error: ChatError) => void) | undefined
  /** Told whenever a tool of this service begins to run: from then on asking again would run it again. */
  readonly onToolRun?: (() => void) | undefined
  /** Signs the calls of `tools` that the client runs, before the end of the reply. Default: they have no signature. */
  readonly sign?: ((call: ToolCall) => Promise<string>) | undefined
  /** Receives how many bytes more of memory the answer takes here, beside its deltas. */
  readonly onHold?: ((bytes: number) => void) | undefined
  /** Told what the reply has cost so far, all steps together, whenever the upstream says it of one. */
  readonly onUsage?: ((usage: Usage) => void) | undefined
}

/** A wait longer than this is the client's to do: it gets the refusal, with the time. */
const LONGEST_WAIT_MS = 5000

/**
 * The pure generator of chat deltas: `start`, what the upstream says, and exactly one `finish` or `error`.
 *
 * It never throws, unless `maxSteps` is none. `start` comes together with the first delta, so that a caller who waits for two deltas
 * knows whether the answer began or failed at once. A model call that fails is repeated as long as it said nothing.
 *
 * With `tools`, calls of them are run here: side by side, results as they come, and the model is asked again with
 * them, all in one reply. Calls are counted through the whole of it. A step with calls of the client's ends it with
 * `tool-calls`, and nothing is run. A reply that has used its steps ends with `other`, raw `max-steps`, if the model
 * calls even then; one that has used its `maxOutputTokens`, with `length`. A failure after a tool has run is not
 * `retryable`. The usage of all steps comes once, before the end, whatever that is.
 */
export async function* streamChat(
  request: ChatRequest,
  options: StreamChatOptions,
): AsyncGenerator<ChatDelta> {
  for await (const deltas of streamBatches(request, options)) yield* deltas
}

/** The same, what arrived together in one piece. */
export async function* streamBatches(
  request: ChatRequest,
  options: StreamChatOptions,
): AsyncGenerator<readonly ChatDelta[]> {
  const { upstream, signal, id, now = Date.now, retries = 0, random = Math.random } = options
  const { onAccept, onError, onUsage, caller, continues, tools } = options
  const start: ChatDelta = startOf({ id, model: request.model, createdAt: now(), continues })
  const turn = createTurn(request, options)
  let started = false
  let attempt = 0

  function lastDeltas(error?: unknown): readonly ChatDelta[] {
    const reason = signal.aborted ? abortReason(signal) : withOwnParam(toChatError(error), request, tools)
    const failure = turn.ran ? withoutRetry(reason) : reason
    const terminal = terminalFor(failure)
    if (terminal.type === 'error') tell(onError, failure)
    return [...(started ? [] : [start]), ...turn.usage(), terminal]
  }

  function tellUsage(): void {
    for (const { type: _, ...usage } of turn.usage()) tell(onUsage, usage)
  }

  for (;;) {
    let said = false
    try {
      for await (const heard of batchesOf(upstream(turn.request, { signal, onAccept, caller }))) {
        said = true
        const deltas: ChatDelta[] = started ? [] : [start]
        for (const delta of heard) {
          if (delta.type === 'finish') {
            const last = turn.finish(delta)
            deltas.push(...(await signatures(turn, options)), ...last)
            break
          }
          const passed = turn.hear(delta)
          if (delta.type === 'usage') tellUsage()
          if (passed) deltas.push(passed)
        }
        started = true
        if (deltas.length > 0) yield deltas
        if (turn.state !== 'asking') break
      }
      if (turn.state === 'asking') {
        throw new ChatError('upstream-truncated', 'The model stopped answering before it finished.')
      }
    } catch (error) {
      // Else the upstream failed while it cleaned up: what it said was whole already.
      if (turn.state === 'asking') {
        const waitMs =
          said || signal.aborted || attempt >= retries ? undefined : retryWait(error, attempt, random)
        if (waitMs !== undefined && (await pause(waitMs, signal))) {
          attempt++
          continue
        }
        return yield lastDeltas(error)
      }
    }
    if (turn.state === 'calling') for await (const delta of turn.answer(signal)) yield [delta]
    if (turn.state === 'over') return
    if (signal.aborted) return yield lastDeltas()
    attempt = 0
  }
}

/** The last pieces of the calls that the client runs. */
async function signatures({ clientCalls }: Turn, { sign }: StreamChatOptions): Promise<readonly ChatDelta[]> {
  if (!sign || clientCalls.length === 0) return []
  return Promise.all(
    clientCalls.map(async (call) => {
      return { type: 'tool-call' as const, index: call.index, arguments: '', signature: await sign(call) }
    }),
  )
}

/** The first delta of a reply. */
export function startOf({
  continues,
  ...rest
}: Pick<StreamChatOptions, 'id' | 'continues'> & {
  readonly model: string
  readonly createdAt: number
}): StartDelta {
  return { type: 'start', ...rest, ...(continues === undefined ? {} : { continues }) }
}

/** The last delta of a reply that did not end by itself. */
export function terminalFor(reason: unknown): ChatDelta {
  const { code, message, retryable, param, upstreamCode, status } = toChatError(reason)
  if (code === 'cancelled') return { type: 'finish', reason: 'cancelled' }
  return {
    type: 'error',
    code,
    message,
    retryable,
    ...(param === undefined ? {} : { param }),
    ...(upstreamCode === undefined ? {} : { upstreamCode }),
    ...(status === statusOf(code) ? {} : { status }),
  }
}

/** The failure that a terminal `error` tells of, as far as it tells it. */
export function errorOf(delta: Extract<ChatDelta, { type: 'error' }>): ChatError {
  const { code, message, ...rest } = delta
  return new ChatError(code, message, rest)
}

/**
 * The failure with its place in the client's own list of messages: the upstream counts the service's instructions too.
 * A place in another list is left out where the service put something of its own into that.
 */
function withOwnParam(
  error: ChatError,
  { ownMessages = 0 }: ChatRequest,
  tools: Toolbox | undefined,
): ChatError {
  const [, list, index, rest] = /^(messages|tools|input)\[(\d+)\](.*)$/s.exec(error.param ?? '') ?? []
  if (list === undefined || (list === 'messages' && ownMessages === 0)) return error
  if (list === 'tools' && !tools?.specs.length) return error
  const place = Number(index) - ownMessages
  const param = list === 'messages' && place >= 0 ? `messages[${place}]${rest}` : undefined
  const { code, message, cause, status, retryable, retryAfterMs, upstreamCode } = error
  return new ChatError(code, message, { cause, status, param, retryable, retryAfterMs, upstreamCode })
}

/** Whoever aborts without a `ChatError` wants an end, and has nothing to say about it. */
function abortReason({ reason }: AbortSignal): ChatError {
  return reason instanceof ChatError ? reason : new ChatError('cancelled', 'The answer was stopped.')
}

/** The failure of a reply that must not be asked for again, because a tool would run a second time. */
export function withoutRetry(error: ChatError): ChatError {
  if (!error.retryable) return error
  const { code, message, cause, status, param, upstreamCode } = error
  return new ChatError(code, message, { cause, status, param, upstreamCode, retryable: false })
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
