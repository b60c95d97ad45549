import type { AddressInfo, Server } from 'node:net'

/** Listens on this port of the loopback interface, or on a free one, and gives it. */
export async function listen(server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      resolve()
    })
  })
  return (server.address() as AddressInfo).port // it listens on TCP
}
