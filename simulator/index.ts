import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createPlanner } from './chat.ts'
import type { Planner } from './chat.ts'
import { RequestError } from './errors.ts'
import type { ApiName } from './faults/fault.ts'
import { openRequest } from './log.ts'
import type { OpenRequest, SimulatorRequest } from './log.ts'
import { createPace } from './pace.ts'
import { play } from './play.ts'

export type { SimulatorRequest } from './log.ts'

/** How the simulator listens, answers and paces. */
export interface SimulatorOptions {
  /** Default `127.0.0.1`. */
  readonly host?: string | undefined
  /** Default 0: any free port. */
  readonly port?: number | undefined
  /** The same seed and the same request give the same answer. Default 1. */
  readonly seed?: number | undefined
  /** Time to the first token. Default 300. */
  readonly firstTokenMs?: number | undefined
  /** Default 40; `Infinity` sends everything after the first token at once. */
  readonly tokensPerSecond?: number | undefined
  /** The name every answer carries, whatever model was asked for. Default `simulator`. */
  readonly model?: string | undefined
  /** A fault for every request that names none, such as `rate-limit;times=1`. */
  readonly fault?: string | undefined
  /** The clock. Without it `created` is a fixed day, so that answers repeat to the byte. */
  readonly now?: (() => number) | undefined
}

/** A running simulator. */
export interface Simulator {
  /** The base address for a client, `http://127.0.0.1:PORT/v1`. */
  readonly url: string
  /** What was asked, oldest first; the last 1000. */
  readonly requests: readonly SimulatorRequest[]
  /** How many chat requests are being answered now. */
  openStreams(): number
  /** Ends every connection and stops listening. */
  close(): Promise<void>
}

const apis: Readonly<Record<string, ApiName>> = { '/chat/completions': 'chat', '/responses': 'responses' }
const maxBodyBytes = 32 * 1024 * 1024
const fixedDay = Date.UTC(2026, 0, 1)

/**
 * Starts an OpenAI-compatible server that answers with scripts instead of a model: for first runs without a key,
 * for tests and for benchmarks. Any key and any model name will do.
 *
 * @example
 * const simulator = await startSimulator({ tokensPerSecond: Infinity, firstTokenMs: 0 })
 * const client = new OpenAI({ baseURL: simulator.url, apiKey: 'any' })
 */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const { host = '127.0.0.1', port = 0, seed = 1, model = 'simulator', fault, now } = options
  const { firstTokenMs = 300, tokensPerSecond = 40 } = options
  const created = (): number => Math.floor((now?.() ?? fixedDay) / 1000)
  const requests: OpenRequest[] = []
  const doomed = new WeakSet<Socket>()
  let streams = 0

  const server = createServer((request, response) => {
    const record = openRequest(request, response, now ?? Date.now)
    requests.push(record)
    if (requests.length > 1000) requests.shift()
    respond(request, response, record).catch((error: unknown) => sendError(response, error))
  })
  const origin = await listen(server, host, port)
  const planner: Planner = createPlanner({ seed, model, fault, origin, created })

  async function respond(
    request: IncomingMessage,
    response: ServerResponse,
    record: OpenRequest,
  ): Promise<void> {
    if (doomed.has(request.socket)) {
      record.ended = true
      record.fault = 'close-after-idle'
      request.socket.resetAndDestroy()
      return
    }
    const path = new URL(record.path, 'http://simulator').pathname.replace(/^\/v1(?=\/)/, '')
    if (path === '/') return sendJson(response, 200, { name: model, simulated: true })
    record.body = await readBody(request)
    if (!request.headers.authorization) {
      const text = "You didn't provide an API key. Send any key in an Authorization header: Bearer YOUR_KEY."
      throw new RequestError(401, text)
    }
    const api = Object.hasOwn(apis, path) ? apis[path] : undefined
    if (api) {
      if (request.method !== 'POST') throw wrongMethod(record)
      return answer(response, record, api)
    }
    const asked = /^\/models(?:\/(.+))?$/.exec(path)
    if (!asked) throw new RequestError(404, `Invalid URL (${record.method} ${record.path})`)
    if (request.method !== 'GET') throw wrongMethod(record)
    const describe = (id: string): object => ({
      id,
      object: 'model',
      created: created(),
      owned_by: 'simulator',
    })
    if (asked[1]) return sendJson(response, 200, describe(decodeURIComponent(asked[1])))
    return sendJson(response, 200, { object: 'list', data: [describe(model)] })
  }

  async function answer(response: ServerResponse, record: OpenRequest, api: ApiName): Promise<void> {
    // Gone while its body was read: no close event would come any more.
    if (response.destroyed) return
    if (typeof record.body === 'string')
      throw new RequestError(400, 'The body of the request is not valid JSON.')
    const { steps, fault: happening } = planner.plan(record.body, headerOf(record), api)
    record.fault = happening
    if (happening === 'close-after-idle' && response.socket) doomed.add(response.socket)
    const pace = createPace({ firstTokenMs, tokensPerSecond, seed })
    streams++
    response.once('close', () => {
      streams--
      pace.stop()
    })
    await play(steps, {
      response,
      pace,
      onToken: () => record.tokens++,
      onCut: () => (record.ended = true),
    })
  }

  let closing: Promise<void> | undefined
  return {
    url: `${origin}/v1`,
    requests,
    openStreams: () => streams,
    close: () => (closing ??= closeServer(server, requests)),
  }
}

function headerOf({ headers }: OpenRequest): string | undefined {
  const value = headers['x-simulator-fault']
  return Array.isArray(value) ? value[0] : value
}

function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      const { port: actual } = server.address() as AddressInfo
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actual}`)
    })
  })
}

async function closeServer(server: Server, requests: readonly OpenRequest[]): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
  await Promise.all(requests.map(({ done }) => done))
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of request as AsyncIterable<Buffer>) {
    size += piece.length
    if (size > maxBodyBytes) throw new RequestError(413, 'The body of the request is too large.')
    pieces.push(piece)
  }
  const text = Buffer.concat(pieces).toString()
  if (text === '') return undefined
  try {
    return JSON.parse(text) as unknown
  } catch {
    // The route decides whether that matters.
    return text
  }
}

function wrongMethod({ method, path }: OpenRequest): RequestError {
  return new RequestError(405, `Not allowed to ${method} on ${path}.`)
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify(body))
}

function sendError(response: ServerResponse, error: unknown): void {
  // A client that leaves while it sends is no failure of ours, and there is nobody left to tell.
  if (response.destroyed || response.headersSent) return void response.destroy()
  if (error instanceof RequestError) return sendJson(response, error.status, error.body)
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  sendJson(response, 500, { error: { message, type: 'simulator_bug', param: null, code: null } })
}
