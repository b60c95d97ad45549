// Builds the project and bench/NAME.ts aside from dist/, and runs that: `node bench/run.mjs NAME [--json] …`.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import * as esbuild from 'esbuild'

const root = fileURLToPath(new URL('../', import.meta.url))
const cache = `${root}node_modules/.cache/deltarelay/bench`

const [name, ...rest] = process.argv.slice(2)
if (name === undefined)
  throw new Error('Which one? `node bench/run.mjs compare`, `pace`, `cold`, `log` or `chaos`.')

/** Modules find their neighbours by their own address, which bundling would change. */
const keepAddress = {
  name: 'keep-address',
  setup(build) {
    build.onLoad({ filter: /[\\/](?:bench|test)[\\/].*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8')
      const address = JSON.stringify(pathToFileURL(path).href)
      return { contents: source.replaceAll('import.meta.url', address), loader: 'ts' }
    })
  },
}

/** What is started as a process of its own. */
const processes = name === 'compare' ? ['compare/upstream', 'compare/client'] : ['servers']
/** A chart of what was measured before needs no servers. */
const drawsOnly = rest.includes('--from')

if (!drawsOnly) await run(process.execPath, ['build.mjs', '--out', `${cache}/dist`])
if (name === 'compare' && !drawsOnly && !existsSync(`${root}bench/node_modules/.package-lock.json`)) {
  console.error('Installs what deltarelay is compared with, into bench/node_modules.')
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel', 'error']
  await run('npm', ['ci', '--prefix', 'bench', ...quiet])
}
await esbuild.build({
  absWorkingDir: root,
  entryPoints: [name, ...processes].map((each) => `bench/${each}.ts`),
  outbase: 'bench',
  outdir: cache,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  // Of the test helpers only the servers are wanted; a CommonJS package stays what it is.
  external: ['vitest', '@redis/client'],
  plugins: [keepAddress],
})
await run(process.execPath, [`${cache}/${name}.mjs`, ...rest])

async function run(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: 'inherit', shell: command === 'npm' })
  const code = await new Promise((resolve) => child.on('close', resolve))
  if (code !== 0) process.exit(code ?? 1)
}
