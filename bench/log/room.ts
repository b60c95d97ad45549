import { createClient } from '@redis/client'
import { createRedisStore, toRedisLink } from '../../adapters/redis.ts'
import type { RedisServer } from '../../test/redis/server.ts'

/** Memory of Redis, in bytes. */
export interface Room {
  readonly perReply: number
  readonly perDelta: number
}

const REPLIES = 200

/** How much of Redis's memory a finished reply of so many deltas takes, each of them a word. */
export async function measureRoom(redis: RedisServer, deltas: number): Promise<Room> {
  const client = createClient({ url: redis.url, RESP: 2 })
  client.on('error', () => {}) // commands fail then
  await client.connect()
  const store = createRedisStore(toRedisLink(client, { subscribes: false }))
  const before = await usedMemory(redis)
  for (let n = 0; n < REPLIES; n++) {
    const id = `room-of-reply-${String(n).padStart(8, '0')}` // as long as ours are
    const start = { type: 'start', id, model: 'gpt-4.1-mini', createdAt: 1_795_361_906_152 } as const
    await store.create(id, { start })
    await store.append(id, [start])
    for (let at = 0; at < deltas - 3; at++) await store.append(id, [{ type: 'text', text: ' word' }])
    await store.append(id, [
      { type: 'usage', inputTokens: 20, outputTokens: deltas },
      { type: 'finish', reason: 'stop' },
    ])
  }
  const perReply = ((await usedMemory(redis)) - before) / REPLIES
  store.close()
  client.destroy()
  return { perReply, perDelta: perReply / deltas }
}

async function usedMemory(redis: RedisServer): Promise<number> {
  const info = String(await redis.command(['INFO', 'memory']))
  return Number(/^used_memory:(\d+)/m.exec(info)?.[1])
}
