import { onTestFinished } from 'vitest'

/** How often it looks, and how late it may be called without that anything stood still. Milliseconds. */
const LOOK_MS = 10
const LATE_MS = 20

/**
 * Starts to measure, for the test that runs. The result gives the milliseconds so far, without those in which this process
 * did not get to run: on a machine that does too much at once these are nobody's answer.
 */
export function stopwatch(): () => number {
  const since = performance.now()
  let lookedAt = since
  let stoodStill = 0
  function look(): void {
    const now = performance.now()
    stoodStill += Math.max(0, now - lookedAt - LOOK_MS - LATE_MS)
    lookedAt = now
  }
  const timer = setInterval(look, LOOK_MS)
  onTestFinished(() => clearInterval(timer))
  return () => {
    look()
    return performance.now() - since - stoodStill
  }
}

/** The same for work that leaves nobody else a turn: the milliseconds of a processor that this process took. */
export function cpuwatch(): () => number {
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
}
