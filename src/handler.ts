import { createBudget } from './budget.ts'
import { passFieldsOf } from './dialects/openai-pass.ts'
import { ChatError } from './errors.ts'
import type { OnEnd, OnFinish } from './finished.ts'
import { json } from './http.ts'
import { MAX_NODES } from './json-parse.ts'
import { toBase64Url } from './names.ts'
import { type Page, pageRoute } from './page.ts'
import type { AllowContinue } from './policy.ts'
import { createPrepare } from './prepare.ts'
import { createReplies } from './replies.ts'
import { type Report, toReport } from './report.ts'
import { dispatch, type Route } from './router.ts'
import { chatRoutes } from './routes/chat.ts'
import { completionRoutes, modelRoutes } from './routes/completions.ts'
import { uiMessageRoutes } from './routes/ui-messages.ts'
import { createService } from './service.ts'
import { createMemoryStore } from './stores/memory.ts'
import { createSigner } from './signing.ts'
import { setTimer } from './timer.ts'
import { createToolbox, type Tool } from './tools.ts'
import { requireMaxSteps } from './turn.ts'
import type { Handler, HttpReply, HttpRequest, StreamStore, Upstream } from './types.ts'

/** The wire formats: our own typed events, OpenAI's API, the AI SDK's UI message stream. */
export const dialectNames = ['events', 'openai', 'ai-sdk'] as const
export type DialectName = (typeof dialectNames)[number]

export interface HandlerOptions {
  readonly upstream: Upstream
  /** The model of a request that names none. */
  readonly model: string
  /** Exact names a request may ask for; `'*'` for any. Default: `model` alone. */
  readonly models?: readonly string[] | '*' | undefined
  /** Put before every conversation. */
  readonly systemPrompt?: string | undefined
  /**
   * Where replies are kept, and what bounds their memory. Default: `createMemoryStore()`, where all of them together
   * may take 128 MiB.
   */
  readonly store?: StreamStore | undefined
  /**
   * Tokens one answer may have: lowers what a request asks for, and holds where it asks for nothing. Default 16384, sent
   * to models that take it: a model with a lower maximum is called without. `Infinity`: no limit.
   */
  readonly maxOutputTokens?: number | undefined
  /** Default 262144. */
  readonly maxBodyBytes?: number | undefined
  /** Values that the JSON of one body may hold: arrays, objects, strings, numbers … Default 10000. */
  readonly maxJsonNodes?: number | undefined
  /** Default 200. */
  readonly maxMessages?: number | undefined
  /** Replies produced at the same time; above it new ones are refused. Default 1000; `Infinity`: no limit. */
  readonly maxReplies?: number | undefined
  /** Characters one answer may have. Default 8 Mi. */
  readonly maxReplyBytes?: number | undefined
  /** How long one answer may take. Default 600000. */
  readonly totalTimeoutMs?: number | undefined
  /** Silence after which the response headers leave without a delta. Default 5000. */
  readonly acceptWaitMs?: number | undefined
  /** Silence after which a comment is sent. Default 15000. */
  readonly heartbeatMs?: number | undefined
  /** How long an answer goes on when nobody reads it any more. Default 30000. */
  readonly lingerMs?: number | undefined
  /**
   * Who may send `X-On-Disconnect: continue`, which lets a reply run to its end without a reader: `never`,
   * `authenticated` (requests with a principal) or `always`. Others get `403 policy-not-allowed`. Default `authenticated`.
   */
  readonly allowContinue?: AllowContinue | undefined
  /** How long somebody who came back is served before it has to come again. Default: to the end of the answer. */
  readonly followMs?: number | undefined
  /** How often the upstream is asked again when it failed before the first delta. Default 2. */
  readonly retries?: number | undefined
  /** The chat page. Default: none. */
  readonly page?: Page | undefined
  /**
   * Set where the platform cannot stream: a request for a stream is then refused with 501 and this address,
   * `''` when it is not known.
   */
  readonly streamingElsewhere?: string | undefined
  /** Ends every reply when it aborts, with its reason: for shutting down. */
  readonly signal?: AbortSignal | undefined
  /** The wire formats that are spoken. Default: all. The page needs `events`. */
  readonly dialects?: readonly DialectName[] | undefined
  /** Tools the model may use. One with `execute` runs here, the others in the client. */
  readonly tools?: readonly Tool[] | undefined
  /**
   * Fields of requests at `/v1` that pass to the upstream although this service does not know them, by name, and by
   * path where they are within others: `min_tokens`, `messages.id`, `tools.function.x`. Addresses in them are held to
   * the same rules as everywhere. Default: none.
   */
  readonly passFields?: readonly string[] | undefined
  /** How often the model is asked for one reply, when it goes on using tools. Default 8. */
  readonly maxSteps?: number | undefined
  /**
   * Hosts whose https images a request may name, `'*'` for any public one; images inside a request (`data:`) always
   * may be. Default: none for pages, any public one for programs (`/v1`).
   */
  readonly imageHosts?: readonly string[] | '*' | undefined
  /** Runs once for each reply, however it ended; the reply is not settled before it is done. */
  readonly onFinish?: OnFinish | undefined
  /** As `onFinish`, before it and without the answer, which is put together for `onFinish` alone: for logs and metrics. */
  readonly onEnd?: OnEnd | undefined
  /** Told of every failure on our side or the upstream's. Its `cause` can hold words of the conversation. */
  readonly onError?: Report | undefined
  /**
   * Signs the calls of tools that run in the client: on `/api/chat` a result is taken only for a call that was issued
   * with this secret. At least 16 characters, the same on all instances. Default: random, valid for this handler alone.
   */
  readonly signingSecret?: string | undefined
  /** Default: 128 random bits, base64url. */
  readonly createId?: (() => string) | undefined
  /** Milliseconds since 1970. */
  readonly now?: (() => number) | undefined
}

