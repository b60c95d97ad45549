import type { UpstreamDelta, Usage } from '../types.ts'

/** Reads the events of one answer, parsed already, and says what they mean. There is one for each API. */
export interface EventReader {
  /**
   * Adds what one event says to `out`. What is no event of this API is ignored. `name` is what the frame calls it.
   * @throws `ChatError` when the event is an error report.
   */
  read(event: unknown, out: UpstreamDelta[], name?: string): void
  /** Adds what was held back for a part that did not come. Called at the end, when there will be no more events. */
  flush?(out: UpstreamDelta[]): void
  /** Whether something is held back: the answer has begun, though nothing was said yet. */
  readonly holding?: boolean
  /** How many events said that the answer is being made: signs of life, though not all of them have words. */
  readonly progress?: number
  /** The `finish` delta, once the answer said how it ended. */
  readonly finish: Extract<UpstreamDelta, { type: 'finish' }> | undefined
  /** The last usage report. */
  readonly usage: Usage | undefined
  /** Whether an event said that nothing follows; absent where only `[DONE]` says so. */
  readonly done?: boolean
}
