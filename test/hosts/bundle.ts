import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type BuildOptions } from 'esbuild'

const root = fileURLToPath(new URL('../../', import.meta.url))

// Plain JavaScript without declarations.
const targets = new URL('../../build.targets.mjs', import.meta.url).href
const { targetsIn } = (await import(targets)) as {
  targetsIn: (out: string) => Record<'server' | 'web' | 'chat' | 'api', BuildOptions>
}

/** The project's own programs, and those of these tests, which are built as the streaming function is. */
function programsIn(directory: string) {
  const { chat, api, server, web } = targetsIn(directory)
  return {
    chat: { ...chat, outdir: directory },
    subject: { ...chat, outdir: directory, entryPoints: { index: 'test/hosts/entry.ts' } },
    resources: { ...chat, outdir: directory, entryPoints: { index: 'test/hosts/lambda-entry.ts' } },
    api: { ...api, outdir: directory },
    // Outside of the project nothing says that `.js` is a module.
    server: { ...server, outExtension: { '.js': '.mjs' } },
    web,
  }
}

const files = {
  chat: 'index.mjs',
  subject: 'index.mjs',
  resources: 'index.mjs',
  api: 'index.cjs',
  server: 'server.mjs',
}

/** A directory with one built program, as it would be deployed. */
export interface Bundle {
  readonly directory: string
  /** The built file in it. */
  readonly file: string
  remove(): Promise<void>
}

/** Builds a program into a directory of its own, with the page beside it unless it shall be missing. */
export async function bundle(target: keyof typeof files, { page = true } = {}): Promise<Bundle> {
  const directory = await mkdtemp(join(tmpdir(), `deltarelay-${target}-`))
  const programs = programsIn(directory)
  const wanted = page ? [programs[target], programs.web] : [programs[target]]
  await Promise.all(wanted.map((options) => build({ ...options, absWorkingDir: root, logLevel: 'error' })))
  return {
    directory,
    file: join(directory, files[target]),
    remove: () => rm(directory, { recursive: true, force: true }),
  }
}
