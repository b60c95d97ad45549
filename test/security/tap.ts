import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

/** A request that came by, and the status of its response once that is known. */
export interface Passed {
  readonly line: string
  readonly head: string
  status: number | undefined
}

export interface Tap {
  readonly port: number
  readonly passed: readonly Passed[]
  close(): Promise<void>
}

/** Passes connections on to a server of this machine, unchanged, and notes their requests. */
export async function startTap(target: number): Promise<Tap> {
  const passed: Passed[] = []
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    const open: Passed[] = []
    client.on('data', (bytes) => {
      const text = bytes.toString('latin1')
      for (const [head, line = ''] of text.matchAll(/^((?:[A-Z]+) \S+) HTTP\/1\.1\r\n(?:.+\r\n)*/gm)) {
        const request = { line, head, status: undefined }
        open.push(request)
        passed.push(request)
      }
      upstream.write(bytes)
    })
    upstream.on('data', (bytes) => {
      for (const [, status] of bytes.toString('latin1').matchAll(/^HTTP\/1\.1 (\d{3}) /gm)) {
        const request = open.shift()
        if (request) request.status = Number(status)
      }
      client.write(bytes)
    })
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => {}) // the other side is closed below
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port, // it listens on TCP
    passed,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
