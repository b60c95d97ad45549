import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, sep } from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { root } from './service.ts'

const KiB = 1024
const dist = join(root, 'dist')

if (!existsSync(dist)) throw new Error('There is no dist/: run `npm run build` first.')

/** The sources of a bundle, as esbuild reports them, relative to the project. */
async function inputs(name: 'chat' | 'api' | 'server'): Promise<readonly string[]> {
  const metafile = JSON.parse(await readFile(join(dist, 'meta', `${name}.json`), 'utf8')) as {
    readonly inputs: object
  } // esbuild's own format
  return Object.keys(metafile.inputs)
}

/** The size of what the chat function loads when it starts: its bundle, and the pieces that it imports without a condition. */
async function startSize(): Promise<{ readonly plain: number; readonly zipped: number }> {
  const directory = join(dist, 'lambda/chat')
  const index = await readFile(join(directory, 'index.mjs'), 'utf8')
  const pieces = [...index.matchAll(/(?:from|import)"\.\/([^"]+)"/g)].map(([, name]) => name!)
  const files = await Promise.all(['index.mjs', ...pieces].map((name) => readFile(join(directory, name))))
  const sum = (sizes: readonly number[]): number => sizes.reduce((a, b) => a + b, 0) / KiB
  return { plain: sum(files.map(({ length }) => length)), zipped: sum(files.map((f) => gzipSync(f).length)) }
}

test('what the chat function loads is within its budget', async () => {
  const { plain, zipped } = await startSize()

  expect(plain).toBeLessThanOrEqual(430)
  expect(zipped).toBeLessThanOrEqual(105)
})

test('what the chat function loads is as small as it is meant to be', async () => {
  const { plain, zipped } = await startSize()

  // Lists of fields and codes, budgets, signatures: checks of every request, which cannot be loaded later.
  expect(plain).toBeLessThanOrEqual(280)
  expect(zipped).toBeLessThanOrEqual(100)
})

test.each([
  ['chat', /node_modules\/(?:express|serverless-http|body-parser|iconv-lite|mime-db)\//],
  ['chat', /^simulator\//],
  ['api', /^simulator\//],
  ['chat', /^(?:test|bench)\//],
  ['api', /^(?:test|bench)\//],
  ['server', /^(?:test|bench)\//],
] as const)('the %s bundle holds nothing of %s', async (name, unwanted) => {
  const found = (await inputs(name)).filter((path) => unwanted.test(path))

  expect(found).toEqual([])
})

test.each([
  ['chat', 'handlers/lambda.ts'],
  ['chat', 'node_modules/openai/client.mjs'],
  ['api', 'node_modules/serverless-http/serverless-http.js'],
  ['server', 'simulator/index.ts'],
] as const)('the %s bundle holds %s', async (name, path) => {
  expect(await inputs(name)).toContain(path)
})

test('the page lies beside the bundle of the chat function', async () => {
  const names = await readdir(join(dist, 'lambda/chat'), { recursive: true })

  expect(names.filter((name) => !/^part-\w+\.mjs$/.test(name)).sort()).toEqual(
    ['index.mjs', 'web', 'web/index.html', 'web/page.css', 'web/page.js'].map((name) =>
      name.replaceAll('/', sep),
    ),
  )
})

test.each([
  ['the Redis client', 'disableOfflineQueue'],
  ['what asks through a proxy', 'Proxy connection ended'],
])('%s is a piece of its own, which the chat function loads only when it is asked to', async (_, word) => {
  const directory = join(dist, 'lambda/chat')
  const index = await readFile(join(directory, 'index.mjs'), 'utf8')
  const lazy = [...index.matchAll(/import\("\.\/(part-\w+\.mjs)"\)/g)].map(([, name]) => name!)
  const pieces = await Promise.all(lazy.map((name) => readFile(join(directory, name), 'utf8')))

  expect(pieces.filter((piece) => piece.toLowerCase().includes(word.toLowerCase()))).toHaveLength(1)
  expect(index.toLowerCase()).not.toContain(word.toLowerCase())
})

test('nothing that is built names a directory of the machine that built it', async () => {
  const names = await readdir(dist, { recursive: true, withFileTypes: true })
  const files = names.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name))
  const texts = await Promise.all(files.map((path) => readFile(path, 'utf8')))

  // A home directory such as `/root` is a word that packages use too; the project's own path is not.
  const foreign = homedir().split(sep).length > 2 ? [root, homedir()] : [root]
  const found = files.filter((_, index) => foreign.some((path) => texts[index]!.includes(path)))
  expect(files.length).toBeGreaterThan(10)
  expect(found).toEqual([])
})
