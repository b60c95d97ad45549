import type { World } from './world.ts'

/** So long nothing runs here that a lease may have run out elsewhere. */
const STALL_MS = 1000
const EVERY_MS = 100

/** Notes when the machine is too busy to run this process: servers stand still then too, and nobody did that to them. */
export function watchStalls({ faults, now }: World): { readonly longestMs: number; stop(): void } {
  let last = now()
  let longestMs = 0
  const timer = setInterval(() => {
    const at = now()
    const lateMs = at - last - EVERY_MS
    if (lateMs >= STALL_MS) faults.push({ kind: 'stall', at: last, until: at })
    longestMs = Math.max(longestMs, lateMs)
    last = at
  }, EVERY_MS)

  return {
    get longestMs() {
      return longestMs
    },
    stop: () => clearInterval(timer),
  }
}
