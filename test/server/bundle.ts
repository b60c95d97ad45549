import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../../', import.meta.url))
// CommonJS packages inside an ES module ask for `require`.
const banner = {
  js: "import{createRequire as createRequire_}from'node:module';const require=createRequire_(import.meta.url);",
}

/** A script made of the sources as they are, in a directory of its own. */
export interface Bundle {
  readonly directory: string
  readonly path: string
  remove(): Promise<void>
}

/** Bundles a TypeScript file of this project, named from its root, for the running Node. */
export async function bundle(entry: string): Promise<Bundle> {
  const cache = `${root}node_modules/.cache/deltarelay/tests/`
  await mkdir(cache, { recursive: true })
  const directory = await mkdtemp(cache)
  const path = `${directory}/main.mjs`
  await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    banner,
    logLevel: 'error',
  })
  return { directory, path, remove: () => rm(directory, { recursive: true, force: true }) }
}
