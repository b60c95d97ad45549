import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import express from 'express'
import { type ExpressOptions, toExpress } from '../../adapters/express.ts'
import { createHandler, type HandlerOptions } from '../../src/index.ts'

/** A server on a free port of the loopback interface. */
export interface Host {
  readonly port: number
  readonly url: string
  readonly server: Server
  /** Connections that are open now, as the server sees them. */
  readonly sockets: ReadonlySet<Socket>
  close(): Promise<void>
}

/** Listens with anything `http.createServer` takes, an Express app too. */
export async function host(listener: RequestListener): Promise<Host> {
  const server = createServer(listener)
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    server,
    sockets,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}

type RelayOptions = Partial<HandlerOptions> & Pick<HandlerOptions, 'upstream'> & ExpressOptions

/** Ids and times that repeat. */
export const fixed = { model: 'test-model', createId: () => 'reply-1', now: () => 1_700_000_000_000 }

/** The adapter with a handler of its own. */
export function relay({ bodyTimeoutMs, stallTimeoutMs, ...options }: RelayOptions) {
  return toExpress(createHandler({ model: 'test-model', ...options }), { bodyTimeoutMs, stallTimeoutMs })
}

type Listen = (options: RelayOptions) => Promise<Host>

/** The two places the adapter is made for: the same is expected of both. */
export const hosts: readonly (readonly [name: string, listen: Listen])[] = [
  ['Express', (options) => host(express().use(relay(options)))],
  [
    'node:http',
    (options) => {
      const answer = relay(options)
      return host((request, response) => void answer(request, response))
    },
  ],
]
