import { ChatError } from '../errors.ts'

/** Codes of the operating system for what this process, or this machine, has no more of: errno(3). */
const shortages: Readonly<Record<string, string>> = {
  EMFILE: 'file descriptors',
  ENFILE: 'file descriptors',
  ENOBUFS: 'socket buffers',
  ENOMEM: 'memory',
  EADDRNOTAVAIL: 'local ports',
}

/** How many causes, and how many errors beside each other, are looked at: a chain can be a circle. */
const MAX_CAUSES = 32

/** What ran out on our own side, where that is why something failed: `file descriptors`. Undefined where it is not. */
export function shortageIn(error: unknown): string | undefined {
  const queue: unknown[] = [error]
  for (let at = 0; at < queue.length && at < MAX_CAUSES; at++) {
    const each = queue[at]
    if (!(each instanceof Error)) continue
    const { code, syscall } = each as { readonly code?: unknown; readonly syscall?: unknown } // of the system's errors
    if (typeof code === 'string' && typeof syscall === 'string' && Object.hasOwn(shortages, code))
      return shortages[code]
    // One address after the other was tried.
    if (each instanceof AggregateError) queue.push(...each.errors.slice(0, MAX_CAUSES))
    queue.push(each.cause)
  }
  return undefined
}

/** How long a client is to wait. Descriptors and ports become free as other answers end. */
const RETRY_AFTER_MS = 1000

/** The failure of a request that could not be sent because this server has no more of something. */
export function outOf(what: string, cause: unknown): ChatError {
  const message = `This server has no more ${what} to connect to the model's server. Try again in a moment.`
  return new ChatError('overloaded', message, { cause, retryAfterMs: RETRY_AFTER_MS })
}
