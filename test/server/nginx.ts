import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe } from 'vitest'
import { freePort } from '../redis/server.ts'

/** A real nginx of its own, on the loopback interface, in one process. */
export interface Nginx {
  readonly port: number
  readonly url: string
  /** What it wrote to its access log so far. */
  log(): Promise<string>
  stop(): Promise<void>
}

/** `describe`, for tests that need a real nginx and a real Redis: skipped, with a word about it, where one is missing. */
export function describeNginx(name: string, body: () => void): void {
  describe.skipIf(!nginxAvailable())(name, body)
}

/** The configuration that is deployed, with other addresses in place of its two servers. */
export async function deployed(servers: readonly [string, string]): Promise<string> {
  const text = await readFile(new URL('../../deploy/nginx.conf', import.meta.url), 'utf8')
  return replaced(replaced(text, /\bserver-1:3000\b/g, servers[0]), /\bserver-2:3000\b/g, servers[1])
}

/** Starts nginx with a whole configuration that listens on port 80; it gets a free one, and a directory of its own. */
export async function startNginx(configuration: string): Promise<Nginx> {
  const path = findNginx()
  if (!path) throw new Error('No nginx was found; use describeNginx().')
  const directory = await mkdtemp(join(tmpdir(), 'nginx-'))
  await chmod(directory, 0o755)
  const port = await freePort()
  await writeFile(join(directory, 'nginx.conf'), await contained(configuration, { directory, port }))
  const globals = `daemon off; master_process off; pid ${directory}/pid;`
  const args = ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr', '-g', globals]
  const child = spawn(path, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  running.add(child)
  child.once('exit', () => running.delete(child))
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)))
  await listening(child, port, () => said)
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    log: () => readFile(join(directory, 'access.log'), 'utf8'),
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit')
        child.kill('SIGKILL')
        await exited
      }
      await rm(directory, { recursive: true, force: true })
    },
  }
}

let answer: boolean | undefined

function nginxAvailable(): boolean {
  answer ??= look()
  return answer
}

function look(): boolean {
  if (findNginx()) return true
  const advice = 'Install nginx (Debian: apt-get install nginx-light) or set NGINX_PATH to an nginx.'
  if (process.env['CI'])
    throw new Error(`The proxy's settings cannot be tested: no nginx was found. ${advice}`)
  console.warn(`\nSKIPPED: nothing is tested behind a real nginx, because none was found. ${advice}\n`)
  return false
}

function findNginx(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin']
  const candidates = folders.map((folder) => join(folder, 'nginx'))
  return [process.env['NGINX_PATH'] ?? '', ...candidates].find((path) => path && existsSync(path))
}

/** The same configuration, which touches nothing outside its directory and needs no rights. */
async function contained(
  text: string,
  { directory, port }: { readonly directory: string; readonly port: number },
): Promise<string> {
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  await Promise.all(kinds.map((kind) => mkdir(join(directory, kind))))
  const paths = kinds.map((kind) => `  ${kind}_temp_path ${directory}/${kind};\n`).join('')
  const here = replaced(
    replaced(text, /^http \{\n/m, `http {\n${paths}`),
    /\blisten 80;/,
    `listen 127.0.0.1:${port};`,
  )
  return replaced(here, '/dev/stdout', `${directory}/access.log`)
}

function replaced(text: string, part: RegExp | string, by: string): string {
  const result = text.replaceAll(
    part instanceof RegExp ? new RegExp(part, `${part.flags.replace('g', '')}g`) : part,
    by,
  )
  if (result === text) throw new Error(`There is no ${String(part)} in the configuration.`)
  return result
}

async function listening(child: ChildProcess, port: number, said: () => string): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    const socket = connect(port, '127.0.0.1')
    const open = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (open) return
    await sleep(10)
  }
  throw new Error(`nginx ended with ${String(child.exitCode ?? child.signalCode)}: ${said()}`)
}

// A test run that is cut off must not leave its servers behind.
const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})
