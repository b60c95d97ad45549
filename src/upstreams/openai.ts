import OpenAI from 'openai'
import { inBatches } from '../batches.ts'
import { isObject } from '../checks.ts'
import { ChatError } from '../errors.ts'
import { encodeLargeJson, isLarge } from '../json-write.ts'
import { pause } from '../pause.ts'
import type { ChatRequest, Fields, Upstream } from '../types.ts'
import { type AnswerLimits, readAnswer } from './answer.ts'
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
import { createSecretSearch, quotes } from './secrets.ts'
import { outOf, shortageIn } from './shortage.ts'
import { withoutWords, wordsOf } from './words.ts'

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
  /**
   * Headers of this server alone, by name. In place of the package's environment variable, `OPENAI_CUSTOM_HEADERS`,
   * which is what counts by default; null: none.
   */
  readonly headers?: Readonly<Record<string, string>> | null | undefined
  /** Further texts that no client may be shown, beside what is sent to the server in headers: passwords of proxies. */
  readonly secrets?: readonly string[] | undefined
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
  const sent: Sent = {}
  const client = createClient(options, sent)
  const api = apiNamed(name)
  const learned = createMemory(mannersAt(client.baseURL))
  let search: ((text: string) => boolean) | undefined

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

  /** Whether a text of the upstream's repeats what it must not. */
  function isSecret(text: string): boolean {
    search ??= createSecretSearch([...(options.secrets ?? []), ...secretsOf(client, sent)])
    return search(text)
  }

  return (request, { signal, onAccept }) =>
    inBatches(() =>
      readAnswer({
        open: (signal, accept) => open(request, signal, accept),
        toError: (failure) => withoutSecrets(failure, request, isSecret),
        isSecret,
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

/** The headers of the last request, as they were sent. */
interface Sent {
  headers?: HeadersInit | undefined
}

function createClient(
  options: Omit<OpenAIOptions, 'api' | keyof AnswerLimits | 'maxEventBytes'>,
  sent: Sent,
) {
  const { apiKey, baseURL, organization, project, headers, fetch = globalThis.fetch } = options
  const send = withBoundedRefusals(fetch)
  const client = new OpenAI({
    ...(apiKey ? { apiKey } : {}),
    ...(baseURL ? { baseURL } : {}),
    ...(organization === undefined ? {} : { organization }),
    ...(project === undefined ? {} : { project }),
    fetch: (input: Parameters<typeof send>[0], init?: RequestInit) => {
      sent.headers = init?.headers
      return send(input, init)
    },
    maxRetries: 0,
    // Ours end earlier; this one only covers the wait for headers.
    timeout: 2 ** 31 - 1,
    // A redirect could carry the conversation, and the key, to another host.
    fetchOptions: { redirect: 'error' },
    logLevel: 'off',
  })
  if (headers !== undefined) setHeaders(client, headers ?? {})
  return client
}

/**
 * Sets all headers of a client's own. The package adds those of `OPENAI_CUSTOM_HEADERS` to what it is given, and has no option
 * against that: they would go to every server, also to those of other vendors.
 */
function setHeaders(client: OpenAI, defaultHeaders: Readonly<Record<string, string>>): void {
  const settings: unknown = Reflect.get(client, '_options')
  if (!isObject(settings))
    throw new TypeError('This version of the package openai keeps its options elsewhere.')
  Object.assign(settings, { defaultHeaders: new Headers(defaultHeaders) })
}

/** Headers that say nothing about who asks. */
const plainHeaders = /^(?:accept|content-type|content-length|user-agent|x-stainless-.*)$/i

/** What this server is sent to prove who asks: values of headers, and what its address holds. */
function secretsOf(client: OpenAI, { headers }: Sent): readonly string[] {
  const { username, password, searchParams } = new URL(client.baseURL)
  const values = [...new Headers(headers)].flatMap(([name, value]) =>
    plainHeaders.test(name) ? [] : [value],
  )
  return [client.apiKey ?? '', username, password, ...searchParams.values(), ...values]
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
  const shortage = shortageIn(error)
  if (shortage !== undefined) return outOf(shortage, error)
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

/**
 * A failure without words of the upstream's that repeat what no client may know: a key, in whatever encoding, or the
 * messages that this service put before the client's.
 */
function withoutSecrets(
  error: unknown,
  { messages, ownMessages = 0 }: ChatRequest,
  isSecret: (text: string) => boolean,
): unknown {
  if (!(error instanceof ChatError)) return error
  const words = wordsOf(error.message)
  if (words === undefined) return error
  const { code, message, param, cause, status, retryable, retryAfterMs, upstreamCode } = error
  const place = /^(?:messages|input)\[(\d+)\]/.exec(param ?? '')?.[1]
  const isOurs =
    (place !== undefined && Number(place) < ownMessages) ||
    messages.slice(0, ownMessages).some(({ content }) => quotes(words, JSON.stringify(content)))
  if (!isOurs && !isSecret(words)) return error
  const more = { cause, param, status, retryable, retryAfterMs, upstreamCode }
  return new ChatError(code, withoutWords(message), more)
}
