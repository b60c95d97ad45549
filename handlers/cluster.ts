// Several processes behind one port: the primary starts, replaces and ends the workers, and takes no requests itself.
import cluster, { type Worker } from 'node:cluster'
import { setTimer } from '../src/timer.ts'

/** How long after one another workers are replaced that do not last, and what is lasting. Milliseconds. */
const FIRST_WAIT_MS = 100
const MAX_WAIT_MS = 30_000
const LASTING_MS = 10_000
/** When nobody listens, so many that end before they listen are enough. */
const TRIES = 5
/** What a worker does not end by itself, after its own clocks, is ended. */
const STUCK_MS = 3000

/** What the primary tells every worker at its start. */
export interface Order {
  /** The one port of all, also where any would do. */
  readonly port: number
  /** Where the simulated model is, when there is one. */
  readonly simulator: string | undefined
}

/** The order of this process; undefined when it is no worker of ours. */
export function orderOfPrimary(): Order | undefined {
  const [, , role, order] = process.argv
  return cluster.isWorker && role === 'worker' && order ? (JSON.parse(order) as Order) : undefined // our own words
}

/** Whether this process can have workers: not when it is one itself, of PM2 for example. */
export const canLead: boolean = cluster.isPrimary

export interface Crew {
  /** Lets all workers come to their end, and then exits with 0. */
  stop(): void
  /** Ends all at once, and exits with 1. */
  kill(): void
}

/** Starts workers, and others in the place of those that end. `onReady` runs once, when all of them listen. */
export function startWorkers(
  count: number,
  order: Order,
  { drainMs, onReady }: { readonly drainMs: number; readonly onReady: () => void },
): Crew {
  cluster.setupPrimary({ args: ['worker', JSON.stringify(order)] })
  const running = new Set<Worker>()
  const listening = new Set<Worker>()
  let ready = false
  let stopping = false
  /** Workers that did not last, in a row. */
  let failures = 0

  function start(): void {
    if (stopping) return
    const worker = cluster.fork()
    let since: number | undefined
    running.add(worker)
    closeUntaken(worker)
    worker.once('listening', () => {
      since = performance.now()
      listening.add(worker)
      if (ready || listening.size < count) return
      ready = true
      onReady()
    })
    worker.once('exit', (code, signal) => onEnd(worker, since, signal || `exit code ${code}`))
    worker.on('error', (error: NodeJS.ErrnoException) => {
      // It never was: then there is no exit either. Anything else is told by its exit.
      if (worker.process.pid === undefined) onEnd(worker, since, error.code ?? error.name)
    })
  }

  function onEnd(worker: Worker, since: number | undefined, how: string): void {
    running.delete(worker)
    listening.delete(worker)
    if (stopping) return exitWhenAlone()
    const lasted = since !== undefined && performance.now() - since >= LASTING_MS
    failures = lasted ? 0 : failures + 1
    const who = `Worker ${worker.process.pid ?? 'without a process'} ended with ${how}`
    if (since === undefined && listening.size === 0 && (!ready || failures >= TRIES)) {
      log(`${who} before it listened, and no other one listens: giving up.`)
      return kill()
    }
    const waitMs = lasted ? 0 : Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (failures - 1))
    log(`${who}: another one takes its place in ${waitMs} ms.`)
    setTimeout(start, waitMs)
  }

  function exitWhenAlone(): void {
    if (running.size === 0) process.exit(0)
  }

  function stop(): void {
    stopping = true
    for (const worker of running) {
      if (listening.has(worker))
        worker.send('stop', () => {}) // who cannot be told is gone
      // It does not hear yet, and has nothing to end.
      else worker.process.kill('SIGKILL')
    }
    setTimer(kill, drainMs + STUCK_MS)
    exitWhenAlone()
  }

  function kill(): void {
    for (const worker of running) worker.process.kill('SIGKILL')
    process.exit(1)
  }

  // Signals are listened to before.
  setImmediate(() => {
    for (let n = 0; n < count; n++) start()
  })
  return { stop, kill }
}

/**
 * Node keeps a connection that it gives to a worker until that says that it has it: for ever, where it dies before. This
 * looks at what Node sends; should that change one day, such a connection hangs again.
 */
function closeUntaken(worker: Worker): void {
  const send = worker.process.send?.bind(worker.process) as ((...all: unknown[]) => boolean) | undefined
  if (!send) return // it could not be started
  let given: { close(): void } | undefined
  worker.process.send = (...all: unknown[]) => {
    const [message, handle] = all as [{ readonly act?: string } | string, typeof given]
    // One at a time: the one before was taken.
    if (handle && typeof message === 'object' && message.act === 'newconn') given = handle
    return send(...all)
  }
  worker.once('exit', () => given?.close())
}

/** Calls `stop` once, when the primary says so or is gone. */
export function onPrimary(stop: () => void): void {
  let stopping = false
  function once(): void {
    if (!stopping) stop()
    stopping = true
  }
  // A terminal, or a process manager, sends signals to all at once: what they mean is for the primary to say.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => {})
  process.on('message', (message) => {
    if (message === 'stop') once()
  })
  const { worker } = cluster
  worker?.on('disconnect', () => {
    // Otherwise Node ends the process here, and the answers with it.
    worker.exitedAfterDisconnect = true
    once()
  })
}

function log(message: string): void {
  console.error(JSON.stringify({ time: new Date().toISOString(), level: 'error', message }))
}
