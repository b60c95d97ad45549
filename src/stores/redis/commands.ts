import { partLost } from '../../ends.ts'
import { digest } from '../../names.ts'
import type { Ask, Binding, ChatDelta, CreateOptions, ReplyState } from '../../types.ts'
import * as scripts from './scripts.ts'

/** What the store needs of a Redis client: any of them has it, under one name or another. */
export interface RedisLink {
  /**
   * Sends one command and resolves with its reply; rejects with the server's error, or when it cannot be reached. It
   * must not take for ever, and may send a command again: all of ours can be repeated.
   */
  command(args: readonly string[]): Promise<unknown>
  /**
   * Hears what is published on a channel; resolves with what ends that. On a connection of its own. Absent: the store
   * asks again and again instead, about twice a second.
   */
  subscribe?(channel: string, listener: (message: string) => void): Promise<() => void>
  /** Closes the connections that the link itself has opened. */
  close?(): void
}

export interface CommandsOptions {
  readonly link: RedisLink
  readonly prefix: string
  readonly instance: string
  readonly leaseMs: number
  readonly retentionMs: number
}

/** Whether the last delta of an append is terminal, and whether the log is small: `MAX_SMALL_LENGTH`, `MAX_SMALL_BYTES`. */
export type LogEnd = 'none' | 'end' | 'small-end'

/** What a producer hears: how long the log is, what is asked of it, when it was last read elsewhere; or how it ended. */
export type Answer =
  | { readonly status: 'ok'; readonly length: number; readonly ask: Ask | ''; readonly readAgoMs: number }
  | { readonly status: 'gap'; readonly length: number }
  | { readonly status: 'sealed'; readonly length: number; readonly terminal: string }
  | { readonly status: 'gone' }

/** A finished reply on the account of its caller. */
export interface StoredReply {
  readonly id: string
  readonly bytes: number
  readonly names: readonly string[]
}

/** A finished reply that its caller's quota has no room for. */
export interface RemovedReply {
  readonly id: string
  /** The digests of its names. */
  readonly digests: readonly string[]
}

/** The store's verbs as commands of Redis. Each rejects when Redis cannot do it now; each can be sent again. */
export interface Commands {
  /** How long a log and its names live after they were last renewed, in milliseconds. */
  readonly lifeMs: number
  readonly channelOf: (id: string) => string
  /** Where what is asked of the producers of this instance is published: `stop <id>`. */
  readonly ownChannel: string
  /** False when there is a reply under this id already. */
  create(id: string, options: CreateOptions): Promise<boolean>
  discard(id: string): Promise<void>
  /** Adds deltas, the first of which has the number `from`; the last one ends the log, or does not. */
  append(id: string, from: number, deltas: readonly string[], end: LogEnd): Promise<Answer>
  renew(id: string): Promise<Answer>
  /** The state of a reply; one whose producer is lost is ended by looking at it. */
  look(id: string, reading: boolean): Promise<ReplyState | undefined>
  /** True when it is sealed, false when its producer has been asked; undefined when there is no such reply. */
  ask(id: string, ask: Ask, end?: ChatDelta): Promise<boolean | undefined>
  /** At most `count` deltas after a number. @throws `gone` when one of them is missing. */
  range(id: string, after: number, count: number): Promise<readonly ChatDelta[]>
  claim(name: string, binding: Binding, replace: boolean): Promise<Binding | undefined>
  find(name: string): Promise<Binding | undefined>
  release(name: string, id: string): Promise<void>
  /** Sets how long a name lives from now, where it is this reply's. */
  extend(name: string, id: string, ms: number): Promise<void>
  /**
   * Puts a finished reply on its caller's account. Gives the older ones for which there is no room in `quota` bytes:
   * `more` when there are others, for the next call.
   */
  account(
    caller: string,
    reply: StoredReply,
    quota: number,
  ): Promise<{ readonly removed: readonly RemovedReply[]; readonly more: boolean }>
  /** Deletes a finished reply and the names that are still its own. */
  remove(reply: RemovedReply): Promise<void>
  /** `maxmemory` of the server, in bytes; 0 = no limit. */
  maxMemory(): Promise<number>
  /** Rejects when Redis cannot be read. */
  probe(): Promise<void>
}

