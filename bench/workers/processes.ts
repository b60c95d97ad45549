import { readdirSync, readFileSync } from 'node:fs'

/** A process and those that it started, itself first: where Linux tells it. */
export function familyOf(pid: number): readonly number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return [pid, ...(children === '' ? [] : children.split(' ').map(Number))]
}

/** How long a process has used a processor, in microseconds. */
export function cpuUs(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`)
  const ns = tasks.map((task) => {
    try {
      return Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
    } catch {
      return 0 // a thread that has just ended
    }
  })
  return sum(ns) / 1000
}

/** Memory of a process that is its own or shared, in KiB. */
export function residentKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
