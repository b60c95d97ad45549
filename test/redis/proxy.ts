import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { listen } from './listen.ts'

/** A value for each way through the proxy. */
export interface BothWays {
  toRedis: number
  toClient: number
}

/** A bad network in front of Redis: every property may be changed while connections are open. */
export interface RedisProxy {
  /** For a client: `redis://127.0.0.1:…`. */
  readonly url: string
  readonly port: number
  /** How late bytes arrive, in milliseconds. In order, whatever it is set to. */
  readonly delayMs: BothWays
  /** Bytes passed on so far. */
  readonly bytes: Readonly<BothWays>
  /** Connections of clients that are open. */
  readonly connections: number
  /** Connections of clients so far. */
  readonly accepted: number
  /** Destroys every connection. */
  cut(): void
  /** While true nobody is let in: the port is closed. Connections that are open stay. */
  refuse(on: boolean): Promise<void>
  /** While true bytes are taken and not passed on, as in a net that is down; they arrive when it is false again. */
  hold(on: boolean): void
  close(): Promise<void>
}

/** Starts a proxy on a free local port. */
export async function startProxy(target: { readonly port: number }): Promise<RedisProxy> {
  const delayMs: BothWays = { toRedis: 0, toClient: 0 }
  const bytes: BothWays = { toRedis: 0, toClient: 0 }
  const sockets = new Set<Socket>()
  let accepted = 0
  let connections = 0
  let held: Promise<void> | undefined
  let release = (): void => {}

  const server = createServer({ noDelay: true }, (client) => {
    const redis = connect({ host: '127.0.0.1', port: target.port, noDelay: true })
    accepted++
    connections++
    client.once('close', () => connections--)
    for (const socket of [client, redis]) {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      socket.on('error', () => {}) // `close` follows
    }
    pass(client, redis, 'toRedis')
    pass(redis, client, 'toClient')
  })

  /** Everything goes through one chain of promises: so it stays in order. */
  function pass(from: Socket, to: Socket, way: keyof BothWays): void {
    let last = Promise.resolve()
    const then = (step: () => void, dueAt: number): void => {
      last = last.then(async () => {
        const waitMs = dueAt - performance.now()
        if (waitMs > 0) await sleep(waitMs)
        while (held) await held
        if (to.writable) step()
        if (to.writableNeedDrain) await Promise.race([once(to, 'drain'), once(to, 'close')]).catch(() => {})
      })
    }
    from.on('data', (chunk: Buffer) => {
      then(() => {
        bytes[way] += chunk.length
        to.write(chunk)
      }, performance.now() + delayMs[way])
    })
    from.on('end', () => then(() => to.end(), performance.now() + delayMs[way]))
    from.on('close', () => then(() => to.destroy(), performance.now() + delayMs[way]))
  }

  function cut(): void {
    for (const socket of sockets) socket.destroy()
  }

  const port = await listen(server)
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    delayMs,
    bytes,
    get connections() {
      return connections
    },
    get accepted() {
      return accepted
    },
    cut,
    async refuse(on) {
      if (on === !server.listening) return
      // Not its callback: that waits for the open connections, and the port is closed at once.
      if (on) server.close()
      else await listen(server, port)
    },
    hold(on) {
      if (on) held ??= new Promise((resolve) => (release = resolve))
      else {
        held = undefined
        release()
      }
    },
    async close() {
      held = undefined
      release()
      cut()
      if (server.listening) await new Promise((resolve) => server.close(resolve))
    },
  }
}
