import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { freePort } from '../../test/redis/server.ts'
import { cache } from '../lab.ts'

/** A server in a process of its own, at an address that stays. */
export interface Instance {
  /** `A`, `B`, `C`. */
  readonly name: string
  readonly url: string
  readonly up: boolean
  start(): Promise<void>
  /** Ends it and waits until it is gone: false when it did not go in time, or not with 0 where it was asked to. */
  end(signal: 'SIGKILL' | 'SIGTERM', withinMs?: number): Promise<boolean>
}

export interface InstanceOptions {
  readonly env: Readonly<Record<string, string>>
  /** Lines that it wrote to stderr. */
  readonly onLine: (name: string, line: string) => void
  /** It ended, and nobody had told it to. */
  readonly onCrash: (name: string, what: string) => void
}

/** Makes a server that is not started yet. */
export async function createInstance(
  name: string,
  { env, onLine, onCrash }: InstanceOptions,
): Promise<Instance> {
  const port = await freePort()
  let child: ChildProcess | undefined
  let told = false
  let listening = false

  return {
    name,
    url: `http://127.0.0.1:${port}`,
    get up() {
      return listening && !told
    },
    async start() {
      const own = spawn(process.execPath, [`${cache}dist/server.js`], {
        cwd: cache,
        env: { PORT: String(port), ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      child = own
      told = false
      listening = false
      running.add(own)
      let rest = ''
      own.stderr.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) onLine(name, line)
      })
      own.once('exit', (code, signal) => {
        running.delete(own)
        if (child === own && !told) onCrash(name, `ended with ${code ?? signal} by itself: ${rest}`)
      })
      await ready(own)
      listening = true
    },
    async end(signal, withinMs = 10_000) {
      const own = child
      if (!own || own.exitCode !== null || own.signalCode !== null) return true
      told = true
      const exited = once(own, 'exit')
      const late = setTimeout(() => own.kill('SIGKILL'), withinMs)
      own.kill(signal)
      await exited
      clearTimeout(late)
      return signal === 'SIGKILL' || own.exitCode === 0
    },
  }
}

async function ready(child: ChildProcess): Promise<void> {
  let text = ''
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`A server ended with ${code} before it listened.`)))
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
      if (/http:\S+/.test(text)) resolve()
    })
  })
}

// A run that is cut off must not leave its servers behind.
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
