import type { ChatDelta } from '../src/types.ts'

/**
 * Where a chat stands. `connecting`: its first request is on its way. `live`: connected. `stalled`: nothing came for too
 * long, the connection is given up. `resuming`: connecting again, or waiting to. `ended`: nothing is open any more.
 */
export type ChatState = 'connecting' | 'live' | 'stalled' | 'resuming' | 'ended'

/** One turn of a conversation, as the service reads it. */
export interface Message {
  readonly role: 'user' | 'assistant'
  readonly content: string
}

/** How a reply is followed. */
export interface FollowOptions {
  /** The address of the chat route; relative ones in browsers only. Default `/chat`. */
  readonly url?: string | undefined
  /** Sent with every request. A function is asked each time: an hour later a token may be another one. */
  readonly headers?: HeadersOption | undefined
  /** Closes the connection and makes the loop throw its reason. It does not stop the reply: `stop()` does. */
  readonly signal?: AbortSignal | undefined
  /** Sends the requests. Default: the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined
  /** The service's heartbeat: after two of them and five seconds without a byte the connection is given up. Default 15 s. */
  readonly heartbeatMs?: number | undefined
  /** How long to try without getting anywhere. Default two minutes. */
  readonly giveUpMs?: number | undefined
  /** How many failures in a row to take. Default as many as fit into `giveUpMs`. */
  readonly maxAttempts?: number | undefined
  /** Told of each change of state. */
  readonly onState?: ((state: ChatState) => void) | undefined
  /** Stops the reply when the page is left, by `navigator.sendBeacon`. A reload ends the answer, too, then. */
  readonly stopOnPageHide?: boolean | undefined
}

type Headers = Readonly<Record<string, string>>
export type HeadersOption = Headers | (() => Headers | Promise<Headers>)

/** What is asked, and how. */
export interface AskOptions extends FollowOptions {
  readonly messages?: readonly Message[] | undefined
  /** Instead of `messages`: a single question. */
  readonly prompt?: string | undefined
  readonly model?: string | undefined
  /** Further fields of the request, such as `temperature`. */
  readonly body?: Readonly<Record<string, unknown>> | undefined
  /**
   * The idempotency key: the same key never asks twice. After a reload that needs the same `clientSecret` too, unless
   * the service knows who you are. Default: 128 random bits.
   */
  readonly key?: string | undefined
  /**
   * Tells this client from other anonymous ones, who could guess its keys: 16 to 128 visible ASCII characters. Default:
   * 128 random bits, the same until the page is reloaded or the process ends.
   */
  readonly clientSecret?: string | undefined
  /** Told the reply's id as soon as it is known: whoever keeps it can `resume` after a reload. */
  readonly onId?: ((id: string) => void) | undefined
}

export interface ResumeOptions extends FollowOptions {
  /** The cursor: the number of the last delta that is there already. Default 0, everything. */
  readonly after?: number | undefined
}

/**
 * One reply being followed. Iterating it asks, follows, reconnects, and ends after the reply's own `finish` or `error`;
 * what is no part of the reply is thrown as a `ChatClientError`. It can be iterated once. Leaving the loop closes the connection.
 */
export interface Chat extends AsyncIterable<ChatDelta> {
  /** The reply's id; undefined until the service has told it. */
  readonly id: string | undefined
  /** The number of the last delta that was given. */
  readonly cursor: number
  readonly state: ChatState
  /**
   * Asks the service to stop the reply, as soon as its id is known; the loop then ends with what the service still says.
   * Resolves `ended` when it was over already, or when there is none: refused, left before it had an id, never asked.
   * @throws `ChatClientError` when the service knows no such reply, or cannot be reached.
   */
  stop(): Promise<'stopped' | 'ended'>
}

export interface ChatClient {
  /** Asks. Nothing is sent before the loop begins. @throws `TypeError` for a `url` that is none. */
  (options: AskOptions): Chat
  /** Follows a reply that was asked before, by anybody who may. */
  resume(id: string, options?: ResumeOptions): Chat
}
