import type { Commands, StoredReply } from './commands.ts'

export interface QuotaOptions {
  readonly commands: Commands
  /** Bytes that the finished replies of one caller may take. Default: an eighth of what the server may use. */
  readonly maxBytes: number | undefined
}

/** Limits what the finished replies of one caller take in Redis. */
export interface Quota {
  /**
   * Puts a finished reply on its caller's account and deletes the caller's oldest ones above the quota. Never rejects:
   * a reply that cannot be accounted for expires like any other.
   */
  account(caller: string, reply: StoredReply): Promise<void>
}

/** The quota where the server has no limit, or does not report it. */
const DEFAULT_BYTES = 64 * 1024 * 1024
/** The part of the server's memory that one caller may use. */
const SHARE = 1 / 8
/** How long an answer to `INFO` is used, in milliseconds: the limit of a running server can be changed. */
const INFO_MS = 60_000
/** Calls of the script for one reply: a large one can take the place of thousands of small ones. */
const MAX_ROUNDS = 1000

/** Creates the quota of a store; all instances of a Redis share the accounts. */
export function createQuota({ commands, maxBytes }: QuotaOptions): Quota {
  let known: { readonly bytes: Promise<number>; readonly at: number } | undefined

  function bytesPerCaller(): Promise<number> {
    if (maxBytes !== undefined) return Promise.resolve(maxBytes)
    const now = performance.now()
    if (!known || now - known.at > INFO_MS) known = { bytes: share(), at: now }
    return known.bytes
  }

  async function share(): Promise<number> {
    try {
      return Math.floor((await commands.maxMemory()) * SHARE) || DEFAULT_BYTES
    } catch {
      return DEFAULT_BYTES // a user without the right to INFO
    }
  }

  async function makeRoom(caller: string, reply: StoredReply): Promise<void> {
    const quota = await bytesPerCaller()
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const { removed, more } = await commands.account(caller, reply, quota)
      await Promise.all(removed.map(commands.remove))
      if (!more) return
    }
  }

  return {
    account: (caller, reply) => makeRoom(caller, reply).catch(() => {}), // then its keys expire
  }
}
