// A server in a process of its own, which tells over IPC what it holds. Bundled and started by soak.test.ts.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createClient } from '@redis/client'
import { toExpress } from '../../adapters/express.ts'
import { createRedisStore, toRedisLink } from '../../adapters/redis.ts'
import { createHandler, createMemoryStore, createOpenAI, type StreamStore } from '../../src/index.ts'

/** What the process holds when nobody asks it anything. */
export interface Holding {
  readonly heapUsed: number
  /** Kinds of open handles and timers, and how many. */
  readonly resources: Readonly<Record<string, number>>
  /** Warnings and unhandled rejections since the start. */
  readonly complaints: readonly string[]
}

const complaints: string[] = []
process.on('warning', ({ name, message }) => void complaints.push(`${name}: ${message}`))
process.on('unhandledRejection', (reason) => void complaints.push(`unhandled: ${String(reason)}`))

const { UPSTREAM = '', ACCEPT_WAIT_MS = '5000', LINGER_MS = '0', REDIS_URL } = process.env
const handler = createHandler({
  model: 'test-model',
  upstream: createOpenAI({ apiKey: 'any', baseURL: UPSTREAM }),
  store: REDIS_URL ? await openRedis(REDIS_URL) : createMemoryStore({ ttlMs: 0 }),
  acceptWaitMs: Number(ACCEPT_WAIT_MS),
  lingerMs: Number(LINGER_MS),
  retries: 0,
})
const relay = toExpress(handler)
const server = createServer((request, response) => void relay(request, response))
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }))

async function openRedis(url: string): Promise<StreamStore> {
  const client = createClient({ url, RESP: 2, disableOfflineQueue: true })
  client.on('error', (error: Error) => void complaints.push(`Redis: ${error.message}`))
  await client.connect()
  return createRedisStore(toRedisLink(client), { retentionMs: 1000 })
}

process.on('message', () => {
  for (let round = 0; round < 4; round++) globalThis.gc?.()
  const resources: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1
  const holding: Holding = { heapUsed: process.memoryUsage().heapUsed, resources, complaints }
  process.send?.(holding)
})
