import { heartbeatFrame } from './sse.ts'
import { createWatchdog } from './watchdog.ts'

type Result = IteratorResult<string, undefined>

/**
 * Puts a comment between frames whenever `everyMs` passed without one, so that proxies do not take a thinking
 * model for a dead connection. One timer for the whole stream; a frame only notes the time.
 */
export function withHeartbeat(
  frames: AsyncIterableIterator<string>,
  { everyMs, frame = heartbeatFrame }: { readonly everyMs: number; readonly frame?: string },
): AsyncIterableIterator<string> {
  const watchdog = createWatchdog()
  let waiter: { resolve(result: Result): void; reject(error: unknown): void } | undefined
  let armed = false
  let ended = false
  let asked = false
  // What came after a heartbeat had already answered the reader that asked for it.
  let arrived: Promise<Result> | undefined

  function settle(result: Promise<Result>, value?: Result): void {
    asked = false
    if (!value || value.done) stop()
    if (!waiter) {
      arrived = result
      return
    }
    const { resolve, reject } = waiter
    waiter = undefined
    if (value) resolve(value)
    else result.catch(reject)
  }

  function ask(): void {
    if (asked) return
    asked = true
    const result = frames.next() as Promise<Result>
    result.then(
      (value) => settle(result, value),
      () => settle(result),
    )
  }

  function beat(): void {
    armed = false
    waiter?.resolve({ value: frame, done: false })
    waiter = undefined
  }

  function stop(): void {
    ended = true
    watchdog.stop()
  }

  return {
    next() {
      if (arrived) {
        const result = arrived
        arrived = undefined
        return result
      }
      if (armed) watchdog.feed()
      else if (!ended) {
        armed = true
        watchdog.expect(everyMs, beat)
      }
      return new Promise<Result>((resolve, reject) => {
        waiter = { resolve, reject }
        ask()
      })
    },
    async return() {
      stop()
      waiter?.resolve({ value: undefined, done: true })
      waiter = undefined
      await frames.return?.()
      return { value: undefined, done: true }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
