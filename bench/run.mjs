// Builds the project and bench/NAME.ts aside from dist/, and runs that: `node bench/run.mjs NAME [--json] …`.
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import * as esbuild from 'esbuild'

const root = fileURLToPath(new URL('../', import.meta.url))
const cache = `${root}node_modules/.cache/deltarelay/bench`

const [name, ...rest] = process.argv.slice(2)
if (name === undefined) throw new Error('Which one? `node bench/run.mjs pace`, `cold`, `log` or `chaos`.')

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

await run(['build.mjs', '--out', `${cache}/dist`])
await esbuild.build({
  absWorkingDir: root,
  entryPoints: [`bench/${name}.ts`, 'bench/servers.ts'],
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
await run([`${cache}/${name}.mjs`, ...rest])

async function run(args) {
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' })
  const code = await new Promise((resolve) => child.on('close', resolve))
  if (code !== 0) process.exit(code ?? 1)
}
