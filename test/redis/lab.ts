import {
  createRedisStore,
  type RedisLink,
  type RedisStore,
  type RedisStoreOptions,
} from '../../adapters/redis.ts'
import type { ChatDelta, StreamStore } from '../../src/types.ts'
import { nodeRedis, type OpenLink } from './links.ts'

export const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 1 }
export const finish: ChatDelta = { type: 'finish', reason: 'stop' }
export const cancelled: ChatDelta = { type: 'finish', reason: 'cancelled' }

export function text(value: string | number): ChatDelta {
  return { type: 'text', text: String(value) }
}

/** So many deltas, all different. */
export function texts(count: number, from = 0): ChatDelta[] {
  return Array.from({ length: count }, (_, index) => text(from + index))
}

/** One server's store, with a way to meddle with its commands. */
export interface Instance {
  readonly store: RedisStore
  readonly link: RedisLink
  close(): Promise<void>
}

/** What becomes of a command: done; done twice; not done, and failed; done, but its answer is lost. */
export type Fate = 'once' | 'twice' | 'never' | 'unanswered'

/** Opens a store as a server does. `fateOf` is asked about every command. */
export async function openInstance(
  url: string,
  {
    fateOf = () => 'once',
    open = nodeRedis(url),
    ...options
  }: RedisStoreOptions & {
    readonly fateOf?: ((args: readonly string[]) => Fate) | undefined
    readonly open?: Promise<OpenLink> | undefined
  } = {},
): Promise<Instance> {
  const { link, close } = await open
  const meddled: RedisLink = {
    ...link,
    async command(args) {
      const fate = fateOf(args)
      if (fate === 'never') throw new Error('The command was not sent.')
      if (fate === 'twice') await link.command(args)
      const reply = await link.command(args)
      if (fate === 'unanswered') throw new Error('The answer was lost.')
      return reply
    },
  }
  const store = createRedisStore(meddled, options)
  return {
    store,
    link,
    async close() {
      store.close()
      await close()
    },
  }
}

/** Somebody who reads a reply; `ended` tells how that went, and never rejects. */
export interface Reader {
  readonly seen: ChatDelta[]
  /** `end`, or the code of the failure. */
  readonly ended: Promise<string>
  leave(): void
}

/** Begins to read. */
export function reading(store: StreamStore, id: string, after = 0): Reader {
  const leaving = new AbortController()
  const seen: ChatDelta[] = []
  async function read(): Promise<string> {
    try {
      for await (const batch of store.read(id, { after, signal: leaving.signal })) seen.push(...batch)
      return 'end'
    } catch (error) {
      return error instanceof Error && 'code' in error ? String(error.code) : String(error)
    }
  }
  return { seen, ended: read(), leave: () => leaving.abort() }
}

/** The code of a call's failure; what it gave when it did not fail. */
export async function codeOf(call: () => unknown): Promise<unknown> {
  try {
    return await call()
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error
  }
}

/** The keys of a reply. */
export function keysOf(id: string): [log: string, meta: string] {
  return [`deltarelay:{${id}}:log`, `deltarelay:{${id}}:meta`]
}

/** Whether a command brings deltas into a log: `EVALSHA` script 2 keys number ttl channel end deltas. */
export function isAppend(args: readonly string[]): boolean {
  return args[0] === 'EVALSHA' && args.length > 9 && /^[012]$/.test(args[8]!)
}
