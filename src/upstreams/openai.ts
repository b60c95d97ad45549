import OpenAI from 'openai'
import { ChatError } from '../errors.ts'
import type { ChatRequest, Upstream, UpstreamDelta } from '../types.ts'
import { createWatchdog, type Watchdog } from '../watchdog.ts'
import { type BodyReader, isJson, readBody, withBoundedRefusals } from './body.ts'
import { type CompletionParser, createCompletionParser } from './completion.ts'
import { failureInStream, failureOfStatus } from './failure.ts'

export interface OpenAIOptions {
  /**
   * Sent as a bearer token; servers that need none (Ollama, vLLM) ignore it. Default: the package's environment
   * variable, `OPENAI_API_KEY`; without either this throws at once.
   */
  readonly apiKey?: string | undefined
  /** Default: OpenAI's own, or the package's environment variables. */
  readonly baseURL?: string | undefined
  readonly organization?: string | undefined
  readonly project?: string | undefined
  /** Default: the platform's. */
  readonly fetch?: typeof fetch | undefined
  /** How long the upstream may take to answer with headers, in milliseconds. Default 30000. */
  readonly headersTimeoutMs?: number | undefined
  /** From headers to the first delta. Comments and empty chunks do not count. Default 60000. */
  readonly firstDeltaTimeoutMs?: number | undefined
  /** Between two events after that; comments do not count. Default 30000. */
  readonly idleTimeoutMs?: number | undefined
  /** How large one event of the stream may be. Default 1 MiB. */
  readonly maxEventBytes?: number | undefined
}

type Params = OpenAI.ChatCompletionCreateParamsStreaming

/** What this server was found not to understand; learned from its refusals, kept as long as the upstream. */
interface Manners {
  includeUsage: boolean
  maxTokensField: 'max_tokens' | 'max_completion_tokens'
}

/** After the finish reason: how long a usage report, or the end, is waited for. */
const USAGE_WAIT_MS = 2000
/** After `[DONE]`: how long the end of the body is waited for, so that its connection can be used again. */
const DRAIN_WAIT_MS = 1000

/**
 * Asks a server that speaks OpenAI's Chat Completions API.
 *
 * The `openai` package does credentials, addresses and errors. The bytes are read here: the package's iterator
 * costs several times as much per delta and takes an answer that was cut for a whole one. It never retries:
 * `streamChat` does, as long as nothing was said yet.
 */
export function createOpenAI({
  headersTimeoutMs = 30_000,
  firstDeltaTimeoutMs = 60_000,
  idleTimeoutMs = 30_000,
  maxEventBytes = 1024 * 1024,
  ...options
}: OpenAIOptions): Upstream {
  const client = createClient(options)
  const learned: Manners = { includeUsage: true, maxTokensField: maxTokensFieldOf(client.baseURL) }

  return async function* ask(request, { signal, onAccept }): AsyncGenerator<UpstreamDelta> {
    signal.throwIfAborted()
    const attempt = new AbortController()
    const abort = (): void => attempt.abort(signal.reason)
    signal.addEventListener('abort', abort, { once: true })
    const watchdog = createWatchdog()
    let parser: CompletionParser | undefined
    let bytes: BodyReader | undefined
    try {
      watchdog.expect(headersTimeoutMs, () => attempt.abort(timeout('did not answer', headersTimeoutMs)))
      const response = await connect(client, request, learned, attempt.signal)
      onAccept?.()
      watchdog.expect(firstDeltaTimeoutMs, () => attempt.abort(timeout('said nothing', firstDeltaTimeoutMs)))
      parser = await parserFor(response, maxEventBytes)
      bytes = readBody(response.body, attempt.signal)
      let spoken = false
      let finishing = false
      for (let open = true; open && !parser.done;) {
        const eventsBefore = parser.events
        open = await readInto(parser, bytes, attempt.signal)
        // Armed once: what still comes, comments above all, does not prolong it.
        if (parser.finished && !finishing) watchdog.expect(USAGE_WAIT_MS, () => attempt.abort())
        else if (spoken && !finishing && parser.events > eventsBefore) watchdog.feed()
        finishing = parser.finished
        const deltas = parser.take()
        if (deltas.length > 0) {
          // Our reader's time is not the upstream's: the clock rests while it takes what came.
          if (!finishing) watchdog.hold()
          for (const delta of deltas) yield delta
          if (!finishing) watchdog.feed()
          if (!spoken && !parser.finished) {
            spoken = true
            watchdog.expect(idleTimeoutMs, () => attempt.abort(timeout('fell silent', idleTimeoutMs)))
          }
        }
        if (parser.failure) throw parser.failure
      }
      watchdog.stop()
      yield* parser.close()
    } catch (error) {
      throw withoutKey(error, client.apiKey ?? '')
    } finally {
      signal.removeEventListener('abort', abort)
      if (parser?.done && bytes && !attempt.signal.aborted) await drain(bytes, attempt, watchdog)
      watchdog.stop()
      attempt.abort()
    }
  }
}

