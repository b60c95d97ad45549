import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, type Socket } from 'node:net'
import { afterEach, expect, vi } from 'vitest'

const open: Server[] = []

afterEach(async () => {
  vi.unstubAllEnvs()
  for (const server of open.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

export interface Origin {
  readonly url: string
  readonly server: Server
  /** Connections so far, open or not. */
  readonly sockets: Socket[]
  readonly requests: IncomingMessage[]
}

type Answer = (response: ServerResponse, request: IncomingMessage) => void

/** A server of one test, with TLS where there is a certificate. */
export async function serve(
  answer: Answer,
  tls?: { readonly key: Buffer; readonly cert: Buffer },
): Promise<Origin> {
  const sockets: Socket[] = []
  const requests: IncomingMessage[] = []
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    requests.push(request)
    answer(response, request)
  }
  const server = tls ? createTlsServer(tls, listener) : createServer(listener)
  server.on('connection', (socket: Socket) => sockets.push(socket))
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `${tls ? 'https' : 'http'}://localhost:${port}/v1`, server, sockets, requests }
}

export const post: RequestInit = { method: 'POST', body: '{"say":"ü"}', headers: { 'x-a': 'b' } }
export const certificate = {
  key: readFileSync(new URL('tls/key.pem', import.meta.url)),
  cert: readFileSync(new URL('tls/cert.pem', import.meta.url)),
}

/** Why a fetch failed. */
export function cause(error: unknown): NodeJS.ErrnoException {
  expect(error).toBeInstanceOf(TypeError)
  return (error as TypeError).cause as NodeJS.ErrnoException // of this fetch
}
