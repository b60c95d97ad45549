import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { listen } from './listen.ts'
import { connectResp, type RespConnection } from './resp.ts'

/** A real redis-server of its own, on the loopback interface. */
export interface RedisServer {
  /** For a client: `redis://127.0.0.1:…`, with the password if it has one. */
  readonly url: string
  readonly port: number
  /** Of the process that runs, or ran last. */
  readonly pid: number
  /** Its working directory: where the append-only file is. */
  readonly directory: string
  /** Sends one command on a connection of its own, which is made anew after a restart. */
  command(args: readonly (string | number)[]): Promise<unknown>
  /** Ends the process, by SIGKILL unless told otherwise, and waits until it is gone. */
  kill(signal?: NodeJS.Signals): Promise<void>
  /** Starts it again, with the same port and directory; kills it before if it still runs. */
  restart(): Promise<void>
  /** Freezes the process: connections stay, nothing is answered. */
  pause(): void
  resume(): void
  /** Kills it and removes its directory. */
  stop(): Promise<void>
}

export interface RedisServerOptions {
  /** More arguments of redis-server. */
  readonly args?: readonly string[] | undefined
  /** Keeps an append-only file, written to disk every second. Default: nothing survives a restart. */
  readonly appendonly?: boolean | undefined
  readonly password?: string | undefined
  /** As Redis writes it: `2mb`. */
  readonly maxmemory?: string | undefined
  /** What it does when the memory is full: `allkeys-lru`, `noeviction`. */
  readonly policy?: string | undefined
  /** Left alone by `stop`. Default: a new one, removed by `stop`. */
  readonly directory?: string | undefined
  /** Default: a free one. */
  readonly port?: number | undefined
}

/** Finds redis-server: `REDIS_SERVER_PATH`, then the `PATH`, then where Debian puts it. */
export function findRedis(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/local/bin']
  const candidates = folders.map((folder) => join(folder, 'redis-server'))
  return [process.env['REDIS_SERVER_PATH'] ?? '', ...candidates].find((path) => path && existsSync(path))
}

/** Starts a Redis and resolves when it answers. @throws with what it said when it ends instead. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const path = findRedis()
  if (!path) throw new Error('No redis-server was found; ask redisAvailable() first.')
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'redis-')))
  const port = options.port ?? (await freePort())
  const args = argumentsOf(options, { port, directory })
  const { password } = options

  async function removeOwn(): Promise<void> {
    if (options.directory === undefined) await rm(directory, { recursive: true, force: true })
  }

  let child = await spawnRedis(path, args, { port, password }).catch(async (error: unknown) => {
    await removeOwn()
    throw error
  })
  let connection: Promise<RespConnection> | undefined

  function forget(): void {
    void connection?.then(
      ({ close }) => close(),
      () => {}, // it was never open
    )
    connection = undefined
  }

  async function kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    forget()
    await end(child, signal)
  }

  return {
    url: `redis://${password === undefined ? '' : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`,
    port,
    get pid() {
      return child.pid!
    },
    directory,
    async command(words) {
      connection ??= connectResp(port, password)
      try {
        return await (await connection).command(words)
      } catch (error) {
        if (!(error instanceof Error && error.name === 'RespError')) forget()
        throw error
      }
    },
    kill,
    async restart() {
      await kill()
      child = await spawnRedis(path, args, { port, password })
    },
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async stop() {
      await kill()
      await removeOwn()
    },
  }
}

function argumentsOf(
  { args = [], appendonly = false, password, maxmemory, policy }: RedisServerOptions,
  { port, directory }: { readonly port: number; readonly directory: string },
): string[] {
  const settings: Record<string, string | undefined> = {
    port: String(port),
    bind: '127.0.0.1',
    dir: directory,
    save: '',
    daemonize: 'no',
    appendonly: appendonly ? 'yes' : 'no',
    appendfsync: 'everysec',
    requirepass: password,
    maxmemory,
    'maxmemory-policy': policy,
  }
  const pairs = Object.entries(settings).filter(([, value]) => value !== undefined)
  return [...pairs.flatMap(([name, value]) => [`--${name}`, value!]), ...args]
}

async function spawnRedis(
  path: string,
  args: readonly string[],
  { port, password }: { readonly port: number; readonly password: string | undefined },
): Promise<ChildProcess> {
  const child = spawn(path, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  child.once('exit', () => running.delete(child))
  let said = ''
  for (const output of [child.stdout, child.stderr]) {
    output.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)))
  }
  const failed = once(child, 'close').then(([code, signal]) => {
    throw new Error(`redis-server ended with ${String(code ?? signal)}: ${said}`)
  })
  failed.catch(() => {}) // its end is no news once it is ready
  await Promise.race([ready(child, port, password), failed])
  return child
}

/** Resolves when it answers; while it reads its append-only file it says LOADING. */
async function ready(child: ChildProcess, port: number, password?: string): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    try {
      const connection = await connectResp(port, password)
      const { command, close } = connection
      const [pong, info] = await Promise.all([command(['PING']), command(['INFO', 'server'])]).finally(close)
      // Somebody else may have this port.
      if (pong === 'PONG' && String(info).includes(`process_id:${child.pid}\r`)) return
    } catch {
      // Not yet.
    }
    await sleep(5)
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill(signal)
  await exited
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listen(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

// A test run that is cut off must not leave its servers behind.
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
