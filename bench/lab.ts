import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { Agent, type IncomingMessage, request as ask } from 'node:http'
import { fileURLToPath } from 'node:url'
import { prepareRuntime } from '../test/lambda/install.ts'
import type { Order } from './servers.ts'

/** Where `bench/run.mjs` builds to. */
export const cache = fileURLToPath(new URL('../node_modules/.cache/deltarelay/bench/', import.meta.url))

const { scripts } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as {
  scripts: { start: string }
}

/** What starts our server, as `npm start` does: what is set there for Node.js stands before it. */
export const serverArgs = scripts.start.split(' ').slice(1, -1).concat(`${cache}dist/server.js`)

/** A server in a process of its own. */
export interface Running {
  readonly url: string
  readonly pid: number
  stop(): Promise<void>
}

/** The Node.js that the Lambda runtime runs on: everything else runs on it too, or nothing could be compared. */
export async function findNode(): Promise<string> {
  const paths = await prepareRuntime()
  if ('missing' in paths) throw new Error(paths.missing)
  return paths.node
}

/** Starts a server and resolves when it says where it listens. */
export async function startServer(
  node: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  stderr: 'inherit' | 'ignore' = 'inherit',
): Promise<Running> {
  const child = spawn(node, args, {
    cwd: cache,
    env: { PATH: process.env['PATH'], ...env },
    stdio: ['ignore', 'pipe', stderr],
  })
  const url = await readyUrl(child)
  return {
    url,
    pid: child.pid!,
    async stop() {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
  }
}

function readyUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`${child.spawnargs.join(' ')} ended with ${code}.`)))
    let text = ''
    child.stdout?.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
      const url = /listening on (http:\S+)/.exec(text)?.[1]
      if (url) resolve(url)
    })
  })
}

/** Writes a function of one file, for `taskRoot`. */
export async function writeFunction(name: string, source: string): Promise<string> {
  const directory = `${cache}functions/${name}`
  await mkdir(directory, { recursive: true })
  await writeFile(`${directory}/index.mjs`, source)
  return directory
}

/** A streaming function that does nothing. */
export const emptyFunction = /* js */ `
export const handler = awslambda.streamifyResponse(async (_event, stream) => {
  stream.write('')
  stream.end()
})
`

/** The least that a streaming function can do: asks the upstream with \`fetch\` and hands its bytes on. */
export const fetchFunction = /* js */ `
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const { prompt } = JSON.parse(event.body)
  const response = await fetch(process.env.OPENAI_BASE_URL + '/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer ' + process.env.OPENAI_API_KEY },
    body: JSON.stringify({ model: 'bench', stream: true, messages: [{ role: 'user', content: prompt }] }),
  })
  const headers = { 'content-type': 'text/event-stream' }
  const out = awslambda.HttpResponseStream.from(stream, { statusCode: 200, headers })
  for await (const chunk of response.body) out.write(chunk)
  out.end()
})
`

/** What one answer was like, as its client saw it. */
export interface Arrival {
  /** From writing a token to reading it, in milliseconds, in order. */
  readonly delays: readonly number[]
  /** Reads that held a token, and those of them that held exactly one. */
  readonly reads: number
  readonly single: number
  /** From sending the request to the first token, in milliseconds. */
  readonly firstMs: number
}

const agent = new Agent({ keepAlive: true })
const token = /@(\d+)@/g

/** Asks once and notes when each token arrives. @throws when the answer is not whole. */
export async function receive(url: string, order: Order): Promise<Arrival> {
  const delays: number[] = []
  let reads = 0
  let single = 0
  let firstMs = Number.NaN
  const started = process.hrtime.bigint()
  const headers = { 'content-type': 'application/json' }
  const request = ask(url, { method: 'POST', headers, agent })
  request.end(JSON.stringify({ prompt: JSON.stringify(order) }))
  const [response] = (await once(request, 'response')) as [IncomingMessage] // of this event

  let rest = ''
  response.setEncoding('latin1').on('data', (text: string) => {
    const now = process.hrtime.bigint()
    rest += text
    const whole = rest.slice(0, rest.lastIndexOf('\n\n') + 1)
    rest = rest.slice(whole.length)
    const tokens = [...whole.matchAll(token)]
    if (tokens.length === 0) return
    if (delays.length === 0) firstMs = ms(now - started)
    for (const [, sent] of tokens) delays.push(ms(now - BigInt(sent!)))
    reads++
    if (tokens.length === 1) single++
  })
  await once(response, 'end')
  if (delays.length !== order.events) {
    throw new Error(`${url} answered ${response.statusCode} with ${delays.length} of ${order.events} events.`)
  }
  return { delays, reads, single, firstMs }
}

function ms(nanoseconds: bigint): number {
  return Number(nanoseconds) / 1e6
}
