import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root, run } from './service.ts'

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
}

let directory: string
let tarball: string
let files: readonly string[]
let manifest: Manifest

// What `npm pack` makes of dist/; its own build (`prepack`) would pull dist/ away from under other tests.
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'deltarelay-library-'))
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', directory]
  const [packed] = JSON.parse(await run('npm', pack, { cwd: root, env: process.env })) as [
    { readonly filename: string; readonly files: readonly { readonly path: string }[] },
  ] // npm's own format
  tarball = join(directory, packed.filename)
  files = packed.files.map(({ path }) => path)
  manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Manifest
})

afterAll(() => rm(directory, { recursive: true, force: true }))

/** A project that has installed the package; of everything else it has `packages`. */
async function createConsumer(name: string, packages: readonly string[]): Promise<string> {
  const project = join(directory, name)
  const modules = join(project, 'node_modules')
  for (const file of files) await cp(join(root, file), join(modules, 'deltarelay', file))
  for (const other of [...Object.keys(manifest.dependencies), ...packages]) {
    await mkdir(dirname(join(modules, other)), { recursive: true })
    await symlink(join(root, 'node_modules', other), join(modules, other), 'junction')
  }
  await writeFile(join(project, 'package.json'), '{ "type": "module", "private": true }')
  return project
}

/** Compiles `main.ts` to `main.js` as strictly as TypeScript can, declarations of packages included. */
async function compile(project: string, source: string, options: object): Promise<void> {
  const compilerOptions = {
    module: 'nodenext',
    target: 'es2023',
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: false,
    ...options,
  }
  await writeFile(join(project, 'main.ts'), source)
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['main.ts'] }))
  await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', project], {
    cwd: project,
  })
}

test('the package holds the library, its documents, and nothing else', () => {
  const outside = files.filter((path) => !path.startsWith('dist/lib/'))
  const strange = files.filter(
    (path) =>
      path.startsWith('dist/lib/') &&
      !/^dist\/lib\/(?:src|adapters|client)\/[\w/-]+(?:\.d\.ts|\.js)$/.test(path),
  )

  expect(outside.sort()).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'])
  expect(strange).toEqual([])
})

test('publint has nothing to say about it', async () => {
  const bytes = await readFile(tarball)
  const pack = { tarball: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) }
  const { messages, pkg } = await publint({ pack, level: 'warning', strict: true })

  expect(messages.map((message) => formatMessage(message, pkg))).toEqual([])
})

test('a strict project with Express compiles against it, runs, and streams', async () => {
  const project = await createConsumer('express', ['express', '@types/express', '@types/node'])

  await compile(project, expressConsumer, { types: ['node'], lib: ['es2023'] })
  const output = await run(process.execPath, ['main.js'], { cwd: project })

  expect(output).toBe('200 text/event-stream; charset=utf-8\nstart text text finish\nHello\nHello ended\n')
})

test('a strict project without types of Node, Express or AWS compiles against it', async () => {
  const project = await createConsumer('bare', [])

  await compile(project, bareConsumer, { types: [], lib: ['es2023', 'webworker'] })
  const output = await run(process.execPath, ['main.js'], { cwd: project })

  expect(output).toContain('toLambda() needs the Node.js runtime of AWS Lambda')
})

const expressConsumer = `
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { type ChatDelta, createHandler, type Upstream, withCors } from 'deltarelay'
import { type Chat, chat } from 'deltarelay/client'
import { toExpress } from 'deltarelay/express'

const upstream: Upstream = async function* () {
  yield { type: 'text', text: 'Hel' }
  yield { type: 'text', text: 'lo' }
  yield { type: 'finish', reason: 'stop' }
}

const handler = createHandler({ upstream, model: 'scripted' })
const app = express()
app.use('/relay', toExpress(withCors(handler, { origins: ['https://chat.example'] })))
const server = app.listen(0, '127.0.0.1')
await once(server, 'listening')

const { port } = server.address() as AddressInfo
const response = await fetch(\`http://127.0.0.1:\${port}/relay/chat\`, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ prompt: 'hi' }),
})
const lines = (await response.text()).split('\\n').filter((line) => line.startsWith('data: '))
const deltas = lines.map((line) => JSON.parse(line.slice(6)) as ChatDelta)
console.log(response.status, response.headers.get('content-type'))
console.log(deltas.map(({ type }) => type).join(' '))
console.log(deltas.map((delta) => (delta.type === 'text' ? delta.text : '')).join(''))

const reply: Chat = chat({ url: \`http://127.0.0.1:\${port}/relay/chat\`, prompt: 'hi' })
let answer = ''
for await (const delta of reply) if (delta.type === 'text') answer += delta.text
console.log(answer, await chat.resume(reply.id ?? '', { url: \`http://127.0.0.1:\${port}/relay/chat\` }).stop())
server.close()
server.closeAllConnections()
`

const bareConsumer = `
import { createHandler, createMemoryStore, createOpenAI, type Handler, type HttpReply } from 'deltarelay'
import { chat, ChatClientError } from 'deltarelay/client'
import { toLambda } from 'deltarelay/lambda'

const upstream = createOpenAI({ apiKey: 'none', baseURL: 'http://127.0.0.1:9/v1' })
async function refuse({ headers }: Request): Promise<Response> {
  if (headers.get('content-type') !== 'application/json') throw new Error('not JSON')
  return new Response('{"error":{"code":"unsupported-media-type","message":"No."}}', { status: 415 })
}

const handler: Handler = createHandler({ upstream, model: 'any', store: createMemoryStore({ ttlMs: 1000 }) })
const reply: HttpReply = await handler(new Request('http://localhost/healthz'))
if (reply.status !== 200) throw new Error('not healthy')
try {
  const url = 'http://localhost/chat'
  for await (const { type } of chat({ url, prompt: 'hi', fetch: (url, init) => refuse(new Request(url, init)) })) console.log(type)
} catch (error) {
  if (!(error instanceof ChatClientError) || error.code !== 'unsupported-media-type') throw error
}
try {
  toLambda(handler)
} catch (error) {
  console.log(error)
}
`