/** What a reply ends with when its producer was not heard of for a lease. */
const producerLost: ChatDelta = {
  type: 'error',
  code: 'producer-lost',
  message: 'The server that was writing this answer is gone. Ask again.',
  retryable: true,
}

/** A log of at most so many deltas and bytes is rewritten when it ends, to take less memory. */
export const MAX_SMALL_LENGTH = 128
export const MAX_SMALL_BYTES = 16 * 1024

/** At most so many replies are taken off an account in one call: Redis serves nothing else meanwhile. */
const MAX_REMOVED = 64

/** Time enough for a producer to say that it is alive, when Redis is back: it tries several times a second. */
const MAX_LATE_MS = 700

/** Puts the store's verbs into words of Redis. */
export function createCommands({ link, prefix, instance, leaseMs, retentionMs }: CommandsOptions): Commands {
  // Both together are a lease: it runs out, and then somebody has to see that its producer stays away.
  const lateMs = Math.min(leaseMs / 2, MAX_LATE_MS)
  const untilLateMs = String(Math.ceil(leaseMs - lateMs))
  const shas = new Map<string, Promise<string>>()
  const lifeMs = retentionMs + leaseMs
  const ttl = String(lifeMs)
  const channelOf = (id: string): string => `${prefix}:{${id}}`
  const toChannel = `${prefix}:to:`

  async function run(script: string, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    let sha = shas.get(script)
    if (!sha) {
      sha = link.command(['SCRIPT', 'LOAD', script]).then(String)
      shas.set(script, sha)
      sha.catch(() => shas.delete(script))
    }
    const rest = [String(keys.length), ...keys, ...args]
    try {
      return await link.command(['EVALSHA', await sha, ...rest])
    } catch (error) {
      // A server that has started anew, or another one in its place, does not know it yet.
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return link.command(['EVAL', script, ...rest])
    }
  }

  const keysOf = (id: string): readonly string[] => [`${channelOf(id)}:log`, `${channelOf(id)}:meta`]
  const keyOfDigest = (digested: string): string => `${prefix}:name:${digested}`
  const keyOfName = async (name: string): Promise<string> => keyOfDigest(await shortDigest(name))

  return {
    lifeMs,
    channelOf,
    ownChannel: toChannel + instance,

    async create(id, { owner = '', start }) {
      const args = [instance, owner, start ? JSON.stringify(start) : '', untilLateMs, ttl]
      return Number(await run(scripts.create, keysOf(id), args)) === 1
    },

    async discard(id) {
      await link.command(['DEL', ...keysOf(id)])
    },

    async append(id, from, deltas, end) {
      const args = [String(from), ttl, channelOf(id), endFlags[end], ...deltas]
      return toAnswer(await run(scripts.append, keysOf(id), args))
    },

    async renew(id) {
      return toAnswer(await run(scripts.renew, keysOf(id), [untilLateMs, ttl]))
    },

    async look(id, reading) {
      const late = String(Math.floor(lateMs))
      const args = [reading ? '1' : '0', JSON.stringify(producerLost), ttl, channelOf(id), late]
      const reply = await run(scripts.look, keysOf(id), args).catch((error: unknown) => {
        if (!takesNoWrites(error)) throw error
        return run(scripts.lookOnly, keysOf(id), [])
      })
      const [status, length, sealed, owner, last] = toList(reply)
      if (status !== 'ok') return undefined
      return {
        length: Number(length),
        sealed: Number(sealed) > 0,
        owner: String(owner),
        terminal: last === '' ? undefined : parse(String(last)),
        // The hash outlived its log, or a part of it.
        lost: Number(sealed) > Number(length),
      }
    },

    async ask(id, ask, end) {
      const args = [ask, toChannel, id, ...(end ? [JSON.stringify(end), ttl, channelOf(id)] : [])]
      const [status] = toList(await run(scripts.ask, keysOf(id), args))
      return status === 'gone' ? undefined : status === 'sealed'
    },

    async range(id, after, count) {
      const reply = await link.command([
        'XRANGE',
        keysOf(id)[0]!,
        `${after + 1}-0`,
        '+',
        'COUNT',
        String(count),
      ])
      return toList(reply).map((entry, index) => {
        const [entryId, fields] = toList(entry)
        if (entryId !== `${after + 1 + index}-0`) throw partLost()
        return parse(String(toList(fields)[1]))
      })
    },

    async claim(name, binding, replace) {
      const key = await keyOfName(name)
      const args = ['SET', key, fromBinding(binding), ...(replace ? [] : ['NX']), 'GET', 'PX', ttl]
      const before = toBinding(await link.command(args))
      // The same claim, which a link has sent again because its answer was lost.
      return before?.id === binding.id ? undefined : before
    },

    async find(name) {
      return toBinding(await link.command(['GET', await keyOfName(name)]))
    },

    async release(name, id) {
      await run(scripts.release, [await keyOfName(name)], [id])
    },

    async extend(name, id, ms) {
      await run(scripts.extend, [await keyOfName(name)], [id, String(Math.ceil(ms))])
    },

    async account(caller, { id, bytes, names }, quota) {
      const key = `${prefix}:of:${await shortDigest(caller)}`
      const digests = await Promise.all(names.map(shortDigest))
      const args = [id, bytes, lifeMs, quota, digests.join(' '), MAX_REMOVED].map(String)
      const [more, ...removed] = toList(await run(scripts.account, [key], args))
      return { more: Number(more) === 1, removed: removed.map(toRemoved) }
    },

    async remove({ id, digests }) {
      // The names first: a repeated request must not find the name of a reply that is not there.
      await Promise.all(digests.map((digested) => run(scripts.release, [keyOfDigest(digested)], [id])))
      await link.command(['DEL', ...keysOf(id)])
    },

    async maxMemory() {
      const text = String(await link.command(['INFO', 'memory']))
      return Number(/^maxmemory:(\d+)/m.exec(text)?.[1] ?? 0)
    },

    async probe() {
      await link.command(['GET', `${prefix}:probe`])
    },
  }
}

