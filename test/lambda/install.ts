import { spawn } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where a Node.js that the runtime accepts, and the runtime itself, lie on this machine. */
export interface RuntimePaths {
  /** A Node.js binary, version 22 or newer. */
  readonly node: string
  /** `index.mjs` of aws-lambda-ric. */
  readonly ric: string
}

/** Says in a sentence why the runtime cannot be had. */
export interface RuntimeMissing {
  readonly missing: string
}

// aws-lambda-ric 4 asks for 22 in its package.json; 24 is what we fetch, because it is what we deploy to.
const oldestMajor = 22
const fetchedNode = '24.21.0'
const installTimeoutMs = 100_000

const manifests = fileURLToPath(new URL('./runtime/', import.meta.url))
const cache = fileURLToPath(new URL('../../node_modules/.cache/deltarelay/', import.meta.url))

let prepared: Promise<RuntimePaths | RuntimeMissing> | undefined

/**
 * Makes the real Lambda runtime ready, from the cache or from the npm registry.
 *
 * The running Node.js is used when it is 22 or newer, else a binary of Node.js 24 is fetched beside the runtime.
 * Several processes may call this at once. Never rejects: without a registry it resolves `{ missing }`.
 */
export function prepareRuntime(): Promise<RuntimePaths | RuntimeMissing> {
  prepared ??= prepare()
  return prepared
}

async function prepare(): Promise<RuntimePaths | RuntimeMissing> {
  try {
    const [ric, node] = await Promise.all([installRuntime(), findNode()])
    return { node, ric }
  } catch (error) {
    return { missing: `The AWS Lambda runtime could not be installed: ${(error as Error).message}` }
  }
}

async function installRuntime(): Promise<string> {
  const lockfile = await readFile(join(manifests, 'package-lock.json'))
  const version = createHash('sha256').update(lockfile).digest('hex').slice(0, 12)

  const home = await installOnce(`lambda-runtime-${version}`, ['ci'], async (directory) => {
    await copyFile(join(manifests, 'package.json'), join(directory, 'package.json'))
    await copyFile(join(manifests, 'package-lock.json'), join(directory, 'package-lock.json'))
  })

  return join(home, 'node_modules/aws-lambda-ric/index.mjs')
}

async function findNode(): Promise<string> {
  if (Number.parseInt(process.versions.node) >= oldestMajor) return process.execPath

  const windows = process.platform === 'win32'
  const name = `node-${windows ? 'win' : process.platform}-${process.arch}`
  const install = ['install', '--no-save', '--no-package-lock', `${name}@${fetchedNode}`]

  const home = await installOnce(`${name}-${fetchedNode}`, install, async (directory) => {
    await writeFile(join(directory, 'package.json'), '{ "private": true }\n')
  })

  return join(home, 'node_modules', name, 'bin', windows ? 'node.exe' : 'node')
}

/** Installs into a fresh directory and renames it, so that a directory with the final name is always complete. */
export async function installOnce(
  name: string,
  command: readonly string[],
  prepareDirectory: (directory: string) => Promise<void>,
): Promise<string> {
  const home = join(cache, name)
  if (existsSync(home)) return home

  const draft = join(cache, `.${name}-${randomUUID()}`)
  try {
    await mkdir(draft, { recursive: true })
    await prepareDirectory(draft)
    await npm(command, draft)
    await rename(draft, home)
  } catch (error) {
    // Another process was faster: its copy is as good as ours.
    if (!existsSync(home)) throw error
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
  return home
}

async function npm(command: readonly string[], directory: string): Promise<void> {
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--engine-strict=false']
  // npm's own ten seconds between attempts would make an offline run wait for half a minute.
  const impatient = ['--fetch-retries=2', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=3000']

  const child = spawn('npm', [...command, '--prefix', directory, ...quiet, ...impatient], {
    cwd: directory,
    env: npmEnvironment(),
    stdio: ['ignore', 'ignore', 'pipe'],
    shell: process.platform === 'win32',
    timeout: installTimeoutMs,
  })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text))

  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })

  if (code === 0) return
  const reason = code === null ? `no answer within ${installTimeoutMs / 1000} s` : lastError(complaints)
  throw new Error(`npm ${command[0]} failed (${reason}).`)
}

/** Settings that say where packages come from; every other setting of a surrounding npm run is not meant for us. */
const sources =
  /^npm_config_(.*registry|cache|ca|cafile|.*proxy|strict_ssl|userconfig|globalconfig|offline|prefer_offline)$/i

/** The environment without what a surrounding npm, Node.js or test runner has put into it for itself. */
function npmEnvironment(): NodeJS.ProcessEnv {
  const foreign = /^(npm_|node_(env|options|path|channel)|init_cwd$|vitest|vite_)/i
  const kept = Object.entries(process.env).filter(([name]) => sources.test(name) || !foreign.test(name))
  return Object.fromEntries(kept)
}

function lastError(complaints: string): string {
  const lines = complaints
    .split('\n')
    .map((line) => line.replace(/^npm (error|ERR!) ?/, '').trim())
    .filter((line) => line !== '' && !/^(code|syscall|errno|address|port|A complete log)\b/.test(line))
  return lines[0] ?? 'it gave no reason'
}
