import { outOfMemory } from '../../budget.ts'
import { createMirror, type Mirror, type MirrorOptions } from './mirror.ts'

/** The mirrors of an instance: at most `MAX_MIRRORS` of a reply, however many readers it has. */
export interface Mirrors {
  /** A mirror that has what comes after a delta. */
  from(id: string, after: number): Mirror
}

/** Each mirror polls Redis. The last one begins at the first delta: it serves every reader that may still come. */
const MAX_MIRRORS = 3

/** Creates the mirrors of an instance: none yet. */
export function createMirrors(
  options: Pick<MirrorOptions, 'commands' | 'subscribe' | 'leaseMs' | 'budget'>,
): Mirrors {
  const mirrors = new Map<string, Set<Mirror>>()

  function open(id: string, after: number): Mirror {
    // Refused before it takes anything; the mirrors that exist continue.
    if (!options.budget.fits(0)) throw outOfMemory('This reply cannot be read here')
    const all = mirrors.get(id) ?? new Set()
    mirrors.set(id, all)
    const onEnd = (): void => {
      all.delete(mirror)
      if (all.size === 0 && mirrors.get(id) === all) mirrors.delete(id)
    }
    const mirror = createMirror({ ...options, id, after, onEnd })
    all.add(mirror)
    return mirror
  }

  return {
    from(id, after) {
      const others = [...(mirrors.get(id) ?? [])]
      const known = others.find(({ log }) => log.base <= after)
      return known ?? open(id, others.length + 1 < MAX_MIRRORS ? after : 0)
    },
  }
}
