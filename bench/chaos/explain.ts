import type { Fault, History } from './history.ts'

type Kind = Fault['kind']

const storeFaults: readonly Kind[] = ['redis-kill', 'redis-rollback', 'redis-pause', 'flush', 'stall']
/** Those that lose what was in the log already. A Redis that is killed loses nothing that it had answered. */
const amnesia: readonly Kind[] = ['redis-rollback', 'flush']

/** What can be the reason of what a reader was told. */
const reasons: Readonly<Record<string, readonly Kind[]>> = {
  'producer-lost': ['kill', ...storeFaults],
  'server-shutdown': ['drain'],
  'store-unavailable': storeFaults,
  'log-incomplete': storeFaults,
  gone: amnesia,
  // Another question had its key when the store had forgotten this one.
  'idempotency-mismatch': amnesia,
  '404': amnesia,
  '410': amnesia,
  // A reader at the producer may be ahead of the log, which then ends without what it saw.
  '409': ['kill', ...storeFaults],
  '204': ['kill', ...storeFaults],
  abandoned: storeFaults,
  unkept: storeFaults,
  // More after an end that was in no log: that end again, or the one that the log has by now.
  '200': storeFaults,
}

/** How long before a rollback something may have been written that it takes back. */
const ROLLBACK_MS = 10_000

/**
 * Finds what was last done to a reply that explains what its reader was told at `at`, to its server rather than to the
 * store; undefined where nothing does.
 * Servers that were not asked are not to blame: only these can be the reply's producer.
 */
export function explain(
  what: string,
  at: number,
  { posts, readers }: History,
  faults: readonly Fault[],
): Fault | undefined {
  const kinds = reasons[what] ?? []
  const createdAt = Math.min(...posts.map((post) => post.at))
  const asked = new Set(posts.map(({ instance }) => instance))
  const lastWriteAt = Math.max(
    createdAt,
    ...readers.flatMap(({ name, sightings }) => (name === 'audit' ? [] : sightings.map((seen) => seen.at))),
  )
  const suspects = faults.filter(({ kind, instance, at: from, until }) => {
    if (!kinds.includes(kind) || from > at || until < createdAt) return false
    if (instance !== undefined && !asked.has(instance)) return false
    return kind !== 'redis-rollback' || lastWriteAt > from - ROLLBACK_MS
  })
  return suspects.findLast(({ instance }) => instance !== undefined) ?? suspects.at(-1)
}
