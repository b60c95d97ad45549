import { createServer, request as httpRequest } from 'node:http'
import { listen } from '../lambda/sockets.ts'

/** A proxy that breaks every event stream when it has lived for a while, for the client and for the server alike. */
export interface FlakyProxy {
  readonly url: string
  /** The method and path of every request, with its `Last-Event-ID` when it had one. */
  readonly requests: readonly string[]
  /** How many streams it has broken. */
  readonly cuts: number
  close(): Promise<void>
}

export interface FlakyOptions {
  readonly target: string
  /** How long a stream lives. */
  readonly lifeMs: number
  /** Pages of its own, by path: HTML. */
  readonly pages?: Readonly<Record<string, string>>
}

export async function startFlakyProxy({ target, lifeMs, pages = {} }: FlakyOptions): Promise<FlakyProxy> {
  const requests: string[] = []
  let cuts = 0
  const server = createServer((request, client) => {
    const { method = '', url: path = '', headers } = request
    const page = pages[path]
    if (page !== undefined) return void client.writeHead(200, { 'content-type': 'text/html' }).end(page)
    if (path === '/favicon.ico') return void client.writeHead(204).end()
    const lastEventId = headers['last-event-id']
    requests.push(`${method} ${path}${lastEventId === undefined ? '' : ` after ${String(lastEventId)}`}`)
    const onward = httpRequest(target + path, { method, headers, agent: false }, (response) => {
      client.writeHead(response.statusCode ?? 502, response.headers).flushHeaders()
      response.on('error', () => client.destroy())
      response.pipe(client)
      if (!response.headers['content-type']?.startsWith('text/event-stream')) return
      const timer = setTimeout(() => {
        cuts++
        response.destroy()
        client.destroy()
      }, lifeMs)
      client.once('close', () => clearTimeout(timer))
    })
    onward.on('error', () => client.destroy())
    client.once('close', () => onward.destroy())
    request.pipe(onward)
  })
  const { port, close } = await listen(server)
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    get cuts() {
      return cuts
    },
    close,
  }
}
