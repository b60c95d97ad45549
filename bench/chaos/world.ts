import type { Fault, History } from './history.ts'
import type { Instance } from './instance.ts'
import type { Model } from './model.ts'

/** What everybody who takes part in a run shares. */
export interface World {
  readonly seed: number
  readonly instances: readonly Instance[]
  readonly model: Model
  readonly faults: Fault[]
  readonly histories: History[]
  readonly counts: Counts
  /** What servers did that nobody had told them to. */
  readonly crashes: string[]
  /** Milliseconds since the run began. */
  readonly now: () => number
}

export interface Counts {
  /** Streams that went on where another had been cut. */
  reconnects: number
  /** Connections that were cut from this side. */
  cuts: number
  /** Connections that ended from the other side without a terminal delta. */
  broken: number
  /** Requests that got no connection, or `503`. */
  turnedAway: number
  /** Questions that were sent several times at once. */
  doubled: number
}

/** Adds to the story of a question. */
export function note(world: World, { story }: History, text: string): void {
  story.push({ at: world.now(), text })
}
