import type { Budget } from './budget.ts'
import type { ChatError, ErrorCode } from './errors.ts'

/** How an answer ended, in the model's own judgement; `cancelled` when somebody stopped it. */
export type FinishReason = 'stop' | 'length' | 'content-filter' | 'tool-calls' | 'cancelled' | 'other'

/** Tokens as the upstream counted them. */
export interface Usage {
  readonly inputTokens: number
  readonly outputTokens: number
  readonly cachedInputTokens?: number
  readonly reasoningTokens?: number
  /** The upstream's own total, only where it is not the sum of input and output. */
  readonly totalTokens?: number
}

/**
 * What an upstream can say. Text-like deltas are pieces: joined in order they are the whole, byte for byte.
 * A `tool-call` carries `id` and `name` in its first piece; its `arguments` are pieces of one JSON text.
 */
export type UpstreamDelta =
  | {
      readonly type: 'text' | 'reasoning' | 'refusal'
      readonly text: string
      /** What the model thought of each token of this piece, as the upstream says it; only where it was asked for. */
      readonly logprobs?: readonly unknown[]
    }
  | {
      readonly type: 'tool-call'
      /** 0, 1, 2 … in order of appearance: which call of this answer the piece belongs to. */
      readonly index: number
      readonly id?: string
      readonly name?: string
      readonly arguments: string
      /** What the vendor wants back with the call, and nobody else understands: Gemini's `extra_content`. */
      readonly extra?: Fields
      /** In the first piece: this service runs the call itself, a `tool-result` follows. */
      readonly server?: true
      /** In the last piece of a call that the client runs: proves later that this service issued it. Not of an upstream. */
      readonly signature?: string
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
  | {
      readonly type: 'start'
      readonly id: string
      readonly model: string
      readonly createdAt: number
      /** The client's id of the message that this answer goes on with, where it is not a message of its own. */
      readonly continues?: string
    }
  | UpstreamDelta
  /** What a tool of this service answered to the call `id`; a sentence about what went wrong when `isError`. */
  | { readonly type: 'tool-result'; readonly id: string; readonly result: unknown; readonly isError?: true }
  | {
      readonly type: 'error'
      readonly code: ErrorCode
      readonly message: string
      readonly retryable: boolean
      /** The request's field that is wrong, as a path. */
      readonly param?: string
      /** The upstream's own short word for it. */
      readonly upstreamCode?: string
      /** The HTTP status it has before the stream, where that is not the code's own. */
      readonly status?: number
    }

/** The first delta of a reply. */
export type StartDelta = Extract<ChatDelta, { type: 'start' }>

/** Whether nothing can follow this delta. */
export function isTerminal(delta: ChatDelta): boolean {
  return delta.type === 'finish' || delta.type === 'error'
}

/** A piece of a message. `other` is what only an upstream that speaks the client's own API understands. */
export type ContentPart =
  | { readonly type: 'text'; readonly text: string }
  /** An https or data URL. `detail` is the API's own word: `low`, `high`, `auto`. */
  | { readonly type: 'image'; readonly url: string; readonly detail?: string }
  | { readonly type: 'other'; readonly part: Fields }

/** A JSON object that nobody looked into. */
export type Fields = Readonly<Record<string, unknown>>

export type Content = string | readonly ContentPart[]

/** A call of a tool with all its pieces joined. */
export interface ToolCall {
  readonly id: string
  readonly name: string
  /** JSON text as the model wrote it: not checked. */
  readonly arguments: string
  /** What the vendor wants back with the call, and nobody else understands: Gemini's `extra_content`. */
  readonly extra?: Fields
}

/** A call with a result in a request, which says that this service issued it. */
export interface ClaimedCall {
  readonly id: string
  readonly name: string
  /** `canonicalInput` of its arguments. */
  readonly input: string
  readonly extra?: Fields | undefined
  readonly signature: string | undefined
  /** Where the request names it, as a path. */
  readonly at: string
}

/** A call in a whole answer. `result` is there when a tool of this service ran; `isError` when it went wrong. */
export interface AnsweredCall extends ToolCall {
  readonly server?: true
  readonly result?: unknown
  readonly isError?: true
}

/** A whole answer. Fields that the model did not use are absent, `text` is always there. */
export interface Answer {
  readonly id: string
  readonly model: string
  readonly createdAt: number
  readonly text: string
  readonly reasoning?: string
  readonly refusal?: string
  readonly toolCalls?: readonly AnsweredCall[]
  readonly sources?: readonly { readonly url: string; readonly title?: string }[]
  /** Of the tokens of the text, and of the refusal: only where they were asked for. */
  readonly logprobs?: { readonly text?: readonly unknown[]; readonly refusal?: readonly unknown[] }
  readonly usage?: Usage
  readonly finishReason: FinishReason
  /** The upstream's own word, where `finishReason` is `other`. */
  readonly rawFinishReason?: string
}

/** One turn of a conversation. `extra`: fields of the client's API that an upstream of the same API gets as they are. */
export type ChatMessage =
  | {
      readonly role: 'system' | 'developer' | 'user'
      readonly content: Content
      readonly extra?: Fields
    }
  | {
      readonly role: 'assistant'
      /** Empty where the turn was only calls. */
      readonly content: Content
      readonly toolCalls?: readonly ToolCall[]
      /** What the model thought before it said this: some want it back together with the results of their calls. */
      readonly reasoning?: string
      readonly extra?: Fields
    }
  | {
      readonly role: 'tool'
      readonly toolCallId: string
      readonly content: Content
      readonly extra?: Fields
    }

/** A tool as the model is told of it. */
export interface ToolSpec {
  readonly name: string
  readonly description?: string | undefined
  /** JSON Schema of the arguments. */
  readonly parameters?: Fields | undefined
  readonly strict?: boolean | undefined
  /** Fields beside these, and beside those of its function, that an upstream of the same API gets as they are. */
  readonly extra?: { readonly tool?: Fields; readonly function?: Fields } | undefined
}

/** What is asked of a model, in nobody's wire format. Absent fields are left to the upstream. */
export interface ChatRequest {
  readonly model: string
  readonly messages: readonly ChatMessage[]
  readonly temperature?: number | undefined
  readonly topP?: number | undefined
  readonly maxOutputTokens?: number | undefined
  /** Whether `maxOutputTokens` is the service's default: a model that refuses it is called without a limit. */
  readonly limitIsDefault?: boolean | undefined
  readonly stop?: string | readonly string[] | undefined
  readonly seed?: number | undefined
  readonly presencePenalty?: number | undefined
  readonly frequencyPenalty?: number | undefined
  readonly reasoningEffort?: string | undefined
  readonly tools?: readonly ToolSpec[] | undefined
  readonly toolChoice?: 'none' | 'auto' | 'required' | { readonly name: string } | undefined
  readonly parallelToolCalls?: boolean | undefined
  /** As in OpenAI's Chat Completions API: `{"type":"json_schema","json_schema":{…}}`. */
  readonly responseFormat?: Fields | undefined
  readonly logprobs?: boolean | undefined
  readonly topLogprobs?: number | undefined
  /** How many of `messages` the service put before the client's. Default 0. */
  readonly ownMessages?: number | undefined
  /** Fields of OpenAI's API, or of a vendor's own, that are passed on as they are; those above win over them. */
  readonly extra?: Fields | undefined
}

/**
 * Asks a model and yields what it says, `finish` last. Failure is thrown, best as a `ChatError`.
 * It ends soon after `signal` aborts, even while nothing arrives, and leaves nothing open behind it.
 */
export type Upstream = (request: ChatRequest, options: UpstreamOptions) => Deltas<UpstreamDelta>

/** What may be changed by whoever made it. A field, unlike a getter, is the same for all objects of a kind: several times as fast. */
export type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** Deltas as they come. They are read once: one by one, or in batches. */
export interface Deltas<T> extends AsyncIterable<T> {
  /** What arrived together in one piece: less work for whoever reads, where many arrive at once. Never empty. */
  batches?(): AsyncIterable<readonly T[]>
}

export interface UpstreamOptions {
  readonly signal: AbortSignal
  /**
   * To be called when the model's server has taken the request: from here on an answer may cost. `upstream` says
   * which server where there are several; called again when another one takes over.
   */
  readonly onAccept?: ((upstream?: string) => void) | undefined
  /** On whose behalf the request is made: a principal or an address. Absent = unknown, which is one caller for all. */
  readonly caller?: string | undefined
}

/**
 * Writes one delta as text for the wire; `''` where this dialect has nothing to say. `seq` counts from 1; without it
 * the delta is in no log, and must not move a reader's cursor.
 */
export type Encoder = (delta: ChatDelta, seq?: number) => string

/** A wire format: reads a request, writes deltas, documents and refusals. */
export interface Dialect {
  /** @throws `ChatError` that names the field, for anything that is not a request of this dialect. */
  readRequest(body: unknown, limits: RequestLimits): DialectRequest
  createEncoder(options: EncoderOptions): Encoder
  /** The document of a whole answer; undefined where this dialect has none for it, because it was stopped. */
  toDocument?(answer: Answer): unknown
  /** A failure before the stream began. */
  refuse(error: ChatError, headers?: Readonly<Record<string, string>>): HttpReply
  /** Headers of a stream, beside those that every stream has. */
  headers?(replyId: string): Readonly<Record<string, string>>
  /** What leaves before the first delta. */
  preamble?(replyId: string): string
  /** A comment for times of silence, where one with a blank line after it would disturb. */
  readonly heartbeat?: string
  /** How long a reply goes on without a reader, where it is less than the service allows: 0 when nobody can come back. */
  readonly lingerMs?: number
}

export interface EncoderOptions {
  readonly replyId: string
  /** Whether the client asked to be told the usage. */
  readonly usage?: boolean | undefined
}

/** What a dialect made of a request body. */
export interface DialectRequest {
  readonly chat: Omit<ChatRequest, 'model'> & { readonly model?: string | undefined }
  /** False when the whole answer is wanted as one JSON document. */
  readonly stream: boolean
  /** Whether the client asked to be told the usage. */
  readonly usage?: boolean
  /** The client's own name for the conversation. */
  readonly chatId?: string | undefined
  /** The client's id of the message that the answer goes on with, where it is not a message of its own. */
  readonly continues?: string | undefined
  /** Calls of tools that run in the client, for which the request brings results: to be verified. */
  readonly calls?: readonly ClaimedCall[] | undefined
}

export interface RequestLimits {
  /** Messages in one request. */
  readonly maxMessages: number
  /** Hosts whose https images a request may name; `'*'` for any public one. Absent: as the dialect finds right. */
  readonly imageHosts?: readonly string[] | '*' | undefined
  /** Fields that pass although they are not known, by their path without indexes: `min_tokens`, `messages.id`. */
  readonly passFields?: ReadonlySet<string> | undefined
  /** Tools of this service that run in the client. */
  readonly clientTools?: ReadonlySet<string> | undefined
  /** Tools that this service runs itself. */
  readonly serverTools?: ReadonlySet<string> | undefined
}

/** What a store knows of a reply without reading it. */
export interface ReplyState {
  /** Deltas in the log: the sequence number of the last one. */
  readonly length: number
  /** Whether the last one is terminal. */
  readonly sealed: boolean
  /** Whose reply it is; `''` where nobody is told apart. */
  readonly owner: string
  /** The last one, where it is terminal. */
  readonly terminal?: ChatDelta | undefined
  /** Whether a part of it was lost: nobody can be told that the rest is all. */
  readonly lost?: boolean | undefined
}

/** What is asked of the producer of a reply: to end it; or to end it as soon as nobody reads it. */
export type Ask = 'stop' | 'supersede'

export interface CreateOptions {
  /** Whose reply it is. Default `''`. */
  readonly owner?: string | undefined
  /** On whose behalf it is stored: a principal or an address, for quotas. Default: one caller for all. */
  readonly caller?: string | undefined
  /** The first delta, which the producer appends too: where it cannot, the reply begins with it all the same. */
  readonly start?: ChatDelta | undefined
  /** Told what another instance asks of this reply's producer; may be told the same again. */
  readonly onAsk?: ((ask: Ask) => void) | undefined
  /** Runs at most once, when memory is used up and this reply takes the most: its producer must end it. */
  readonly onOverload?: (() => void) | undefined
}

/** What a name leads to. */
export interface Binding {
  readonly id: string
  /** What whoever bound it wanted to remember. */
  readonly note?: string | undefined
}

/** Told of deltas: those of `deltas` from the index `from` to its end as it is now. The array may grow later. */
export type OnBatch = (deltas: readonly ChatDelta[], from: number) => void
/** Told that there is nothing more, and why when that is a failure. */
export type OnOver = (failure?: { readonly error: unknown }) => void

/** A log as one reader gets it: each pull gives all there is since the last. */
export interface Batches extends AsyncIterableIterator<readonly ChatDelta[]> {
  /** As `next()`, told instead of promised, at once or later: nothing is made for each delta. A store may do without. */
  pull?(onBatch: OnBatch, onOver: OnOver): void
}

/**
 * The log of replies, and names for them. An implementation is good when it passes the contract table in
 * `test/store-contract.ts`. Where it cannot be reached a call fails with `ChatError` `store-unavailable`.
 */
export interface StreamStore {
  /** Counts the memory that its replies take in this process. Absent = they take none, or it is not counted. */
  readonly budget?: Budget | undefined
  /** How long a log may lag behind what its readers have seen, in milliseconds; absent = it never does. */
  readonly leaseMs?: number | undefined
  /**
   * Opens an empty log. False when it is kept in this process alone, for its first readers and nobody else, because
   * the store cannot be reached and may do without. @throws `ChatError` when there is one under this id already.
   */
  create(id: string, options?: CreateOptions): boolean | Promise<boolean>
  /** Forgets a log that nobody was told of. */
  discard(id: string): void | Promise<void>
  /**
   * Adds deltas at the end. Others may still be on their way when this returns; a terminal delta seals the log, and
   * is there for good, with all before it, when this resolves.
   * Undefined when they were added; else the delta that ends the log instead: it was sealed already, or is gone.
   */
  append(id: string, deltas: readonly ChatDelta[]): ChatDelta | undefined | Promise<ChatDelta | undefined>
  /**
   * Everything after `after`, then what comes, up to the terminal delta; each pull gives all there is since the
   * last. Ends without a word when `signal` aborts. @throws `not-found`, or `gone` if it is lost while being read;
   * `overloaded` where memory for a copy is missing, or for what is not read yet.
   */
  read(id: string, options: { readonly after: number; readonly signal: AbortSignal }): Batches
  /**
   * Undefined when there is no such reply, or none any more. For anybody but its `owner`, where that is given, it takes
   * as long, and fails as well, as for a reply that there is not.
   */
  state(id: string, owner?: string): ReplyState | undefined | Promise<ReplyState | undefined>
  /**
   * Asks something of a reply's producer, wherever that is. `stop` resolves when the reply is sealed: where its
   * producer does not answer it is sealed without it.
   */
  ask(id: string, ask: Ask): Promise<ReplyState | undefined>
  /**
   * Binds a name to a reply, unless it is bound already and `replace` is not set. The binding that was there before,
   * if any: with `replace` unset that one still holds. What a reply has it can claim again. A name that is
   * claimed where its reply is produced lives while the reply runs, and about as long as the reply after its end; it can
   * go earlier only with its reply.
   */
  claim(
    name: string,
    binding: Binding,
    options?: { readonly replace?: boolean },
  ): Binding | undefined | Promise<Binding | undefined>
  find(name: string): Binding | undefined | Promise<Binding | undefined>
  /** Frees a name that is bound to this reply. */
  release(name: string, id: string): void | Promise<void>
  /**
   * How long ago, in milliseconds, somebody read a reply of this instance on another one, give or take a second or two;
   * undefined = never. Absent = there is no other.
   */
  readAgoMs?(id: string): Promise<number | undefined>
  /** Whether new replies can be kept now. Absent = always. */
  ready?(): Promise<boolean>
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
  /** The authenticated sender: replies are visible to their principal alone. Absent = requests are anonymous. */
  readonly principal?: string | undefined
  /**
   * Determines `principal` in its place. It runs once, for a request that a route answers, and not for health checks or
   * preflights. It may be async. Anything but a string or undefined is refused with `500 internal`; a `ChatError` that
   * it throws is the response.
   */
  readonly identify?: (() => unknown) | undefined
  /** The client's IP address, as far as the platform knows it. Absent = clients without a principal are one caller. */
  readonly address?: string | undefined
  /** How long the platform lets the answer take, in milliseconds; absent = as long as it likes. */
  readonly remainingMs?: number | undefined
}

/** Pieces of a body, as they come. Iterating them to their end, or leaving them, frees what they hold. */
export interface Frames extends AsyncIterableIterator<string> {
  /** As `next()`, told instead of promised, at once or later: no promise is made for each piece. One at a time. */
  pull?(onFrame: (frame: Frame | Promise<Frame>) => void): void
}

export type Frame = IteratorResult<string>

/** A reply as the core gives it. */
export interface HttpReply {
  readonly status: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Frames
  /** Resolves, never rejects, when nothing of this reply runs any more: it can outlive the body. */
  readonly settled: Promise<void>
  /** No route of ours: an adapter that has somewhere else to ask may do so. */
  readonly unmatched?: true
}

/** Answers requests. Never rejects: a failure is a reply. */
export type Handler = (request: HttpRequest) => Promise<HttpReply>
