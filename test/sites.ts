import { afterAll, afterEach, beforeAll, describe } from 'vitest'
import { createHandler, type HandlerOptions } from '../src/handler.ts'
import { createMemoryStore } from '../src/stores/memory.ts'
import type { Handler, HttpReply, StreamStore } from '../src/types.ts'
import { describeRedis } from './redis/gate.ts'
import { type Instance, openInstance } from './redis/lab.ts'
import { type RedisServer, startRedis } from './redis/server.ts'
import { type Asking, http, type Script, textOf } from './src/kit.ts'

/** What a reply was, as bytes. */
export interface Seen {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Several servers that share their replies. */
export interface Site {
  readonly handlers: readonly Handler[]
  readonly stores: readonly StreamStore[]
  /** Asks one of them, as somebody or as nobody in particular. */
  ask(at: number, url: string, options?: Asking & { readonly principal?: string }): Promise<HttpReply>
  /** The same, read to its end. */
  see(at: number, url: string, options?: Asking & { readonly principal?: string }): Promise<Seen>
}

export type OpenSite = (
  scripted: Script,
  options?: Partial<HandlerOptions> & { readonly count?: number; readonly leaseMs?: number },
) => Promise<Site>

/** Describes what holds for servers over one store in memory, and for servers over one Redis. */
export function describeSites(name: string, body: (open: OpenSite) => void): void {
  describe(`${name}, in one process`, () => {
    body(async (scripted, { count = 2, ...options } = {}) => {
      const store = createMemoryStore()
      return siteOf(scripted, Array(count).fill(store), options)
    })
  })

  describeRedis(`${name}, on several instances`, () => {
    let redis: RedisServer
    const opened: Instance[] = []
    beforeAll(async () => {
      redis = await startRedis()
    })
    afterEach(async () => void (await Promise.all(opened.splice(0).map(({ close }) => close()))))
    afterAll(() => redis.stop())

    body(async (scripted, { count = 2, leaseMs = 3000, ...options } = {}) => {
      const prefix = `site${++number}`
      const instances = await Promise.all(
        Array.from({ length: count }, () => openInstance(redis.url, { leaseMs, prefix })),
      )
      opened.push(...instances)
      return siteOf(
        scripted,
        instances.map(({ store }) => store),
        options,
      )
    })
  })
}

let number = 0

function siteOf(scripted: Script, stores: StreamStore[], options: Partial<HandlerOptions>): Site {
  const { upstream } = scripted
  const handlers = stores.map((store) =>
    createHandler({ upstream, model: 'm', retries: 0, now: () => 5, ...options, store }),
  )
  const ask: Site['ask'] = (at, url, { principal, ...asking } = {}) =>
    handlers[at]!({ ...http(url, asking), principal })
  return {
    handlers,
    stores,
    ask,
    async see(at, url, asking) {
      const reply = await ask(at, url, asking)
      return { status: reply.status, headers: reply.headers, body: await textOf(reply) }
    },
  }
}

/** The id of a reply, as it is told. */
export function idOf({ headers }: Pick<HttpReply, 'headers'>): string {
  return headers['x-reply-id'] ?? ''
}

/** The code of a refusal. */
export function codeIn({ body }: Seen): unknown {
  const { error } = JSON.parse(body) as { readonly error?: { readonly code?: unknown } }
  return error?.code
}