const endFlags: Readonly<Record<LogEnd, string>> = { none: '0', end: '1', 'small-end': '2' }

/**
 * 128 bits of SHA-256: to find a name with the digest of another client's takes 2^128 tries. Two names with one digest
 * take 2^64, but both are then names of the client that searched for them.
 */
async function shortDigest(text: string): Promise<string> {
  return (await digest(text)).slice(0, 22)
}

/** An entry of an account, as the script writes it. */
function toRemoved(entry: unknown): RemovedReply {
  const [, , , id, names] = JSON.parse(String(entry)) as [number, number, number, string, string]
  return { id, digests: names === '' ? [] : names.split(' ') }
}

function fromBinding({ id, note }: Binding): string {
  return JSON.stringify(note === undefined ? [id] : [id, note])
}

/** Whether Redis can be read but not written: it cannot save, has too few replicas, or is a replica itself. */
function takesNoWrites(error: unknown): boolean {
  return error instanceof Error && /^(?:MISCONF|NOREPLICAS|READONLY)/.test(error.message)
}

function toAnswer(reply: unknown): Answer {
  const [status, length, third, ago] = toList(reply)
  switch (status) {
    case 'ok':
      return { status, length: Number(length), ask: String(third) as Ask | '', readAgoMs: Number(ago) } // as it was set
    case 'gap':
      return { status, length: Number(length) }
    case 'sealed':
      return { status, length: Number(length), terminal: String(third) }
    default:
      return { status: 'gone' }
  }
}

function toBinding(value: unknown): Binding | undefined {
  if (value === null || value === undefined) return undefined
  const [id, note] = JSON.parse(String(value)) as [id: string, note?: string] // as `fromBinding` wrote it
  return { id, ...(note === undefined ? {} : { note }) }
}

function toList(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : []
}

/** Our own words again. */
function parse(text: string): ChatDelta {
  return JSON.parse(text) as ChatDelta
}
