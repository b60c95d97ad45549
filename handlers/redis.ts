import { createClient, ErrorReply } from '@redis/client'
import { createRedisStore, type RedisLink, type RedisStore, toRedisLink } from '../adapters/redis.ts'
import type { Options } from './options.ts'

/** How long the first commands wait for the first connection, in milliseconds. */
const CONNECT_MS = 5000
/** The same where it was lost while the process was frozen, and how long an answer may take there. */
const RECONNECT_MS = 1000
const THAWED_ANSWER_MS = 2000

/**
 * What a store in Redis is opened with. `freezes`: whether the platform freezes the process between requests. Then there
 * is no second connection, which would hear nothing, and one that was cut meanwhile costs a request nothing but time.
 */
export interface RedisSettings extends Pick<
  Options,
  'redisDown' | 'redisPrefix' | 'leaseMs' | 'retentionMs' | 'maxStoredBytes' | 'maxMemoryBytes'
> {
  readonly redisUrl: string
  readonly freezes: boolean
}

/**
 * Opens the store in Redis. It is there at once: what is asked of it before it is connected waits for that. Trouble is
 * one line on stderr when it begins, and one when it is over; the address without its credentials.
 */
export function openRedis({
  redisUrl,
  freezes,
  redisDown,
  redisPrefix,
  maxStoredBytes,
  maxMemoryBytes,
  ...clocks
}: RedisSettings): RedisStore {
  const link = laterLink(connect(redisUrl, freezes), freezes)
  return createRedisStore(link, {
    ...clocks,
    maxBytes: maxMemoryBytes,
    down: redisDown,
    prefix: redisPrefix,
    maxBytesPerCaller: maxStoredBytes,
    writesLate: !freezes,
  })
}

async function connect(url: string, freezes: boolean): Promise<RedisLink> {
  const client = createClient({
    url,
    RESP: 2,
    // What cannot be sent now fails now; the store knows what to do then.
    disableOfflineQueue: true,
    // Its own clock is one timer for each command; the link has one for all.
    commandOptions: { timeout: undefined } as object, // its type knows no way to have none
    disableClientInfo: true,
    socket: {
      connectTimeout: CONNECT_MS,
      // Soon enough to say that a producer is alive, before others take it for lost.
      reconnectStrategy: (tries) => Math.min(250, 50 * 2 ** tries),
    },
  })
  const { onError, onReady } = createTroubleLog(hostOf(url))
  client.on('error', onError).on('ready', onReady)
  boundHandshake(client)
  await firstTry(client.connect(), client)
  if (!freezes) return toRedisLink(client, { onError })
  return patient(toRedisLink(client, { onError, subscribes: false, timeoutMs: THAWED_ANSWER_MS }))
}

/** A link whose commands outlast a connection that is made anew. */
function patient(link: RedisLink): RedisLink {
  async function command(args: readonly string[]): Promise<unknown> {
    let until: number | undefined
    for (;;) {
      try {
        return await link.command(args)
      } catch (error) {
        const now = performance.now()
        until ??= now + RECONNECT_MS
        if (isAnswer(error) || now > until) throw error
        await new Promise((resolve) => setTimeout(resolve, 25))
      }
    }
  }
  return { command }
}

/** Whether Redis said so itself, and will say the same again. */
function isAnswer(error: unknown): boolean {
  return error instanceof ErrorReply && !error.message.startsWith('LOADING')
}

interface Connecting {
  on(event: 'connect' | 'ready' | 'error' | 'end', listener: () => void): Connecting
  destroy(): void
  connect(): Promise<unknown>
}

/** Makes a connection anew that was taken and then not answered: the client itself would wait for ever. */
function boundHandshake(client: Connecting): void {
  let timer: ReturnType<typeof setTimeout> | undefined
  function watch(): void {
    clearTimeout(timer)
    timer = setTimeout(again, CONNECT_MS)
  }
  function again(): void {
    client.destroy()
    // Not at once: the attempt that is given up has to notice it first.
    setTimeout(() => void client.connect().catch(() => {}), 50) // its errors are told as events
  }
  const lift = (): void => clearTimeout(timer)
  client.on('connect', watch).on('ready', lift).on('error', lift).on('end', lift)
}

/** Resolves when the first connection is there, or cannot be made: it goes on trying by itself. */
function firstTry(
  connecting: Promise<unknown>,
  client: { once(event: 'error', listener: () => void): unknown },
): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, CONNECT_MS)
    function done(): void {
      clearTimeout(timer)
      resolve()
    }
    void connecting.finally(done).catch(() => {}) // its errors are told as events
    client.once('error', done)
  })
}

/** A link whose commands wait for a link. */
function laterLink(opening: Promise<RedisLink>, freezes: boolean): RedisLink {
  let link: RedisLink | undefined
  void opening.then((opened) => (link = opened))
  return {
    command: async (args) => (link ?? (await opening)).command(args),
    ...(freezes
      ? {}
      : { subscribe: async (channel, listener) => (link ?? (await opening)).subscribe!(channel, listener) }),
  }
}

function createTroubleLog(host: string): { onError(error: Error): void; onReady(): void } {
  let last = ''
  function log(level: string, message: string): void {
    console.error(JSON.stringify({ time: new Date().toISOString(), level, message }))
  }
  return {
    onError(error) {
      const why = reasonOf(error)
      if (why === last) return
      last = why
      log('error', `Redis at ${host} cannot be used: ${why}. Trying again.`)
    },
    onReady() {
      if (last) log('info', `Redis at ${host} is back.`)
      last = ''
    },
  }
}

/** A code of the system's, or the first word of the server's refusal (`WRONGPASS`): nothing that repeats a secret. */
export function reasonOf(error: Error): string {
  const { code } = error as { code?: unknown } // of the system's errors
  if (typeof code === 'string' && code) return code
  const [, word] = /^([A-Z][A-Z_]+)\b/.exec(error.message) ?? []
  return word ?? error.constructor.name
}

function hostOf(url: string): string {
  return new URL(url).host
}