function createClient(
  options: Pick<OpenAIOptions, 'apiKey' | 'baseURL' | 'organization' | 'project' | 'fetch'>,
) {
  const { apiKey, baseURL, organization, project, fetch = globalThis.fetch } = options
  return new OpenAI({
    ...(apiKey ? { apiKey } : {}),
    ...(baseURL ? { baseURL } : {}),
    ...(organization ? { organization } : {}),
    ...(project ? { project } : {}),
    fetch: withBoundedRefusals(fetch),
    maxRetries: 0,
    // Ours end earlier; this one only covers the wait for headers.
    timeout: 2 ** 31 - 1,
    // A redirect could carry the conversation, and the key, to another host.
    fetchOptions: { redirect: 'error' },
    logLevel: 'off',
  })
}

/** Opens the stream, once more for each thing this server turns out not to understand. */
async function connect(
  client: OpenAI,
  request: ChatRequest,
  learned: Manners,
  signal: AbortSignal,
): Promise<Response> {
  // A server that refuses both names of the token limit would otherwise be asked for ever.
  const tried = new Set<Manners['maxTokensField']>()
  for (;;) {
    const used = { ...learned }
    tried.add(used.maxTokensField)
    try {
      return await client.chat.completions.create(toParams(request, used), { signal }).asResponse()
    } catch (error) {
      if (signal.aborted) throw signal.reason
      const lesson = lessonOf(error, request, used)
      if (!lesson || (lesson.maxTokensField && tried.has(lesson.maxTokensField))) throw toFailure(error)
      Object.assign(learned, lesson)
    }
  }
}

function toParams(request: ChatRequest, { includeUsage, maxTokensField }: Manners): Params {
  const params = {
    model: request.model,
    messages: request.messages,
    stream: true,
    ...(includeUsage ? { stream_options: { include_usage: true } } : {}),
    temperature: request.temperature,
    top_p: request.topP,
    [maxTokensField]: request.maxOutputTokens,
    stop: request.stop,
    seed: request.seed,
    presence_penalty: request.presencePenalty,
    frequency_penalty: request.frequencyPenalty,
    reasoning_effort: request.reasoningEffort,
  }
  // Fields that are undefined do not reach the wire, and the vendor checks its own words.
  return params as Params
}

/** What a refusal teaches about the server; undefined when it is about something else. */
function lessonOf(error: unknown, request: ChatRequest, used: Manners): Partial<Manners> | undefined {
  if (!(error instanceof OpenAI.APIError) || (error.status !== 400 && error.status !== 422)) return undefined
  const words = `${error.message} ${error.param ?? ''}`
  if (used.includeUsage && /stream_options|include_usage/.test(words)) return { includeUsage: false }
  const field = used.maxTokensField
  // Such a message often names both fields: only the one that was sent can be wrong.
  if (request.maxOutputTokens === undefined || (error.param && error.param !== field)) return undefined
  if (!unsupported(field, error.code, words)) return undefined
  return { maxTokensField: field === 'max_tokens' ? 'max_completion_tokens' : 'max_tokens' }
}

function unsupported(field: string, code: unknown, words: string): boolean {
  if (!new RegExp(`\\b${field}\\b`).test(words)) return false
  return (
    code === 'unsupported_parameter' || /unsupported|unrecogni[sz]ed|unknown|not permitted|extra/i.test(words)
  )
}

