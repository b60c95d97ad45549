// Builds everything into dist/, or another directory: `node build.mjs [--out DIR]`. With --dev: the server and the
// page alone, watched and restarted.
import { spawn } from 'node:child_process'
import { cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import * as esbuild from 'esbuild'
import { targetsIn } from './build.targets.mjs'

const { out, dev } = parseArgs({
  options: { out: { type: 'string', default: 'dist' }, dev: { type: 'boolean', default: false } },
}).values

const targets = targetsIn(out)

async function buildAll() {
  await rm(out, { recursive: true, force: true })
  await mkdir(`${out}/meta`, { recursive: true })
  await Promise.all([
    ...Object.entries(targets).map(async ([name, options]) => {
      const { metafile } = await esbuild.build(options)
      await writeFile(`${out}/meta/${name}.json`, JSON.stringify(metafile))
    }),
    buildLibrary(),
  ])
  // The function's page lies beside its bundle, and is read when somebody asks for it.
  await cp(`${out}/web`, `${out}/lambda/chat/web`, { recursive: true })
}

/** The library: plain modules with declarations, as TypeScript writes them. */
async function buildLibrary() {
  const tsc = fileURLToPath(new URL('node_modules/.bin/tsc', import.meta.url))
  const child = spawn(tsc, ['-p', 'tsconfig.lib.json', '--outDir', `${out}/lib`], {
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  const code = await new Promise((resolve) => child.on('close', resolve))
  if (code !== 0) throw new Error('the library does not compile')
}

async function develop() {
  let child
  let stopping = false

  async function restart() {
    const old = child
    child = undefined
    if (old && old.exitCode === null && old.signalCode === null) {
      const gone = new Promise((resolve) => old.once('exit', resolve))
      old.kill('SIGTERM')
      await gone
    }
    if (stopping) return
    const started = spawn(process.execPath, [`${out}/server.js`], {
      stdio: 'inherit',
      env: { DRAIN_MS: '0', ...process.env },
    })
    child = started
    // A server that ends by itself has said why; a restarted one is no longer the child.
    started.once('exit', (code) => {
      if (child === started) process.exit(code ?? 1)
    })
  }

  let restarting = Promise.resolve()
  const restartOnEnd = {
    name: 'restart',
    setup(build) {
      build.onEnd(({ errors }) => {
        if (errors.length === 0) restarting = restarting.then(restart)
      })
    },
  }
  const web = await esbuild.context({ ...targets.web, logLevel: 'warning' })
  const server = await esbuild.context({ ...targets.server, plugins: [restartOnEnd], logLevel: 'warning' })
  // The page is there when the server says that it is.
  await web.rebuild()
  await web.watch()
  await server.watch()

  function stop() {
    stopping = true
    restarting = restarting.then(restart).then(() => process.exit(0))
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  // npm, when it is told to end, ends the shell between us without a word to us.
  const parent = process.ppid
  if (process.env.npm_lifecycle_event) setInterval(() => process.ppid === parent || stop(), 500)
}

await (dev ? develop() : buildAll())
