import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readZip, type ZipEntry } from './zip.ts'

/** The project's directory. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

export interface Resource {
  readonly Type: string
  readonly Properties: Readonly<Record<string, unknown>>
}

/** What `osls package` made. */
export interface Service {
  readonly template: { readonly Resources: Readonly<Record<string, Resource>> }
  /** Every JSON document it wrote, as text. */
  readonly documents: readonly string[]
  readonly files: { readonly chat: readonly ZipEntry[]; readonly api: readonly ZipEntry[] }
  /** Unpacks the zip of a function, as Lambda would at /var/task, and returns the directory. */
  unpack(name: 'chat' | 'api'): Promise<string>
  remove(): Promise<void>
}

/**
 * Packages what `dist/` holds, as `npm run package` does after the build, into a directory of its own.
 * Of this process's environment osls sees nothing but `PATH`; `env` is added.
 */
export async function packageService(env: Readonly<Record<string, string>> = {}): Promise<Service> {
  const directory = await mkdtemp(join(tmpdir(), 'deltarelay-package-'))
  const output = join(directory, 'package')
  const script = join(root, 'node_modules/osls/bin/serverless.js')
  await run(process.execPath, [script, 'package', '--package', output], {
    cwd: root,
    env: { PATH: process.env['PATH'], HOME: directory, ...env },
  })

  const read = (name: string): Promise<string> => readFile(join(output, name), 'utf8')
  const template = await read('cloudformation-template-update-stack.json')
  const files = {
    chat: readZip(await readFile(join(output, 'chat.zip'))),
    api: readZip(await readFile(join(output, 'api.zip'))),
  }

  return {
    template: JSON.parse(template) as Service['template'], // its shape is what the tests are about
    documents: [
      template,
      await read('cloudformation-template-create-stack.json'),
      await read('serverless-state.json'),
    ],
    files,
    async unpack(name) {
      const target = join(directory, name)
      for (const { name: path, data } of files[name]) {
        await mkdir(dirname(join(target, path)), { recursive: true })
        await writeFile(join(target, path), data)
      }
      return target
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  }
}

export interface RunOptions {
  readonly cwd: string
  readonly env?: NodeJS.ProcessEnv
}

/** Runs a program to its end and resolves with its stdout. Rejects with everything it said when it fails. */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let complaints = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text))
    child.once('error', reject)
    child.once('close', (code) => {
      if (code === 0) resolve(output)
      else reject(new Error(`${command} ${args.join(' ')} ended with ${code}:\n${output}${complaints}`))
    })
  })
}
