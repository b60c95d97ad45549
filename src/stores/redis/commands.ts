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
  /** How much longer than its reply a name lives: a repeated request is no new question then. */
  readonly namesMs: number
}

/** What a producer hears: how long the log is, what is asked of it, when it was last read elsewhere; or how it ended. */
export type Answer =
  | { readonly status: 'ok'; readonly length: number; readonly ask: Ask | ''; readonly readAgoMs: number }
  | { readonly status: 'gap'; readonly length: number }
  | { readonly status: 'sealed'; readonly length: number; readonly terminal: string }
  | { readonly status: 'gone' }

/** The store's verbs as commands of Redis. Each rejects when Redis cannot do it now; each can be sent again. */
export interface Commands {
  readonly channelOf: (id: string) => string
  /** Where what is asked of the producers of this instance is published: `stop <id>`. */
  readonly ownChannel: string
  /** False when there is a reply under this id already. */
  create(id: string, options: CreateOptions): Promise<boolean>
  discard(id: string): Promise<void>
  /** Adds deltas, the first of which has the number `from`; the last is `terminal` or is not. */
  append(id: string, from: number, deltas: readonly string[], terminal: boolean): Promise<Answer>
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
  /** Writes something that nobody reads: a server that is full answers, but keeps nothing. */
  probe(): Promise<void>
}

/** What a reply ends with when its producer was not heard of for a lease. */
const producerLost: ChatDelta = {
  type: 'error',
  code: 'producer-lost',
  message: 'The server that was writing this answer is gone. Ask again.',
  retryable: true,
}

/** Time enough for a producer to say that it is alive, when Redis is back: it tries several times a second. */
const MAX_LATE_MS = 700

/** Puts the store's verbs into words of Redis. */
export function createCommands({
  link,
  prefix,
  instance,
  leaseMs,
  retentionMs,
  namesMs,
}: CommandsOptions): Commands {
  // Both together are a lease: it runs out, and then somebody has to see that its producer stays away.
  const lateMs = Math.min(leaseMs / 2, MAX_LATE_MS)
  const untilLateMs = String(Math.ceil(leaseMs - lateMs))
  const shas = new Map<string, Promise<string>>()
  const ttl = String(retentionMs + leaseMs)
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
  const keyOfName = async (name: string): Promise<string> => `${prefix}:name:${await digest(name)}`

  return {
    channelOf,
    ownChannel: toChannel + instance,

    async create(id, { owner = '', start }) {
      const args = [instance, owner, start ? JSON.stringify(start) : '', untilLateMs, ttl]
      return Number(await run(scripts.create, keysOf(id), args)) === 1
    },

    async discard(id) {
      await link.command(['DEL', ...keysOf(id)])
    },

    async append(id, from, deltas, terminal) {
      const args = [String(from), ttl, channelOf(id), terminal ? '1' : '0', ...deltas]
      return toAnswer(await run(scripts.append, keysOf(id), args))
    },

    async renew(id) {
      return toAnswer(await run(scripts.renew, keysOf(id), [untilLateMs, ttl]))
    },

    async look(id, reading) {
      const late = String(Math.floor(lateMs))
      const args = [reading ? '1' : '0', JSON.stringify(producerLost), ttl, channelOf(id), late]
      const [status, length, sealed, owner, last] = toList(await run(scripts.look, keysOf(id), args))
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
      const life = String(retentionMs + leaseMs + namesMs)
      const args = ['SET', key, JSON.stringify(binding), ...(replace ? [] : ['NX']), 'GET', 'PX', life]
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

    async probe() {
      await link.command(['SET', `${prefix}:probe`, '1', 'PX', '1000'])
    },
  }
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
  return value === null || value === undefined ? undefined : (JSON.parse(String(value)) as Binding) // our own words
}

function toList(reply: unknown): readonly unknown[] {
  return Array.isArray(reply) ? reply : []
}

/** Our own words again. */
function parse(text: string): ChatDelta {
  return JSON.parse(text) as ChatDelta
}
