import { ChatError } from '../../../src/errors.ts'
import type { Upstream, UpstreamDelta } from '../../../src/types.ts'
import type { FailoverEntry } from '../../../src/upstreams/failover.ts'
import { failureInStream, failureOfStatus } from '../../../src/upstreams/failure.ts'
import { asking, hel, lo, type Script, type Step, stop } from '../kit.ts'

/** An answer. */
export const whole: readonly Step[] = [hel, lo, stop]
/** How an HTTP refusal with this status is understood. */
export const refusal = (
  status: number,
  error: object = {},
  headers: Record<string, string> = {},
): ChatError =>
  failureOfStatus({ status, body: { error: { message: 'No.', ...error } }, headers: new Headers(headers) })
/** How a report in a stream is understood. */
export const report = (error: unknown): ChatError => failureInStream({ error })!

export const broken = refusal(500)
export const slow = new ChatError('upstream-timeout', 'Slow.')
export const busy = (retryAfterMs: number): ChatError =>
  new ChatError('rate-limited', `Busy for ${retryAfterMs}.`, { retryAfterMs })

/** Entries called `a`, `b`, `c` … */
export function entriesOf(...scripts: readonly Pick<Script, 'upstream'>[]): FailoverEntry[] {
  return scripts.map(({ upstream }, index) => ({ name: 'abcdef'[index] ?? '', upstream }))
}

/** What came of one question. */
export async function ask(
  upstream: Upstream,
  {
    model = 'm',
    signal = new AbortController().signal,
    caller,
  }: { model?: string; signal?: AbortSignal; caller?: string } = {},
) {
  const deltas: UpstreamDelta[] = []
  const accepted: (string | undefined)[] = []
  let error: unknown
  try {
    const answer = upstream(asking('hi', { model }), {
      signal,
      caller,
      onAccept: (name) => accepted.push(name),
    })
    for await (const delta of answer) deltas.push(delta)
  } catch (thrown) {
    error = thrown
  }
  return { deltas, error, accepted, signal }
}
