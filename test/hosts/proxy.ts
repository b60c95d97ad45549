import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { listen } from '../lambda/sockets.ts'

/** A proxy with a bad connection, in front of a host. */
export interface CuttingProxy {
  readonly url: string
  /** The path of every request that reached it, with its `Last-Event-ID` when it had one. */
  readonly requests: readonly (readonly [path: string, lastEventId?: string])[]
  /** Resolves when it has broken the connection for the n-th time. */
  cut(n: number): Promise<void>
  close(): Promise<void>
}

export interface CuttingProxyOptions {
  readonly target: string
  /** The n-th event stream is passed on up to here, and then cut; later ones are left alone. */
  readonly cutAt: readonly RegExp[]
  /** Awaited before each cut: what breaks at once may take with it what was on its way. */
  readonly beforeCut: () => Promise<unknown>
  /** Pages of its own, by path: HTML. */
  readonly pages?: Readonly<Record<string, string>>
}

/** Starts a proxy that breaks event streams, for the client and for the host alike. */
export async function startCuttingProxy({
  target,
  cutAt,
  beforeCut,
  pages = {},
}: CuttingProxyOptions): Promise<CuttingProxy> {
  const requests: [path: string, lastEventId?: string][] = []
  const cuts = cutAt.map(() => createLatch())
  let streams = 0

  function pass(response: IncomingMessage, client: ServerResponse): void {
    client.writeHead(response.statusCode ?? 502, response.headers).flushHeaders()
    const isStream = response.headers['content-type']?.startsWith('text/event-stream')
    const nth = isStream ? streams++ : cutAt.length
    let passed = ''
    response.on('error', () => client.destroy())
    response.on('end', () => client.end())
    response.on('data', (chunk: Buffer) => {
      passed += chunk.toString('latin1')
      client.write(chunk)
      if (!cutAt[nth]?.test(passed)) return
      response.removeAllListeners('data').removeAllListeners('end').pause()
      void beforeCut().finally(() => {
        response.destroy()
        client.destroy()
        cuts[nth]?.open()
      })
    })
  }

  const server = createServer((request, client) => {
    const path = request.url ?? ''
    const page = pages[path]
    if (page !== undefined) return void client.writeHead(200, { 'content-type': 'text/html' }).end(page)
    if (path === '/favicon.ico') return void client.writeHead(204).end()
    const lastEventId = request.headers['last-event-id']
    requests.push(lastEventId === undefined ? [path] : [path, String(lastEventId)])
    const { method, headers } = request
    const onward = httpRequest(target + path, { method, headers, agent: false }, (response) =>
      pass(response, client),
    )
    onward.on('error', () => client.destroy())
    client.once('close', () => onward.destroy())
    request.pipe(onward)
  })
  const { port, close } = await listen(server)
  return { url: `http://127.0.0.1:${port}`, requests, cut: (n) => cuts[n - 1]!.opened, close }
}

function createLatch(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { opened, open: () => open() }
}
