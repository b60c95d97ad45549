import type { Exchange } from '../exchange.ts'
import type { Step } from '../play.ts'
import type { Needs, Reply } from '../reply.ts'

/** The APIs that the simulator answers in. */
export type ApiName = 'chat' | 'responses'

/** What can be set on a fault. */
export interface FaultParams {
  /** Tokens that are sent before it happens. */
  readonly after: number
  readonly status: number
  /** Seconds, as the header says it. */
  readonly retryAfter: number
  readonly ms: number
  readonly bytes: number
  readonly count: number
  /** An address to send the client to. */
  readonly to: string
  /** A member of the request's body. */
  readonly field: string
  /** A `finish_reason`. */
  readonly finish: string
  /** The code of an error. */
  readonly code: string
}

/** One way in which a server misbehaves. */
export interface Fault {
  readonly name: string
  /** What it does, in one sentence. */
  readonly about: string
  /** The parameters it takes, with their defaults. */
  readonly params?: Partial<FaultParams>
  /** It is about events, so a request without `stream: true` cannot have it. */
  readonly streamOnly?: true
  /** The API whose events it is about; absent, it is about both. */
  readonly api?: ApiName
  readonly needs?: Needs
  /** Changes the answer before it is laid out. */
  readonly alter?: (reply: Reply, params: FaultParams) => Reply
  /** Decides what happens on the wire; without it the (altered) answer is sent properly. */
  readonly play?: (exchange: Exchange, params: FaultParams) => Step[]
}

/** Values for what neither the request nor the fault sets. */
export const defaults: FaultParams = {
  after: 3,
  status: 500,
  retryAfter: 2,
  ms: 1000,
  bytes: 64 * 1024 * 1024,
  count: 10_000,
  to: '',
  field: '',
  finish: '',
  code: '',
}
