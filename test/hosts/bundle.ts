import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type BuildOptions, type Plugin, transform } from 'esbuild'

const root = fileURLToPath(new URL('../../', import.meta.url))

const node: BuildOptions = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  format: 'esm',
  legalComments: 'none',
}

// Plain JavaScript without declarations.
const lean = new URL('../../build.openai.mjs', import.meta.url).href
const { leanOpenAI } = (await import(lean)) as { leanOpenAI: Plugin }

// As in build.mjs, which builds when it is imported; only the places differ.
const targets = {
  chat: {
    entry: 'handlers/lambda.ts',
    file: 'index.mjs',
    options: { target: 'node24', minify: true, plugins: [leanOpenAI] },
  },
  subject: {
    entry: 'test/hosts/entry.ts',
    file: 'index.mjs',
    options: { target: 'node24', minify: true, plugins: [leanOpenAI] },
  },
  api: {
    entry: 'handlers/api.ts',
    file: 'index.cjs',
    options: { target: 'node24', minify: true, plugins: [leanOpenAI], format: 'cjs' },
  },
  server: {
    entry: 'handlers/server.ts',
    file: 'server.mjs',
    options: {
      target: 'node20',
      banner: {
        js: "import{createRequire as createRequire_}from'node:module';const require=createRequire_(import.meta.url);",
      },
    },
  },
} satisfies Record<string, { entry: string; file: string; options: BuildOptions }>

/** A directory with one built program, as it would be deployed. */
export interface Bundle {
  readonly directory: string
  /** The built file in it. */
  readonly file: string
  remove(): Promise<void>
}

/** Builds a program into a directory of its own, with the page beside it unless it shall be missing. */
export async function bundle(target: keyof typeof targets, { page = true } = {}): Promise<Bundle> {
  const { entry, file, options } = targets[target]
  const directory = await mkdtemp(join(tmpdir(), `deltarelay-${target}-`))
  const outfile = join(directory, file)
  await Promise.all([
    build({ ...node, ...options, entryPoints: [entry], outfile, logLevel: 'error' }),
    page ? buildPage(join(directory, 'web')) : undefined,
  ])
  return { directory, file: outfile, remove: () => rm(directory, { recursive: true, force: true }) }
}

async function buildPage(directory: string): Promise<void> {
  await mkdir(directory)
  await build({
    absWorkingDir: root,
    bundle: true,
    entryPoints: { page: 'web/page.ts' },
    outdir: directory,
    format: 'esm',
    target: 'es2022',
    minify: true,
  })
  const { code } = await transform(await readFile(join(root, 'web/page.css'), 'utf8'), {
    loader: 'css',
    minify: true,
    target: 'es2022',
  })
  await writeFile(join(directory, 'page.css'), code)
  await cp(join(root, 'web/index.html'), join(directory, 'index.html'))
}
