import { setTimer } from './timer.ts'

/** A signal that ends by itself, for one reader. */
export interface Limit {
  readonly signal: AbortSignal
  /** Frees what it holds. It must be called in the end. */
  lift(): void
}

/**
 * A signal that aborts with `signal`, and after `ms` anyhow. By hand, because `AbortSignal.any` holds on to signals
 * that live long.
 */
export function limitedTo(signal: AbortSignal, ms: number): Limit {
  if (ms === Infinity) return { signal, lift() {} }
  const controller = new AbortController()
  const abort = (): void => controller.abort()
  const timer = setTimer(abort, ms)
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  return {
    signal: controller.signal,
    lift() {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
    },
  }
}
