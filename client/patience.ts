import type { Trouble } from './errors.ts'
import type { Host } from './host.ts'

/** The first wait is at most this long, each further one twice as long. */
const FIRST_MS = 250
/** No wait is longer; and a connection that lived for longer was no failure. */
export const LONGEST_WAIT_MS = 10_000

export interface PatienceOptions {
  readonly giveUpMs?: number | undefined
  readonly maxAttempts?: number | undefined
}

/** Decides how long to wait before trying again, and when not to. */
export interface Patience {
  /** It got somewhere: what failed before does not count any more. */
  renew(): void
  /** How long to wait after this failure, in milliseconds; undefined when it was the last one to take. */
  wait(trouble: Trouble): number | undefined
}

/**
 * Waits a random part of a time that doubles: the readers of a server that went away do not come back all at once.
 * A stream that ended in good order is resumed at once, the first time.
 */
export function createPatience(
  { now, random }: Host,
  { giveUpMs = 120_000, maxAttempts = Infinity }: PatienceOptions,
): Patience {
  let failures = 0
  let since = 0
  return {
    renew() {
      failures = 0
    },
    wait({ error: { retryAfterMs = 0 }, orderly }) {
      if (failures++ === 0) since = now()
      const jitter = random() * Math.min(LONGEST_WAIT_MS, FIRST_MS * 2 ** (failures - 1))
      const ms = Math.max(retryAfterMs, orderly && failures === 1 ? 0 : jitter)
      return failures >= maxAttempts || now() - since + ms > giveUpMs ? undefined : ms
    },
  }
}
