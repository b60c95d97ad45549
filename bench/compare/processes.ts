import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import type { Answer } from './parent.ts'

/** A process of the benchmark. */
export interface Running {
  readonly url: string
  readonly pid: number
  /** From starting it to its saying where it listens. */
  readonly readyMs: number
  /** Resolves with what it ended with. */
  readonly ended: Promise<number | string>
  /** Asks a process that serves its parent. */
  call<Result>(name: string, argument?: unknown): Promise<Result>
  stop(): Promise<void>
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>> | undefined
  /** What is measured has the first processor for itself; everything else is on the other ones. */
  readonly measured?: boolean | undefined
  readonly cwd?: string | undefined
  /** Where it listens, for a program that does not say so: it is asked until it answers. */
  readonly url?: string | undefined
}

/** Processes can be kept on a processor here. */
export const pinned = availableParallelism() > 1 && spawnSync('taskset', ['--version']).status === 0

/** Open files, of which a reply needs two, as many as are allowed. */
export const openFiles =
  Number(spawnSync('sh', ['-c', 'ulimit -H -n'], { encoding: 'utf8' }).stdout.trim()) || Infinity

/** The processors on which nothing is measured. */
export const otherCpus = availableParallelism() > 2 ? `1-${availableParallelism() - 1}` : '1'

/** Starts a program and resolves when it listens. It ends with this process. */
export async function start(
  command: readonly [string, ...string[]],
  { env = {}, measured = false, cwd, url }: StartOptions = {},
): Promise<Running> {
  const pin = pinned ? ['taskset', '-c', measured ? '0' : otherCpus] : []
  const raised = ['-c', 'ulimit -n "$(ulimit -H -n)"; exec "$@"', 'sh', ...pin, ...command]
  const startedAt = performance.now()
  const child = spawn('sh', raised, {
    cwd,
    env: { PATH: process.env['PATH'], NODE_ENV: 'production', ...env },
    // A channel only to processes of ours: servers have none elsewhere either.
    stdio: [
      'ignore',
      'pipe',
      process.env['BENCH_STDERR'] ? 'inherit' : 'ignore',
      measured ? 'ignore' : 'ipc',
    ],
  })
  running.add(child)
  const ended = new Promise<number | string>((resolve) => {
    child.once('exit', (code, signal) => {
      running.delete(child)
      resolve(code ?? signal ?? 0)
    })
  })
  const listening = url ?? (await readyUrl(child))
  if (url !== undefined) await answering(url)
  const readyMs = performance.now() - startedAt
  return {
    url: listening,
    pid: child.pid!,
    readyMs,
    ended,
    call: createCaller(child),
    async stop() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

function readyUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) =>
      reject(new Error(`${child.spawnargs.slice(6).join(' ')} ended with ${code}.`)),
    )
    let text = ''
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
      const url = /listening on (http:\/\/[^\s/]+)/.exec(text)?.[1]
      if (url) resolve(url)
    })
  })
}

async function answering(url: string): Promise<void> {
  for (let tries = 0; tries < 2000; tries++) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer) return void (await answer.arrayBuffer())
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`Nothing answers at ${url}.`)
}

function createCaller(child: ChildProcess): Running['call'] {
  let calls = 0
  const waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>()
  child.on('message', ({ id, result, error }: Answer) => {
    const call = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) call?.resolve(result)
    else call?.reject(new Error(error))
  })
  child.once('exit', (code) => {
    for (const { reject } of waiting.values())
      reject(new Error(`A process of the benchmark ended with ${code}.`))
  })
  return <Result>(name: string, argument?: unknown) =>
    new Promise<Result>((resolve, reject) => {
      waiting.set(++calls, { resolve: resolve as (result: unknown) => void, reject }) // both sides are ours
      child.send({ id: calls, name, argument })
    })
}

// A benchmark that is cut off must not leave its servers behind.
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))
