import { readdirSync, readFileSync } from 'node:fs'

/** A process and those it started, and they. */
export function processTree(pid: number): number[] {
  const children = tasksOf(pid).flatMap((task) => textOf(`/proc/${pid}/task/${task}/children`).split(' '))
  return [
    pid,
    ...children.filter((child) => child.trim() !== '').flatMap((child) => processTree(Number(child))),
  ]
}

/**
 * How long these processes have used a processor, in nanoseconds.
 *
 * From the scheduler's own account of each thread: `/proc/PID/stat` counts in steps of 10 ms, which is the whole of a
 * short measurement.
 */
export function cpuNs(pids: readonly number[]): number {
  let sum = 0
  for (const pid of pids) {
    for (const task of tasksOf(pid))
      sum += Number(textOf(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0])
  }
  return sum
}

/** Memory that these processes hold, in bytes. */
export function residentBytes(pids: readonly number[]): number {
  const kilobytes = (pid: number): number =>
    Number(/VmRSS:\s*(\d+)/.exec(textOf(`/proc/${pid}/status`))?.[1] ?? 0)
  return pids.reduce((sum, pid) => sum + kilobytes(pid) * 1024, 0)
}

function tasksOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return [] // it is gone
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // it is gone
  }
}
