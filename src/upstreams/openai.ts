import OpenAI from 'openai'
import { inBatches } from '../batches.ts'
import { ChatError } from '../errors.ts'
import { encodeLargeJson, isLarge } from '../json-write.ts'
import { pause } from '../pause.ts'
import type { ChatRequest, Fields, Upstream } from '../types.ts'
import { readAnswer } from './answer.ts'
import { type BodyReader, readBody, withBoundedRefusals } from './body.ts'
import { createChunkReader } from './chunk.ts'
import { limitOf, toCompletionParams } from './completion-params.ts'
import type { CompletionParser } from './completion.ts'
import { failureOfStatus } from './failure.ts'
import { parserFor } from './head.ts'
import {
  createMemory,
  isAboutContext,
  lessonOf,
  type Manners,
  mannersAt,
  type Memory,
  type Refusal,
  refusesLimit,
} from './manners.ts'
import type { EventReader } from './reader.ts'
import { createResponsesReader } from './responses.ts'
import { toResponsesParams } from './responses-params.ts'

export interface OpenAIOptions {
  /** Which of OpenAI's APIs the server is asked with. Default `chat-completions`: every compatible server has it. */
  readonly api?: keyof typeof apis | undefined
  /**
   * Sent as a bearer token; servers that need none (Ollama, vLLM) ignore it. Default: the package's environment
   * variable, `OPENAI_API_KEY`; without either this throws at once.
   */
  readonly apiKey?: string | undefined
  /** Default: OpenAI's own, or the package's environment variables. */
  readonly baseURL?: string | undefined
  /** Default: the package's environment variable, `OPENAI_ORG_ID`; null: none. */
  readonly organization?: string | null | undefined
  /** Default: the package's environment variable, `OPENAI_PROJECT_ID`; null: none. */
  readonly project?: string | null | undefined
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

/** What differs between the APIs: where a request goes, what it says, and what the events of the answer mean. */
const apis = {
  'chat-completions': {
    path: '/chat/completions',
    toParams: toCompletionParams,
    createReader: createChunkReader,
  },
  responses: { path: '/responses', toParams: toResponsesParams, createReader: createResponsesReader },
} as const satisfies Record<string, Api>

interface Api {
  /** Below the base URL. */
  readonly path: string
  readonly toParams: (request: ChatRequest, manners: Manners) => Fields
  readonly createReader: () => EventReader
}

/**
 * Asks a server that speaks OpenAI's Chat Completions API, or its Responses API.
 *
 * The `openai` package does credentials, addresses and errors. The bytes are read here: the package's iterator
 * costs several times as much per delta and takes an answer that was cut for a whole one. It never retries:
 * `streamChat` does, as long as nothing was said yet.
 */
export function createOpenAI({
  api: name = 'chat-completions',
  headersTimeoutMs = 30_000,
  firstDeltaTimeoutMs = 60_000,
  idleTimeoutMs = 30_000,
  maxEventBytes = 1024 * 1024,
  ...options
}: OpenAIOptions): Upstream {
  const limits = { headersTimeoutMs, firstDeltaTimeoutMs, idleTimeoutMs }
  const client = createClient(options)
  const api = apiNamed(name)
  const learned = createMemory(mannersAt(client.baseURL))

  // By itself, because what it had stays with it: the head of the answer is not needed while it streams.
  async function open(
    request: ChatRequest,
    signal: AbortSignal,
    accept: () => void,
  ): Promise<[CompletionParser, BodyReader]> {
    const response = await connect(request, { client, api, learned, signal })
    accept()
    const parser = await parserFor(response, api.createReader(), maxEventBytes)
    return [parser, readBody(response.body, signal)]
  }

  const toError = (failure: unknown): unknown => withoutKey(failure, client.apiKey ?? '')
  return (request, { signal, onAccept }) =>
    inBatches(() =>
      readAnswer({
        open: (signal, accept) => open(request, signal, accept),
        toError,
        signal,
        onAccept,
        ...limits,
      }),
    )
}

function apiNamed(name: keyof typeof apis): Api {
  if (Object.hasOwn(apis, name)) return apis[name]
  throw new TypeError(`api must be one of ${Object.keys(apis).join(', ')}; got ${JSON.stringify(name)}.`)
}

function createClient(
  options: Pick<OpenAIOptions, 'apiKey' | 'baseURL' | 'organization' | 'project' | 'fetch'>,
) {
  const { apiKey, baseURL, organization, project, fetch = globalThis.fetch } = options
  return new OpenAI({
    ...(apiKey ? { apiKey } : {}),
    ...(baseURL ? { baseURL } : {}),
    ...(organization === undefined ? {} : { organization }),
    ...(project === undefined ? {} : { project }),
    fetch: withBoundedRefusals(fetch),
    maxRetries: 0,
    // Ours end earlier; this one only covers the wait for headers.
    timeout: 2 ** 31 - 1,
    // A redirect could carry the conversation, and the key, to another host.
    fetchOptions: { redirect: 'error' },
    logLevel: 'off',
  })
}

interface Connection {
  readonly client: OpenAI
  readonly api: Api
  readonly learned: Memory
  readonly signal: AbortSignal
}

/** Opens the stream, once more for each thing this server turns out not to understand. */
async function connect(
  request: ChatRequest,
  { client, api, learned, signal }: Connection,
): Promise<Response> {
  // A server that refuses both names of the token limit would otherwise be asked for ever.
  const tried = new Set<string>()
  let lessons: Partial<Manners> | undefined
  /** What holds for this request alone. */
  let once: Partial<Manners> | undefined
  for (;;) {
    const used = { ...learned.of(request.model), ...lessons, ...once }
    tried.add(JSON.stringify(used))
    const body = api.toParams(request, used)
    try {
      const response = await client
        .post(api.path, { ...(await toContent(body)), signal, stream: true })
        .asResponse()
      // Not before: a refusal may repeat what the client wrote, and prove nothing.
      if (lessons) learned.keep(request.model, { ...learned.of(request.model), ...lessons })
      return response
    } catch (error) {
      if (signal.aborted) throw signal.reason
      const refusal = refusalIn(error)
      const lesson = refusal && lessonOf(refusal, body, used)
      if (lesson && !tried.has(JSON.stringify({ ...used, ...lesson }))) {
        lessons = { ...lessons, ...lesson }
        continue
      }
      const limit = request.limitIsDefault ? limitOf(request, used) : undefined
      if (!refusal || limit === undefined || !refusesLimit(refusal, limit)) throw toFailure(error)
      if (isAboutContext(refusal)) once = { takesDefaultLimit: false }
      else lessons = { ...lessons, takesDefaultLimit: false }
    }
  }
}

interface Content {
  readonly body: object
  readonly headers?: Readonly<Record<string, string>>
}

/** What is sent. The package would write a large body at once. */
async function toContent(body: Fields): Promise<Content> {
  if (!isLarge(body)) return { body }
  const content = await encodeLargeJson(body)
  await pause()
  return { body: content, headers: { 'content-type': 'application/json' } }
}

function refusalIn(error: unknown): Refusal | undefined {
  if (!(error instanceof OpenAI.APIError) || (error.status !== 400 && error.status !== 422)) return undefined
  const { message, param, code } = error
  return { words: `${message} ${param ?? ''}`, param: param ?? undefined, code: code ?? undefined }
}

function toFailure(error: unknown): ChatError {
  if (error instanceof OpenAI.APIError && error.status) {
    return failureOfStatus({
      status: error.status,
      body: error.error ?? bodyIn(error.message),
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

// The package puts the status before a body that is a text, and has words of its own for none.
function bodyIn(message: string): string | undefined {
  const body = message.replace(/^\d{3} /, '')
  return body === 'status code (no body)' ? undefined : body
}

// undici says "unexpected redirect" in the innermost cause.
function isRedirect(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (/unexpected redirect/i.test(cause.message)) return true
  }
  return false
}

// Some servers repeat the key that they refuse.
function withoutKey(error: unknown, apiKey: string): unknown {
  if (!(error instanceof ChatError) || apiKey.length < 6) return error
  const { code, message, param, cause, status, retryable, retryAfterMs, upstreamCode } = error
  if (!`${message} ${param ?? ''} ${upstreamCode ?? ''}`.includes(apiKey)) return error
  return new ChatError(code, message.replaceAll(apiKey, '[key]'), {
    cause,
    param: param?.replaceAll(apiKey, '[key]'),
    status,
    retryable,
    retryAfterMs,
    upstreamCode: upstreamCode?.includes(apiKey) ? undefined : upstreamCode,
  })
}
