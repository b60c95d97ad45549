import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { expect } from 'vitest'
import { bundle } from './bundle.ts'

/** The server as a process of its own. */
export interface ServerProcess {
  readonly child: ChildProcess
  /** Everything it wrote to both outputs so far. */
  readonly stdout: string
  readonly stderr: string
  /** Resolves with its address once it listens; rejects with what it said when it ends instead. */
  readonly ready: Promise<string>
  /** Resolves with its exit code when it and its workers are gone; null when a signal ended it. */
  readonly exited: Promise<number | null>
}

export interface LaunchOptions {
  readonly group?: boolean | undefined
  readonly files?: number | undefined
}

export interface Launcher {
  /**
   * Starts the server with this environment and nothing else, on a free port unless it says otherwise. `group`: it and
   * the processes that it starts are a group of their own, as under a shell. `files`: how many it may open.
   */
  launch(environment?: Readonly<Record<string, string>>, options?: LaunchOptions): ServerProcess
  /** Ends what still runs. */
  stopAll(): Promise<void>
  remove(): Promise<void>
}

/** Builds the server from the sources as they are, with its page beside it. */
export async function createLauncher(): Promise<Launcher> {
  const { path, directory, remove } = await bundle('handlers/server.ts')
  await mkdir(`${directory}/web`)
  await cp(new URL('../../web/index.html', import.meta.url), `${directory}/web/index.html`)
  await cp(new URL('../../web/page.css', import.meta.url), `${directory}/web/page.css`)
  await writeFile(`${directory}/web/page.js`, '// the page itself has tests of its own')
  const running = new Set<ServerProcess>()

  function launch(
    environment: Readonly<Record<string, string>> = {},
    { group = false, files }: LaunchOptions = {},
  ): ServerProcess {
    const env = { PORT: '0', ...environment }
    const limited = ['-c', `ulimit -n ${files}; exec "$0" "$1"`, process.execPath, path]
    const [command, args] = files === undefined ? [process.execPath, [path]] : ['/bin/sh', limited]
    const child = spawn(command, args, { env, detached: group, stdio: ['ignore', 'pipe', 'pipe'] })
    const output = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => (output[name] += text))
    }
    // `close`, not `exit`: then both outputs are complete, and nobody has them any more.
    const exited = once(child, 'close').then(([code]) => code as number | null)
    const ready = new Promise<string>((resolve, reject) => {
      child.stdout.on('data', () => {
        const address = /http:\/\/\S+/.exec(output.stdout)?.[0]
        if (address && output.stdout.includes('\n')) resolve(address)
      })
      void exited.then((code) => reject(new Error(`exit ${code}: ${output.stdout}${output.stderr}`)))
    })
    ready.catch(() => {}) // a test that expects it to end does not wait for it
    const server: ServerProcess = {
      child,
      get stdout() {
        return output.stdout
      },
      get stderr() {
        return output.stderr
      },
      ready,
      exited,
    }
    running.add(server)
    void exited.then(() => running.delete(server))
    return server
  }

  async function stopAll(): Promise<void> {
    await Promise.all(
      [...running].map(({ child, exited }) => {
        child.kill('SIGKILL')
        return exited
      }),
    )
  }

  return { launch, stopAll, remove }
}

/** Starts a server at a port that something else has: one sentence, and exit code 1. */
export async function expectPortRefused(
  launch: (environment: Readonly<Record<string, string>>) => ServerProcess,
): Promise<void> {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as { port: number } // TCP
  const server = launch({ PORT: String(port) })

  const code = await server.exited
  taken.close()

  expect(code).toBe(1)
  expect(server.stderr).toBe(
    `Cannot listen on 127.0.0.1:${port}: something else uses it; set PORT to another one.\n`,
  )
  expect(server.stdout).toBe('')
}

/** The port in an address. */
export function portOf(url: string): number {
  return Number(new URL(url).port)
}
