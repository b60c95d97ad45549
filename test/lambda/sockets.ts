import type { IncomingMessage, Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Listens on a free port of the loopback interface. `close` also ends open connections. */
export async function listen(server: Server): Promise<{ port: number; close: () => Promise<void> }> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo

  async function close(): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
  }
  return { port, close }
}

/** Reads a body to its end and keeps at most `limit` bytes of it and one more, which tells that there were too many. */
export async function readAll(request: IncomingMessage, limit = Infinity): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (size > limit) continue
    chunks.push(chunk)
    size += chunk.length
  }
  const all = Buffer.concat(chunks)
  return limit === Infinity ? all : all.subarray(0, limit + 1)
}
