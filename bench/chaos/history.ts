import type { Delta, Script } from './truth.ts'

/**
 * What was done to the service. Times are milliseconds since the run began. `stall` was not done by us: the machine was
 * too busy to run anything for longer than a lease can bear.
 */
export interface Fault {
  readonly kind: 'kill' | 'drain' | 'redis-kill' | 'redis-rollback' | 'redis-pause' | 'flush' | 'stall'
  /** The server it was done to. */
  readonly instance?: string
  readonly at: number
  /** When what was down was up again. */
  until: number
}

/** A delta as one reader saw it. */
export interface Sighting {
  readonly at: number
  readonly instance: string
  /** Undefined where it had no id. */
  readonly seq: number | undefined
  readonly delta: Delta
}

/** How a reader's reading ended. */
export type End =
  /** With the terminal delta. */
  | { readonly how: 'terminal'; readonly at: number }
  /** Without it, and told so: an HTTP status, or the code of an error that is in no log. */
  | { readonly how: 'lost'; readonly what: string; readonly at: number; readonly instance: string }
  /** An HTTP error in place of the answer. */
  | { readonly how: 'refused'; readonly what: string; readonly at: number; readonly instance: string }
  /** Not at all, in the time it had. */
  | { readonly how: 'hang'; readonly what: string; readonly at: number }
  /** With something that the protocol does not know. */
  | { readonly how: 'unexpected'; readonly what: string; readonly at: number }

/** One client that reads one reply, over many connections. */
export interface ReaderHistory {
  readonly name: string
  readonly startedAt: number
  replyId: string | undefined
  readonly sightings: Sighting[]
  end: End | undefined
  /** What a request after the terminal delta was answered with. */
  afterEnd: { readonly status: number; readonly at: number; readonly instance: string } | undefined
}

/** A time in which somebody read. */
export interface Visit {
  readonly from: number
  to: number
}

/** One request for an answer. */
export interface Post {
  readonly at: number
  readonly instance: string
  replyId: string | undefined
}

/** A request to stop it, sent again until it is answered. */
export interface Stop {
  /** When it was sent first, and last. */
  readonly at: number
  askedAt: number
  attempts: number
  ackAt: number | undefined
  /** `stopped`, `ended`, or what else was said. */
  said: string | undefined
}

/** One request on the side, and what it was answered with. */
export interface Probe {
  readonly at: number
  readonly instance: string
  readonly status: number
  readonly state?: string | undefined
  readonly length?: number | undefined
}

/** Everything that is known of one question. */
export interface History {
  readonly n: number
  readonly prompt: string
  readonly script: Script
  readonly posts: Post[]
  readonly readers: ReaderHistory[]
  /** Connections of all readers. */
  readonly visits: Visit[]
  stop: Stop | undefined
  /** Another question under the same key. */
  imposter: Probe | undefined
  /** `HEAD` of the reply when all was over. */
  head: Probe | undefined
  /** Whether every reader left for good, so that it may be cancelled. */
  abandoned: boolean
  /** Requests that reached the model. */
  readonly calls: readonly { readonly at: number; readonly closedAt: number | undefined }[]
  /** In the order of what happened. */
  readonly story: Note[]
}

export interface Note {
  readonly at: number
  readonly text: string
}

/** Whether nothing may follow. */
export function isTerminal({ type }: Delta): boolean {
  return type === 'finish' || type === 'error'
}
