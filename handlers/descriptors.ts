// How many connections a server takes, so that its process does not run out of file descriptors.
import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** What a process has open at its start: measured 22 with Node 20. */
const OWN = 24
/** For Redis, name resolution, files and short peaks. */
const SPARE = 16
/** How often refused connections are reported, in milliseconds. */
const REPORT_MS = 10_000
/** How often open descriptors are counted at most, in milliseconds; more rarely where counting takes long. */
const COUNT_MS = 1000

export interface DescriptorOptions {
  /** Descriptors for each client: its connection, and those of the reply that it may start. */
  readonly perClient: number
  /** How many files the process may open. Default: what the operating system says; where it does not, no limit. */
  readonly limit?: number | undefined
}

/**
 * Limits the connections of a server by the number of files that its process may open, and reports on stderr that
 * connections are refused because of that. Without it the operating system closes connections unreported, or requests
 * to the upstream fail.
 */
export function limitConnections(
  server: Server,
  { perClient, limit = readLimit() }: DescriptorOptions,
): void {
  const report = createReport(limit)
  server.on('error', (error: NodeJS.ErrnoException) => {
    if (server.listening && isExhausted(error)) report()
  })
  if (limit === undefined) return
  const isCrowded = createCrowded(limit - SPARE / 2 - perClient)
  const most = Math.max(1, Math.floor((limit - OWN - SPARE) / perClient))
  let open = 0
  // Not `maxConnections`: the primary passes a connection that one worker refuses so to the next worker, without end.
  server.prependListener('connection', (socket: Socket) => {
    open++
    socket.once('close', () => open--)
    if (open <= most && !isCrowded()) return
    report()
    socket.destroy()
  })
}

/** Whether an error says that no file can be opened: EMFILE in this process, ENFILE on this machine. */
export function isExhausted({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EMFILE' || code === 'ENFILE'
}

/**
 * Whether the process has more than `most` descriptors open. Replies continue without their clients, and therefore
 * connections to upstreams are not bounded by the connections of clients.
 */
function createCrowded(most: number): () => boolean {
  let crowded = false
  let next = 0

  async function count(): Promise<void> {
    const start = performance.now()
    next = Infinity
    try {
      crowded = (await readdir('/proc/self/fd')).length > most
    } catch (error) {
      crowded = isExhausted(error as NodeJS.ErrnoException) // of node:fs
    }
    const end = performance.now()
    next = end + Math.max(COUNT_MS, 50 * (end - start))
  }

  return () => {
    if (performance.now() >= next) void count() // never rejects
    return crowded
  }
}

/** Reports refused connections: the first at once, then how many there were in each interval. */
function createReport(limit: number | undefined): () => void {
  let refused = 0
  let timer: NodeJS.Timeout | undefined

  function flush(): void {
    timer = undefined
    if (refused === 0) return
    write(refused, limit)
    refused = 0
    timer = setTimeout(flush, REPORT_MS).unref()
  }

  return () => {
    refused++
    if (!timer) flush()
  }
}

function write(refused: number, limit: number | undefined): void {
  const most = limit === undefined ? '' : `, of which the process may have ${limit}`
  const line = {
    time: new Date().toISOString(),
    level: 'error',
    code: 'too-many-files',
    message: `Connections are refused because there are too few file descriptors${most}. Raise the limit (ulimit -n, LimitNOFILE= of systemd, ulimits.nofile of Compose) or run more instances.`,
    refused,
  }
  console.error(JSON.stringify(line))
}

/** How many files this process may open; undefined where the operating system does not say, or has no limit. */
function readLimit(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]) || undefined
  } catch {
    return undefined // not Linux
  }
}
