import { createChat } from '../../client/chat.ts'
import { type Host, type Scope, thisHost } from '../../client/host.ts'
import type { Chat, ChatClient, ChatState } from '../../client/index.ts'
import type { ChatDelta } from '../../src/types.ts'

/** The client without waiting between attempts. */
export const eager: ChatClient = createChat({ ...thisHost, random: () => 0 })

/** A place to run in whose clock stands still unless the test moves it. */
export interface Place {
  readonly chat: ChatClient
  /** Moves the clock, and runs what is due. */
  pass(ms: number): void
  /** Resolves with the length of a wait that is not the watchdog's, once there is one. */
  waiting(): Promise<number>
  /** Resolves when something of the other side is waited for. */
  watching(): Promise<void>
  /** Moves the clock while timers sleep. */
  sleep(ms: number): void
  /** How often something came of the other side, or failed to: watchdogs that were called off. */
  readonly heard: number
  /** Timers that are set. */
  readonly timers: number
  /** Listeners that are registered. */
  readonly listeners: number
  dispatch(type: string, event?: { persisted?: boolean }): void
  visibility: 'visible' | 'hidden'
  readonly beacons: readonly string[]
}

interface Timer {
  readonly at: number
  readonly ms: number
  readonly run: () => void
}

/** The watchdog's limit where the test does not choose one. */
export const SILENCE_MS = 35_000

export function createPlace({ random = () => 0.5 }: { random?: () => number } = {}): Place {
  const timers = new Set<Timer>()
  const watchers = new Set<() => void>()
  const listeners = new Map<string, Set<(event: { persisted?: boolean }) => void>>()
  const beacons: string[] = []
  let now = 1_000_000
  let heard = 0

  const scope: Scope = {
    addEventListener(type, listener) {
      listeners.set(type, (listeners.get(type) ?? new Set()).add(listener))
    },
    removeEventListener: (type, listener) => void listeners.get(type)?.delete(listener),
    document: {
      baseURI: 'http://127.0.0.1',
      get visibilityState() {
        return self.visibility
      },
    },
    navigator: {
      sendBeacon(url) {
        beacons.push(url)
        return true
      },
    },
  }
  const host: Host = {
    now: () => now,
    random,
    scope,
    setTimer(run, ms) {
      const timer = { at: now + ms, ms, run }
      timers.add(timer)
      for (const watcher of watchers) watcher()
      return () => {
        if (timers.delete(timer) && ms === SILENCE_MS) heard++
      }
    },
  }

  async function timer(wanted: (ms: number) => boolean): Promise<number> {
    return new Promise((resolve) => {
      const check = (): void => {
        const found = [...timers].find(({ ms }) => wanted(ms))
        if (!found) return
        watchers.delete(check)
        resolve(found.ms)
      }
      watchers.add(check)
      check()
    })
  }

  const self: Place = {
    chat: createChat(host),
    pass(ms) {
      now += ms
      for (const timer of timers) {
        if (timer.at > now) continue
        timers.delete(timer)
        timer.run()
      }
    },
    waiting: () => timer((ms) => ms !== SILENCE_MS),
    watching: async () => void (await timer((ms) => ms === SILENCE_MS)),
    sleep: (ms) => void (now += ms),
    get heard() {
      return heard
    },
    get timers() {
      return timers.size
    },
    get listeners() {
      return [...listeners.values()].reduce((sum, { size }) => sum + size, 0)
    },
    dispatch: (type, event = {}) => listeners.get(type)?.forEach((listener) => listener(event)),
    visibility: 'visible',
    beacons,
  }
  return self
}

/** Reads to the end; what is thrown is given too, with what had come. */
export async function read(chat: Chat): Promise<{ got: readonly ChatDelta[]; thrown?: unknown }> {
  const got: ChatDelta[] = []
  try {
    for await (const delta of chat) got.push(delta)
    return { got }
  } catch (thrown) {
    return { got, thrown }
  }
}

/** Keeps what it is told of. */
export function createStates(): { readonly seen: ChatState[]; readonly onState: (state: ChatState) => void } {
  const seen: ChatState[] = []
  return { seen, onState: (state) => void seen.push(state) }
}
