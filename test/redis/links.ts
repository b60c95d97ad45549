import { createClient } from '@redis/client'
import { Redis } from 'ioredis'
import { type RedisClient, type RedisLink, toRedisLink } from '../../adapters/redis.ts'

/** A link, and what closes its connections. */
export interface OpenLink {
  readonly link: RedisLink
  close(): Promise<void>
}

/** A link of `@redis/client`, as the server makes one; without `subscribes` it never hears what is published. */
export async function nodeRedis(url: string, { subscribes = true } = {}): Promise<OpenLink> {
  const clients: { destroy(): void; readonly isOpen: boolean }[] = []
  const client = createClient({ url, RESP: 2, disableOfflineQueue: true })
  client.on('error', () => {}) // commands fail, which is what tests look at
  await client.connect()
  clients.push(client)
  const duplicate = (): RedisClient => {
    const second = client.duplicate()
    clients.push(second)
    return second
  }
  const seen = new Proxy(client, {
    get(target, name) {
      if (name === 'duplicate') return duplicate
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  return {
    link: toRedisLink(seen, { subscribes }),
    async close() {
      for (const each of clients) if (each.isOpen) each.destroy()
    },
  }
}

/** Any client that can send a command will do: here `ioredis`, and nothing but its `call`. */
export async function ioRedis(url: string): Promise<OpenLink> {
  const client = new Redis(url, { lazyConnect: true, enableOfflineQueue: false, maxRetriesPerRequest: 0 })
  client.on('error', () => {}) // as above
  await client.connect()
  return {
    link: { command: ([name = '', ...args]) => client.call(name, ...args) },
    async close() {
      client.disconnect()
    },
  }
}
