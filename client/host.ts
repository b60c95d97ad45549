/** What the client needs of the place it runs in, beside `fetch`: a browser, a worker, Node. */
export interface Host {
  /** The clock on the wall: one that stands still while a laptop sleeps could not tell how long it was silent. */
  now(): number
  random(): number
  /** Runs `callback` after `ms`, never when that is longer than timers can wait. Returns what cancels it. */
  setTimer(callback: () => void, ms: number): () => void
  readonly scope: Scope
}

/** The fields of a global scope that are used where they exist. */
export interface Scope {
  addEventListener?(type: string, listener: Listener): void
  removeEventListener?(type: string, listener: Listener): void
  readonly document?: { readonly baseURI: string; readonly visibilityState: string }
  readonly location?: { readonly href: string }
  readonly navigator?: { sendBeacon?(url: string): boolean }
}

type Listener = (event: { readonly persisted?: boolean }) => void

const LONGEST_MS = 2 ** 31 - 1

const here: object = globalThis

export const thisHost: Host = {
  now: () => Date.now(),
  random: () => Math.random(),
  setTimer(callback, ms) {
    const timer = ms <= LONGEST_MS ? setTimeout(callback, ms) : undefined
    return () => clearTimeout(timer)
  },
  // A browser has all of these, a worker some, Node none: each is looked for before it is used.
  scope: here,
}

/** Listens to a scope that may have no events; returns what ends it. */
export function listen(scope: Scope, listeners: Readonly<Record<string, Listener>>): () => void {
  for (const [type, listener] of Object.entries(listeners)) scope.addEventListener?.(type, listener)
  return () => {
    for (const [type, listener] of Object.entries(listeners)) scope.removeEventListener?.(type, listener)
  }
}