/** Answers requests until it is closed. */
export interface ChatHandler extends Handler {
  /**
   * Takes no new replies from now on, and says so at `/readyz`. Those that are running have `drainMs` to end; then
   * they are ended with `server-shutdown`. Resolves, never rejects, when nothing of them runs any more.
   */
  close(options?: { readonly drainMs?: number | undefined }): Promise<void>
}

/** Makes the handler that every adapter carries: the routes over one log of replies. */
export function createHandler(options: HandlerOptions): ChatHandler {
  const { model, models = [model], store = createMemoryStore(), page, imageHosts } = options
  const { dialects = dialectNames } = options
  const report = toReport(options.onError)
  let closing = false
  const tools = createToolbox(options.tools)
  if (options.maxSteps !== undefined) requireMaxSteps(options.maxSteps)
  const signer = createSigner(options.signingSecret)
  const limits = {
    maxMessages: options.maxMessages ?? 200,
    imageHosts,
    clientTools: tools?.clientNames,
    passFields: passFieldsOf(options.passFields),
    serverTools: tools?.serverNames,
  }
  const lingerMs = options.lingerMs ?? 30_000
  const budget = store.budget ?? createBudget()
  const replies = createReplies({
    upstream: options.upstream,
    store,
    budget,
    maxReplies: options.maxReplies ?? 1000,
    maxReplyBytes: options.maxReplyBytes ?? 8 * 1024 * 1024,
    totalTimeoutMs: options.totalTimeoutMs ?? 600_000,
    lingerMs,
    retries: options.retries ?? 2,
    tools,
    signer,
    maxSteps: options.maxSteps,
    signal: options.signal,
    report,
    onFinish: options.onFinish,
    onEnd: options.onEnd,
    createId: options.createId ?? (() => toBase64Url(crypto.getRandomValues(new Uint8Array(16)))),
    now: options.now ?? Date.now,
  })
  const service = createService({
    store,
    budget,
    replies,
    limits,
    signer,
    prepare: createPrepare({
      ...options,
      models,
      maxOutputTokens: options.maxOutputTokens,
      tools,
    }),
    maxBodyBytes: options.maxBodyBytes ?? 262_144,
    maxJsonNodes: options.maxJsonNodes ?? MAX_NODES,
    acceptWaitMs: options.acceptWaitMs ?? 5000,
    heartbeatMs: options.heartbeatMs ?? 15_000,
    lingerMs,
    allowContinue: options.allowContinue ?? 'authenticated',
    followMs: options.followMs ?? Infinity,
    streamingElsewhere: options.streamingElsewhere,
  })
  const spoken: Readonly<Record<DialectName, readonly Route[]>> = {
    events: [...chatRoutes(service, limits), ...(page ? [pageRoute(page)] : [])],
    openai: completionRoutes(service),
    'ai-sdk': uiMessageRoutes(service, { store, report }),
  }
  const routes: readonly Route[] = [
    ...modelRoutes({ model, models }),
    { method: 'GET', path: /^\/healthz$/, open: true, answer: () => json(200, { status: 'ok' }) },
    { method: 'GET', path: /^\/readyz$/, open: true, answer: readiness },
    ...dialects.flatMap((name) => spoken[name]),
  ]

  async function readiness(): Promise<HttpReply> {
    if (closing) return json(503, { status: 'draining' })
    const kept = (await store.ready?.()) ?? true
    return kept ? json(200, { status: 'ready' }) : json(503, { status: 'store-unavailable' })
  }

  async function close({ drainMs = 0 }: { readonly drainMs?: number | undefined } = {}): Promise<void> {
    closing = true
    const reason = new ChatError('server-shutdown', 'The server is shutting down. Ask again in a moment.', {
      retryAfterMs: 1000,
    })
    replies.refuse(reason)
    const timer = setTimer(() => replies.end(reason), drainMs)
    await replies.idle()
    clearTimeout(timer)
  }

  function handle(request: HttpRequest): Promise<HttpReply> {
    return dispatch(routes, request, (error) => {
      if (error.code === 'internal' || error.code === 'store-unavailable') report(error, {})
    })
  }

  return Object.assign(handle, { close })
}
