import type { RedisLink } from '../src/stores/redis/commands.ts'

export type { RedisLink } from '../src/stores/redis/commands.ts'
export { createRedisStore, type RedisStore, type RedisStoreOptions } from '../src/stores/redis/store.ts'

/** What we use of a client of `@redis/client`, or of `redis`, 5 or newer. */
export interface RedisClient {
  sendCommand(args: string[]): Promise<unknown>
  duplicate(): RedisClient
  connect(): Promise<unknown>
  destroy(): void
  on(event: 'error', listener: (error: Error) => void): unknown
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>
  unsubscribe(channel: string, listener: (message: string) => void): Promise<unknown>
}

export interface RedisLinkOptions {
  /** A command that is not answered for so long fails, and the connection is made anew. Default 5000 milliseconds. */
  readonly timeoutMs?: number | undefined
  /** Told of the trouble of connections that are made here. */
  readonly onError?: ((error: Error) => void) | undefined
  /** Whether to hear what is published, on a second connection. Default true; without it the store polls. */
  readonly subscribes?: boolean | undefined
}

interface Call {
  /** The tick of the clock at which it was sent. */
  readonly since: number
  readonly reject: (error: Error) => void
}

/** How often the clock ticks, in milliseconds. */
const TICK_MS = 500

/**
 * Makes a link of a client, which should have `disableOfflineQueue: true`: what cannot be sent now should fail now.
 * The client is connected, and closed, by its owner. `onError` or a listener of its own must be there for its errors.
 */
export function toRedisLink(client: RedisClient, options: RedisLinkOptions = {}): RedisLink {
  const { timeoutMs = 5000, onError = () => {}, subscribes = true } = options
  const pending = new Set<Call>()
  let clock: ReturnType<typeof setInterval> | undefined
  let ticks = 0
  let movedAt = -Infinity
  let subscriber: Promise<RedisClient> | undefined

  // One clock for all commands, which are answered in order: the client's own, one each, costs more than the rest. It
  // counts its ticks: while a process is frozen, or busy, Redis is not late.
  function check(): void {
    const [oldest] = pending
    // Nothing says that a connection is dead but silence.
    if (oldest && ++ticks - oldest.since > timeoutMs / TICK_MS)
      restart(`Redis did not answer within ${timeoutMs} ms.`)
  }

  function settle(call: Call): void {
    pending.delete(call)
    if (pending.size > 0) return
    clearInterval(clock)
    clock = undefined
  }

  // After a failover the old server may still be there, and refuse to write: the address leads to another one now.
  function heed(error: Error): void {
    if (!error.message.startsWith('READONLY') || performance.now() - movedAt < timeoutMs) return
    movedAt = performance.now()
    restart('Redis has become a replica.')
  }

  function restart(why: string): void {
    const error = new Error(why)
    for (const call of pending) {
      call.reject(error)
      settle(call)
    }
    client.destroy()
    client.connect().catch(onError)
  }

  async function connectSubscriber(): Promise<RedisClient> {
    const second = client.duplicate()
    second.on('error', onError)
    await second.connect()
    return second
  }

  async function subscribe(channel: string, listener: (message: string) => void): Promise<() => void> {
    subscriber ??= connectSubscriber()
    subscriber.catch(() => (subscriber = undefined))
    const second = await subscriber
    await second.subscribe(channel, listener).catch((error: Error) => {
      onError(error) // a user without the right to subscribe: the store polls
      throw error
    })
    return () => void second.unsubscribe(channel, listener).catch(onError)
  }

  return {
    command(args) {
      return new Promise((resolve, reject) => {
        const call = { since: ticks, reject }
        pending.add(call)
        clock ??= setInterval(check, TICK_MS)
        client.sendCommand([...args]).then(
          (reply) => {
            settle(call)
            resolve(reply)
          },
          (error: Error) => {
            settle(call)
            reject(error)
            heed(error)
          },
        )
      })
    },
    ...(subscribes ? { subscribe } : {}),
    close() {
      void subscriber?.then(
        (second) => second.destroy(),
        () => {}, // it never was
      )
      subscriber = undefined
    },
  }
}
