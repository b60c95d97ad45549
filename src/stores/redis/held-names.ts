import type { Commands } from './commands.ts'

/** The names of a reply that is produced here. They live as long as its log, and expire like the log without a producer. */
export interface HeldNames {
  readonly list: readonly string[]
  add(name: string): void
  delete(name: string): void
  /** Prolongs the life of the names when a part of it has passed. To be called again and again while the reply runs. */
  refresh(): void
  /** Lets the names expire after `ms`, or frees them at once. Never rejects. */
  end(ms: number): Promise<void>
}

/** Names are renewed when this part of their life has passed: a Redis that is away for the rest does not lose them. */
const REFRESH_AFTER = 1 / 4

/** Creates the names of one reply: none yet. */
export function createHeldNames(id: string, commands: Commands): HeldNames {
  const { lifeMs } = commands
  const names = new Set<string>()
  let renewedAt = performance.now()

  async function extendAll(ms: number): Promise<void> {
    await Promise.all([...names].map((name) => commands.extend(name, id, ms)))
  }

  return {
    get list() {
      return [...names]
    },
    add: (name) => void names.add(name),
    delete: (name) => void names.delete(name),
    refresh() {
      const now = performance.now()
      if (names.size === 0 || now - renewedAt < lifeMs * REFRESH_AFTER) return
      const before = renewedAt
      renewedAt = now
      extendAll(lifeMs).catch(() => (renewedAt = before)) // the next call tries again
    },
    async end(ms) {
      const work = ms > 0 ? extendAll(ms) : Promise.all([...names].map((name) => commands.release(name, id)))
      await work.catch(() => {}) // then they expire
    },
  }
}
