import { batchesOf, inBatches } from '../batches.ts'
import { ChatError, toChatError } from '../errors.ts'
import { tell } from '../report.ts'
import type { ChatRequest, Upstream, UpstreamDelta, UpstreamOptions } from '../types.ts'
import type { Permit } from './breaker.ts'
import { type Models, toTheirName } from './models.ts'
import { createSharedBreaker, type SharedBreaker, type SharedBreakerOptions } from './shared-breaker.ts'
import { shortageIn } from './shortage.ts'

/** One of several upstreams. */
export interface FailoverEntry {
  /** Told to `onAccept` and `onFailover`. */
  readonly name: string
  readonly upstream: Upstream
  /** The models it serves: names, or our name → its own name for it. Where absent, every model under our name. */
  readonly models?: Models | undefined
}

export interface FailoverOptions extends SharedBreakerOptions {
  /** Told before the next upstream is asked in place of one that failed. What it throws is ignored. */
  readonly onFailover?: ((move: FailoverMove) => void) | undefined
}

/** That one upstream failed, why, and which one is asked in its place. */
export interface FailoverMove {
  readonly from: string
  readonly to: string
  readonly error: ChatError
}

interface Member extends FailoverEntry {
  readonly breaker: SharedBreaker
  /** Its own name for a model; undefined when it does not serve it. */
  readonly nameFor: (model: string) => string | undefined
}

/** A failure that names no time to wait counts as if it asked for this. */
const USUAL_WAIT_MS = 1000

/**
 * Asks the upstreams that serve a model in order, until one says something: the first delta settles it, a failure
 * after that goes through. Before it, any failure moves on to the next one at once, except where the server says
 * that the request itself is wrong (400, 413, 422), and except an abort. Each upstream has a circuit breaker
 * (`createSharedBreaker`) and is left out while that is open for the request's `caller`.
 *
 * When all have failed it throws one of the failures: the first timeout, because whoever waited that long should
 * not have the whole round repeated; else, of those that can pass, the one that asks for the shortest wait; else
 * the first. An `AggregateError` with all of them is its cause. @throws `model-not-allowed` when no upstream serves
 * the model.
 */
export function createFailover(entries: readonly FailoverEntry[], options: FailoverOptions = {}): Upstream {
  const { onFailover, ...limits } = options
  const members = entries.map((entry): Member => ({
    ...entry,
    breaker: createSharedBreaker(limits),
    nameFor: toTheirName(entry.models),
  }))

  return (request, options) => inBatches(() => ask(request, options))

  async function* ask(
    request: ChatRequest,
    options: UpstreamOptions,
  ): AsyncGenerator<readonly UpstreamDelta[]> {
    const { signal, caller } = options
    const suitable = members.filter(({ nameFor }) => nameFor(request.model) !== undefined)
    if (suitable.length === 0) throw notServed(request.model)
    const failures: ChatError[] = []
    let failed: Omit<FailoverMove, 'to'> | undefined
    for (const member of suitable) {
      signal.throwIfAborted()
      const permit = member.breaker.enter(caller)
      if (!permit) {
        failures.push(resting(member.breaker.waitMs(caller)))
        continue
      }
      if (failed) tell(onFailover, { ...failed, to: member.name })
      const attempt: Attempt = { permit, spoken: false }
      try {
        yield* tryOne(member, request, options, attempt)
        return
      } catch (error) {
        const failure = toChatError(error)
        if (attempt.spoken || signal.aborted || isFaultOfRequest(failure)) throw error
        failures.push(failure)
        failed = { from: member.name, error: failure }
      }
    }
    throw mostHelpful(failures)
  }
}

interface Attempt {
  readonly permit: Permit
  /** Whether it said anything: from then on there is no other. */
  spoken: boolean
}

/** Asks one upstream and tells its breaker how it went. Whatever it opened is closed when this ends. */
async function* tryOne(
  { name, upstream, nameFor }: Member,
  request: ChatRequest,
  { signal, onAccept, caller }: UpstreamOptions,
  attempt: Attempt,
): AsyncGenerator<readonly UpstreamDelta[]> {
  const { permit } = attempt
  const asked = { ...request, model: nameFor(request.model) ?? request.model }
  let finished = false
  try {
    for await (const deltas of batchesOf(
      upstream(asked, { signal, caller, onAccept: () => onAccept?.(name) }),
    )) {
      if (!attempt.spoken) permit.begin()
      attempt.spoken = true
      if (deltas.some(({ type }) => type === 'finish')) {
        finished = true
        // Before it is passed on: nobody comes back for more after that.
        permit.succeed()
      }
      yield deltas
    }
    if (!finished) {
      throw new ChatError('upstream-truncated', 'The model stopped answering before it finished.')
    }
  } catch (error) {
    if (!signal.aborted && isFaultOfServer(error)) permit.fail(toChatError(error).retryAfterMs)
    throw error
  } finally {
    permit.release()
  }
}

/**
 * Whether a failure is held against the server. What went wrong on our own side is not: no file descriptors, no
 * memory left, a request that cannot be expressed. What is no `ChatError` comes from an upstream of another kind.
 */
function isFaultOfServer(error: unknown): boolean {
  if (shortageIn(error) !== undefined) return false
  if (!(error instanceof ChatError)) return true
  return error.code === 'rate-limited' || (error.status >= 500 && error.code.startsWith('upstream-'))
}

/** Whether the server says that the request is wrong, so that another one would say the same. */
function isFaultOfRequest(error: ChatError): boolean {
  const { code, status, retryable } = error
  if (code !== 'upstream-rejected' && (code !== 'upstream-error' || retryable)) return false
  return [400, 413, 422].includes(status) && !isAboutModel(error)
}

// Some servers say 400 for a model that they do not have, and the next one may well have it.
function isAboutModel({ param, upstreamCode = '' }: ChatError): boolean {
  return param === 'model' || /^(?:model_not_found|unknown_model|invalid_model)$/i.test(upstreamCode)
}

function mostHelpful(failures: readonly ChatError[]): ChatError {
  const [first, ...others] = failures
  if (!first) throw new TypeError('There is no failure to choose from.')
  if (others.length === 0) return first
  const passing = failures.filter(({ retryable }) => retryable).sort((a, b) => waitOf(a) - waitOf(b))
  const best = failures.find(({ code }) => code === 'upstream-timeout') ?? passing[0] ?? first
  const { code, message, status, retryable, param, retryAfterMs, upstreamCode } = best
  const cause = new AggregateError(failures, 'No upstream gave an answer.', { cause: best })
  return new ChatError(code, message, { cause, status, retryable, param, retryAfterMs, upstreamCode })
}

function waitOf({ retryAfterMs = USUAL_WAIT_MS }: ChatError): number {
  return retryAfterMs
}

/** That an upstream was not asked, because of its breaker. */
function resting(waitMs: number): ChatError {
  const message =
    "The model's server failed again and again and is left alone for now. Try again in a moment."
  return new ChatError('upstream-unavailable', message, { retryAfterMs: waitMs })
}

function notServed(model: string): ChatError {
  const text = `\`model\` must be one that an upstream serves; none serves ${JSON.stringify(model.slice(0, 100))}.`
  return new ChatError('model-not-allowed', text, { param: 'model' })
}
