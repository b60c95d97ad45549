import type { ReplyState, StreamStore } from './types.ts'

export interface StateWait {
  readonly signal: AbortSignal
  /** How long to wait, in milliseconds. */
  readonly withinMs: number
  readonly isEnough: (state: ReplyState) => boolean
}

/** Looks again and again at the state of replies: once for each reply, however many requests wait for it. */
export interface StatePoller {
  /**
   * Waits until the state of a reply is enough. Resolves with that state; with the state as it is when time is up; or
   * with undefined when the reply is gone or the signal aborts. @throws what the store throws.
   */
  wait(id: string, options: StateWait): Promise<ReplyState | undefined>
}

/** How long to wait before looking again, in milliseconds. */
const POLL_MS = 250

interface Waiter {
  /** False when it waits for more. */
  hear(state: ReplyState | undefined): boolean
  fail(error: unknown): void
}

/** One poller, which ends with its last waiter. */
interface Poll {
  readonly waiters: Set<Waiter>
  timer: ReturnType<typeof setTimeout> | undefined
}

export function createStatePoller(store: Pick<StreamStore, 'state'>): StatePoller {
  const polls = new Map<string, Poll>()

  function schedule(id: string, poll: Poll): void {
    poll.timer = setTimeout(() => void look(id, poll), POLL_MS) // never rejects
  }

  async function look(id: string, poll: Poll): Promise<void> {
    try {
      const state = await store.state(id)
      for (const waiter of poll.waiters) if (waiter.hear(state)) poll.waiters.delete(waiter)
    } catch (error) {
      for (const waiter of poll.waiters) waiter.fail(error)
      poll.waiters.clear()
    }
    if (poll.waiters.size > 0) schedule(id, poll)
    else end(id, poll)
  }

  function end(id: string, poll: Poll): void {
    clearTimeout(poll.timer)
    if (polls.get(id) === poll) polls.delete(id)
  }

  function join(id: string, waiter: Waiter): () => void {
    let poll = polls.get(id)
    if (!poll) {
      polls.set(id, (poll = { waiters: new Set(), timer: undefined }))
      schedule(id, poll)
    }
    const { waiters } = poll
    const joined = poll
    waiters.add(waiter)
    return () => {
      waiters.delete(waiter)
      if (waiters.size === 0) end(id, joined)
    }
  }

  return {
    wait(id, { signal, withinMs, isEnough }) {
      if (signal.aborted) return Promise.resolve(undefined)
      const until = performance.now() + withinMs
      return new Promise((resolve, reject) => {
        const settle = (state: ReplyState | undefined): void => {
          signal.removeEventListener('abort', onAbort)
          resolve(state)
        }
        const leave = join(id, {
          hear(state) {
            if (state && !isEnough(state) && performance.now() < until) return false
            settle(state)
            return true
          },
          fail(error) {
            signal.removeEventListener('abort', onAbort)
            reject(error)
          },
        })
        function onAbort(): void {
          leave()
          settle(undefined)
        }
        signal.addEventListener('abort', onAbort, { once: true })
      })
    },
  }
}
