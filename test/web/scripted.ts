import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { build } from 'esbuild'

const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

const root = new URL('../../', import.meta.url)

/** A request for a reply that is there, which waits for the test to answer it. `after`: the reader's cursor. */
export interface Resumed extends Omit<Asked, 'body' | 'key' | 'secret'> {
  readonly after: number
  readonly path: string
}

/** A chat request that waits for the test to answer it. */
export interface Asked {
  readonly body: {
    readonly messages: readonly { readonly role: string; readonly content: string }[]
    readonly model?: string
  }
  readonly key: string
  /** What the client is known by. */
  readonly secret: string
  /** Sends the headers of an event stream. */
  open(): void
  /** Sends deltas as events. */
  send(...deltas: readonly object[]): void
  /** Sends bytes as they are. */
  raw(bytes: string | Uint8Array): void
  /** Ends the response properly, whatever has been said. */
  end(): void
  /** Breaks the connection. */
  cut(): void
  /** Answers with a status instead of a stream. */
  refuse(status: number, body: string, type?: string): void
  /** Resolves when the reader has closed the connection. */
  readonly closed: Promise<unknown>
}

/** The page's own server: what it serves is built as it will be deployed, what it answers is up to the test. */
export interface ScriptedServer {
  readonly url: string
  /** Content security policy of the page; empty to try the page without its safety net. */
  policy: string
  config: object
  /** The next chat request. */
  asked(): Promise<Asked>
  /** The next request to go on with a reply. */
  resumed(): Promise<Resumed>
  /** The path of the next request to stop a reply. */
  stopped(): Promise<string>
  /** Every request but those for the page's files. */
  readonly requests: readonly string[]
  /** Every other path that was asked for. */
  readonly strays: readonly string[]
  close(): Promise<void>
}

/** Builds the page and serves it under a mount prefix. */
export async function createScriptedServer(): Promise<ScriptedServer> {
  const files = await buildPage()
  const asked = createQueue<Asked>()
  const resumed = createQueue<Resumed>()
  const stopped = createQueue<string>()
  const requests: string[] = []
  const strays: string[] = []
  let replies = 0
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace(/^\/mounted\/here\//, '')
    const file = files.get(path)
    if (!file) requests.push(`${request.method} ${path}`)
    if (request.method === 'GET' && file) {
      const config = JSON.stringify(self.config).replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`)
      response.setHeader('content-security-policy', self.policy)
      response.setHeader('content-type', file.type)
      response.end(
        file.text.replace('name="deltarelay" content="{}"', () => `name="deltarelay" content="${config}"`),
      )
    } else if (request.method === 'POST' && path === 'chat') {
      const key = String(request.headers['idempotency-key'])
      const secret = String(request.headers['x-client-secret'])
      void readText(request).then((text) => {
        const body = JSON.parse(text) as Asked['body']
        asked.put({ body, key, secret, ...createAnswering(response, `reply/${++replies}`) })
      })
    } else if (request.method === 'GET' && /^chat\/[^/]+$/.test(path)) {
      const after = Number(request.headers['last-event-id'] ?? 0)
      const id = decodeURIComponent(path.slice('chat/'.length))
      resumed.put({ path, after, ...createAnswering(response, id, after) })
    } else if (request.method === 'POST' && /^chat\/[^/]+\/stop$/.test(path)) {
      response.writeHead(202, { 'content-type': 'application/json' }).end('{}')
      stopped.put(path)
    } else {
      strays.push(path)
      response.writeHead(404).end()
    }
  })
  const self: ScriptedServer = {
    url: `${await listen(server)}/mounted/here/`,
    policy: CSP,
    config: {},
    asked: asked.take,
    resumed: resumed.take,
    stopped: stopped.take,
    requests,
    strays,
    close: () => close(server),
  }
  return self
}

/** Counts who calls: a server that nothing on the page has any business to reach. */
export async function createListener(): Promise<{ url: string; hits: string[]; close(): Promise<void> }> {
  const hits: string[] = []
  const server = createServer((request, response) => {
    hits.push(request.url ?? '')
    response.setHeader('access-control-allow-origin', '*')
    response.end()
  })
  return { url: await listen(server), hits, close: () => close(server) }
}

async function buildPage(): Promise<Map<string, { type: string; text: string }>> {
  const { outputFiles } = await build({
    entryPoints: [new URL('web/page.ts', root).pathname],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  })
  const read = (name: string): Promise<string> => readFile(new URL(`web/${name}`, root), 'utf8')
  return new Map([
    ['', { type: 'text/html; charset=utf-8', text: await read('index.html') }],
    ['page.css', { type: 'text/css; charset=utf-8', text: await read('page.css') }],
    ['page.js', { type: 'text/javascript; charset=utf-8', text: outputFiles[0]?.text ?? '' }],
  ])
}

function createAnswering(
  response: ServerResponse,
  id: string,
  after = 0,
): Omit<Asked, 'body' | 'key' | 'secret'> {
  let seq = after
  const open = (): void => {
    if (response.headersSent) return
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'x-reply-id': id })
    response.flushHeaders()
  }
  const raw = (bytes: string | Uint8Array): void => {
    open()
    response.write(bytes)
  }
  return {
    open,
    raw,
    send: (...deltas) =>
      raw(deltas.map((delta) => `id: ${++seq}\ndata: ${JSON.stringify(delta)}\n\n`).join('')),
    end: () => response.end(),
    cut: () => response.destroy(),
    refuse: (status, text, type = 'application/json') =>
      response.writeHead(status, { 'content-type': type }).end(text),
    closed: once(response, 'close'),
  }
}

/** Hands values over in order, to whoever waits or will. */
function createQueue<T>(): { put(value: T): void; take(): Promise<T> } {
  const values: T[] = []
  const takers: ((value: T) => void)[] = []
  return {
    put(value) {
      const taker = takers.shift()
      if (taker) taker(value)
      else values.push(value)
    },
    take: () =>
      new Promise((resolve) => {
        const value = values.shift()
        if (value === undefined) takers.push(resolve)
        else resolve(value)
      }),
  }
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer) // no encoding is set, so chunks are buffers
  return Buffer.concat(chunks).toString('utf8')
}

async function listen(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}` // a TCP server's address is never a string
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections()
  server.close()
  await once(server, 'close')
}
