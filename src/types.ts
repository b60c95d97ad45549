import type { ErrorCode } from './errors.ts'

/** How an answer ended, in the model's own judgement; `cancelled` when somebody stopped it. */
export type FinishReason = 'stop' | 'length' | 'content-filter' | 'tool-calls' | 'cancelled' | 'other'

/** Tokens as the upstream counted them. */
export interface Usage {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedInputTokens?: number
  readonly reasoningTokens?: number
}

/**
 * What an upstream can say. Text-like deltas are pieces: joined in order they are the whole, byte for byte.
 * A `tool-call` carries `id` and `name` in its first piece; its `arguments` are pieces of one JSON text.
 */
export type UpstreamDelta =
  | { readonly type: 'text' | 'reasoning' | 'refusal'; readonly text: string }
  | {
      readonly type: 'tool-call'
      /** 0, 1, 2 … in order of appearance: which call of this answer the piece belongs to. */
      readonly index: number
      readonly id?: string
      readonly name?: string
      readonly arguments: string
    }
  | { readonly type: 'source'; readonly url: string; readonly title?: string }
  | ({ readonly type: 'usage' } & Usage)
  /** `raw` is the upstream's own word where it is none of ours; `reason` is then `other`. */
  | { readonly type: 'finish'; readonly reason: FinishReason; readonly raw?: string }

/**
 * One small fact of an answer. A reply is `start`, then anything, then exactly one `finish` or `error`.
 * `createdAt` is in milliseconds since 1970.
 */
export type ChatDelta =
  | { readonly type: 'start'; readonly id: string; readonly model: string; readonly createdAt: number }
  | UpstreamDelta
  | {
      readonly type: 'error'
      readonly code: ErrorCode
      readonly message: string
      readonly retryable: boolean
    }

/** Whether nothing can follow this delta. */
export function isTerminal(delta: ChatDelta): boolean {
  return delta.type === 'finish' || delta.type === 'error'
}

/** One turn of a conversation. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

/** What is asked of a model, in nobody's wire format. Absent fields are left to the upstream. */
export interface ChatRequest {
  readonly model: string
  readonly messages: readonly ChatMessage[]
  readonly temperature?: number | undefined
  readonly topP?: number | undefined
  readonly maxOutputTokens?: number | undefined
  readonly stop?: string | readonly string[] | undefined
  readonly seed?: number | undefined
  readonly presencePenalty?: number | undefined
  readonly frequencyPenalty?: number | undefined
  readonly reasoningEffort?: string | undefined
}

/**
 * Asks a model and yields what it says, `finish` last. Failure is thrown, best as a `ChatError`.
 * It ends soon after `signal` aborts, even while nothing arrives, and leaves nothing open behind it.
 */
export type Upstream = (request: ChatRequest, options: UpstreamOptions) => AsyncIterable<UpstreamDelta>

export interface UpstreamOptions {
  readonly signal: AbortSignal
  /** To be called when the model's server has taken the request: from here on an answer may cost. */
  readonly onAccept?: (() => void) | undefined
}

/**
 * Writes one delta as text for the wire; `''` where this dialect has nothing to say. `seq` counts from 1; without it
 * the delta is in no log, and must not move a reader's cursor.
 */
export type Encoder = (delta: ChatDelta, seq?: number) => string

/** A wire format: reads a request, writes deltas. */
export interface Dialect {
  /** @throws `ChatError` that names the field, for anything that is not a request of this dialect. */
  readRequest(body: unknown, limits: RequestLimits): DialectRequest
  createEncoder(replyId: string): Encoder
}

/** What a dialect made of a request body. */
export interface DialectRequest {
  readonly chat: Omit<ChatRequest, 'model'> & { readonly model?: string | undefined }
  /** False when the whole answer is wanted as one JSON document. */
  readonly stream: boolean
}

export interface RequestLimits {
  /** Messages in one request. */
  readonly maxMessages: number
}

/** What a store knows of a reply without reading it. */
export interface ReplyState {
  /** Deltas in the log: the sequence number of the last one. */
  readonly length: number
  /** Whether the last one is terminal. */
  readonly sealed: boolean
}

/** The log of replies. An implementation is good when it passes the contract table in `test/store-contract.ts`. */
export interface StreamStore {
  /** Opens an empty log. @throws `ChatError` when there is one under this id already. */
  create(id: string): void | Promise<void>
  /**
   * Adds deltas at the end; a terminal delta seals the log.
   * False when nothing was added: the log is sealed already, or gone.
   */
  append(id: string, deltas: readonly ChatDelta[]): boolean | Promise<boolean>
  /**
   * Everything after `after`, then what comes, up to the terminal delta; each pull gives all there is since the
   * last. Ends without a word when `signal` aborts. @throws `not-found`, or `gone` if it is lost while being read.
   */
  read(
    id: string,
    options: { readonly after: number; readonly signal: AbortSignal },
  ): AsyncIterableIterator<readonly ChatDelta[]>
  /** Undefined when there is no such reply, or none any more. */
  state(id: string): ReplyState | undefined | Promise<ReplyState | undefined>
}

/** A request as the core sees it. A standard `Request` fits. */
export interface HttpRequest {
  readonly method: string
  /** Absolute, or a path with query. */
  readonly url: string
  readonly headers: { get(name: string): string | null }
  /**
   * The body. An adapter reads no more than `maxBytes` of it, and no longer than it allows.
   * @throws `ChatError` `body-too-large` or `request-timeout`.
   */
  text(maxBytes?: number): Promise<string>
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal
  /** How long the platform lets the answer take, in milliseconds; absent = as long as it likes. */
  readonly remainingMs?: number | undefined
}

/** A reply as the core gives it. */
export interface HttpReply {
  readonly status: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /** Text, or pieces of text as they come; iterating a body to its end, or leaving it, frees what it holds. */
  readonly body: string | AsyncIterableIterator<string>
  /** Resolves, never rejects, when nothing of this reply runs any more: it can outlive the body. */
  readonly settled: Promise<void>
  /** No route of ours: an adapter that has somewhere else to ask may do so. */
  readonly unmatched?: true
}

/** Answers requests. Never rejects: a failure is a reply. */
export type Handler = (request: HttpRequest) => Promise<HttpReply>
