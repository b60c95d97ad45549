import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { Bundle } from './bundle.ts'

/** The built server, running in a process of its own. */
export interface RunningServer {
  readonly url: string
  /** Everything it has printed, stdout and stderr. */
  logs(): string
  stop(): Promise<void>
}

/** Starts a built server and waits for its line that says where it listens. */
export async function startServer(
  built: Bundle,
  env: Readonly<Record<string, string>>,
): Promise<RunningServer> {
  const { PATH = '' } = process.env
  const child = spawn(process.execPath, [built.file], {
    env: { PATH, PORT: '0', DRAIN_MS: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const closed = once(child, 'close')
  let output = ''

  async function stop(): Promise<void> {
    child.kill('SIGKILL')
    await closed
  }

  const listening = new Promise<string | undefined>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
        const url = /listening on (\S+)/.exec(output)?.[1]
        if (url) resolve(url)
      })
    }
    void closed.then(() => resolve(undefined))
  })
  const url = await listening
  if (!url) throw new Error(`The server ended before it listened: ${output}`)
  return { url, logs: () => output, stop }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // it listens on TCP
  server.close()
  await once(server, 'close')
  return port
}