// `max_tokens` is deprecated, and refused by reasoning models, where these hosts are; elsewhere the new name is rare.
function maxTokensFieldOf(baseURL: string): Manners['maxTokensField'] {
  return /(?:^|\.)(?:openai|azure)\.com$/.test(new URL(baseURL).hostname)
    ? 'max_completion_tokens'
    : 'max_tokens'
}

function toFailure(error: unknown): ChatError {
  if (error instanceof OpenAI.APIError && error.status) {
    return failureOfStatus({
      status: error.status,
      body: error.error ?? error.message,
      headers: error.headers,
      cause: error,
    })
  }
  if (isRedirect(error)) {
    const message =
      "The model's server answered with a redirect, which is not followed. Set the base URL to its target."
    return new ChatError('upstream-bad-response', message, { cause: error, retryable: false })
  }
  if (error instanceof OpenAI.APIConnectionError) {
    return new ChatError('upstream-unreachable', "The model's server cannot be reached.", { cause: error })
  }
  return new ChatError('internal', "The request to the model's server could not be made.", { cause: error })
}

// undici says "unexpected redirect" in the innermost cause.
function isRedirect(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (/unexpected redirect/i.test(cause.message)) return true
  }
  return false
}

async function parserFor(response: Response, maxEventBytes: number): Promise<CompletionParser> {
  const type = response.headers.get('content-type') ?? 'text/event-stream'
  if (isJson(response)) throw await failureOfJson(response)
  if (/^\s*text\/html\b/i.test(type)) {
    const message = "The model's server answered with a web page instead of a stream. Check the base URL."
    throw new ChatError('upstream-bad-response', message)
  }
  const charset = /charset\s*=\s*"?([^";\s]+)/i.exec(type)?.[1]
  try {
    return createCompletionParser({ maxEventBytes, ...(charset ? { charset } : {}) })
  } catch (cause) {
    throw new ChatError('upstream-bad-response', "The model's server uses an unknown charset.", { cause })
  }
}

/** A JSON document where a stream was asked for: an error report, or a server that does not stream. */
async function failureOfJson(response: Response): Promise<ChatError> {
  let body: unknown
  try {
    body = JSON.parse(await response.text())
  } catch {
    body = undefined // cut, or not JSON at all: said below
  }
  const report = typeof body === 'object' && body !== null ? failureInStream({ ...body }) : undefined
  const text = "The model's server answered with JSON instead of a stream."
  return report ?? new ChatError('upstream-bad-response', text)
}

/** Reads once. False at the end of the body, however it ended; what that means is the parser's to say. */
async function readInto(parser: CompletionParser, bytes: BodyReader, signal: AbortSignal): Promise<boolean> {
  try {
    const { value, done } = await bytes.next()
    if (!done) {
      parser.feed(value)
      return true
    }
    if (signal.aborted) throw signal.reason
  } catch (cause) {
    if (signal.aborted && !parser.finished) throw signal.reason
    parser.end()
    if (parser.finished) return false
    throw new ChatError(
      'upstream-truncated',
      "The connection to the model's server broke in the middle of its answer.",
      {
        cause,
      },
    )
  }
  parser.end()
  return false
}

/** Reads to the end of the body, which frees the connection for the next request; gives up when it does not come. */
async function drain(bytes: BodyReader, attempt: AbortController, watchdog: Watchdog): Promise<void> {
  watchdog.expect(DRAIN_WAIT_MS, () => attempt.abort())
  try {
    while (!(await bytes.next()).done);
  } catch {
    // Aborted, or reset: the answer was whole already.
  }
}

// Some servers repeat the key that they refuse.
function withoutKey(error: unknown, apiKey: string): unknown {
  if (!(error instanceof ChatError) || apiKey.length < 6) return error
  const { code, message, param, cause, status, retryable, retryAfterMs } = error
  if (!`${message} ${param ?? ''}`.includes(apiKey)) return error
  return new ChatError(code, message.replaceAll(apiKey, '[key]'), {
    cause,
    param: param?.replaceAll(apiKey, '[key]'),
    status,
    retryable,
    retryAfterMs,
  })
}

function timeout(what: string, ms: number): ChatError {
  return new ChatError('upstream-timeout', `The model's server ${what} for ${ms} ms.`)
}
