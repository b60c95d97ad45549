import { once } from 'node:events'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeRedis } from '../redis/gate.ts'
import { startRedis } from '../redis/server.ts'
import { type Simulator, startSimulator } from '../../simulator/index.ts'

const root = new URL('../../', import.meta.url)
const readme = await readFile(new URL('README.md', root), 'utf8')
const children: ChildProcess[] = []
let simulator: Simulator

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
})

afterAll(async () => {
  for (const child of children) child.kill()
  await simulator.close()
})

/** Runs a file of the project and resolves to the first match in what it prints. */
async function run(file: string, env: Record<string, string>, pattern: RegExp): Promise<RegExpExecArray> {
  const child = spawn(process.execPath, [file], {
    cwd: root,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  let output = ''
  return new Promise((resolve, reject) => {
    child.stdout.on('data', (piece: Buffer) => {
      output += piece.toString()
      const match = pattern.exec(output)
      if (match) resolve(match)
    })
    child.once('exit', () => reject(new Error(`${file} ended without ${String(pattern)}: ${output}`)))
  })
}

test.each(await readdir(new URL('examples/', root)))(
  'the README shows examples/%s as it is',
  async (name) => {
    expect(readme).toContain(await readFile(new URL(`examples/${name}`, root), 'utf8'))
  },
)

test('the server prints the ready line of the README and answers its curl commands', async () => {
  const promised = /deltarelay is listening on \S+ \(simulated model: [^)]+\)/.exec(readme)?.[0]
  const [line, url] = await run('dist/server.js', { PORT: '0' }, /deltarelay is listening on (\S+) .*\)/)
  expect(line.replace(url!, 'http://127.0.0.1:3000')).toBe(promised)

  const streamed = await (await fetch(`${url}/stream?prompt=hi`)).text()
  const known = (text: string): string =>
    text
      .replace(/retry: 1\d{3}/, 'retry: MS')
      .replace(/id: [\w-]{22}/g, 'id: ID')
      .replace(/"id":"[\w-]{22}"/, '"id":"ID"')
      .replace(/\d{13}/, 'TIME')
  const shown = /```text\n(retry: 1\d{3}[\s\S]+?)\n```/.exec(readme)![1]!
  expect(known(streamed).startsWith(known(shown))).toBe(true)
  expect(streamed).toMatch(/"type":"usage"[^\n]+\n\n.+\n.+"type":"finish","reason":"stop"}\n\n$/)

  const headers = { 'content-type': 'application/json' }
  const refused = await fetch(`${url}/chat`, { method: 'POST', headers, body: '{"messages":[]}' })
  expect(readme).toContain(await refused.text())
})

test('the Express example streams below its path', async () => {
  const { port } = new URL(await freeAddress())
  const child = spawn(process.execPath, ['examples/express.mjs'], {
    cwd: root,
    env: { PATH: process.env['PATH'], PORT: port, OPENAI_API_KEY: 'test', OPENAI_BASE_URL: simulator.url },
    stdio: 'inherit',
  })
  children.push(child)

  const body = await eventually(async () =>
    (await fetch(`http://127.0.0.1:${port}/ai/stream?prompt=hi`)).text(),
  )

  expect(body).toContain('"type":"finish","reason":"stop"')
})

describeRedis('with a Redis', () => {
  test('the example of a shared store gives a reply to its owner, and to nobody else', async () => {
    const redis = await startRedis()
    const { port } = new URL(await freeAddress())
    const env = { PORT: port, OPENAI_API_KEY: 'test', OPENAI_BASE_URL: simulator.url, REDIS_URL: redis.url }
    const child = spawn(process.execPath, ['examples/redis.mjs'], {
      cwd: root,
      env: { PATH: process.env['PATH'], ...env },
      stdio: 'inherit',
    })
    children.push(child)
    const url = `http://127.0.0.1:${port}`
    const asked = await eventually(() => fetch(`${url}/stream?prompt=hi`, { headers: { 'x-user': 'ann' } }))
    await asked.text()

    const read = async (user: string) =>
      (await fetch(`${url}/chat/${asked.headers.get('x-reply-id')}`, { headers: { 'x-user': user } })).status

    expect([await read('ann'), await read('bob')]).toEqual([200, 404])
    expect(await redis.command(['KEYS', 'deltarelay:*'])).not.toEqual([])
    child.kill()
    await once(child, 'exit')
    await redis.stop()
  })
})

test('the example of tools answers with what its tool said, and tells of the reply', async () => {
  const { port } = new URL(await freeAddress())
  const env = { PORT: port, OPENAI_API_KEY: 'test', OPENAI_BASE_URL: simulator.url }
  const told = run('examples/tools.mjs', env, /finished [\s\S]+packets is 12[\s\S]+ \d+ \d+\n/)

  const body = await eventually(async () =>
    (
      await fetch(`http://127.0.0.1:${port}/stream?prompt=${encodeURIComponent('How much tea is in stock?')}`)
    ).text(),
  )

  expect(body).toContain('"result":{"drink":"tea","packets":12}')
  expect(body).toContain('"type":"finish","reason":"stop"')
  await told
})

test('the example of plain fetch prints the answer of the server', async () => {
  const [, url] = await run('dist/server.js', { PORT: '0' }, /deltarelay is listening on (\S+) /)

  const [text] = await run('examples/fetch.mjs', { BASE_URL: url! }, /[\s\S]+simulated/)

  expect(text.length).toBeGreaterThan(20)
})

test('the example of the client prints the answer, and has it again by its id', async () => {
  const [, url] = await run('dist/server.js', { PORT: '0' }, /deltarelay is listening on (\S+) /)

  const [text] = await run('examples/client.mjs', { BASE_URL: url! }, /[\s\S]+\n\d\d+ pieces\n/)

  expect(text).toContain('simulated')
})

test('the generator example prints the answer', async () => {
  const env = { OPENAI_API_KEY: 'test', OPENAI_BASE_URL: simulator.url }

  const [text] = await run('examples/generator.mjs', env, /[\s\S]+simulated/)

  expect(text.length).toBeGreaterThan(20)
})

test('every npm script that the documents name exists', async () => {
  const { scripts } = JSON.parse(await readFile(new URL('package.json', root), 'utf8')) as {
    scripts: Record<string, string>
  }
  const files = [
    'README.md',
    'CONTRIBUTING.md',
    'docs/deploy.md',
    'docs/scaling.md',
    'docs/configuration.md',
    'docs/dependencies.md',
    'docs/client.md',
    'docs/benchmarks.md',
  ]
  const texts = await Promise.all(files.map((file) => readFile(new URL(file, root), 'utf8')))
  const named = texts.flatMap((text) =>
    [...text.matchAll(/npm run ([a-z][a-z:-]*)/g)].map(([, name]) => name!),
  )

  expect(named.filter((name) => !(name in scripts))).toEqual([])
})

async function freeAddress(): Promise<string> {
  const { createServer } = await import('node:http')
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return `http://127.0.0.1:${address.port}`
}

async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + 10_000
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (Date.now() > deadline) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
