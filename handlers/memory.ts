import { getHeapStatistics } from 'node:v8'

/** What V8's young generation takes of the heap limit: three semi-spaces of 16 MiB, where nothing stays. */
const YOUNG_BYTES = 48 * 1024 * 1024
/**
 * The part of the old generation that replies may take. Measured with `--max-old-space-size=128`: the service itself
 * takes 20 MB, parsing and encoding up to 30 MB of garbage under load, and what readers still hold a quarter of the
 * replies' own part.
 */
const SHARE = 0.4
const LEAST_BYTES = 8 * 1024 * 1024

/** The default of `MAX_MEMORY_BYTES`: 0.4 of the heap limit without its young generation, at least 8 MiB. */
export function defaultMemoryBytes(): number {
  const { heap_size_limit: limit } = getHeapStatistics()
  return Math.max(LEAST_BYTES, Math.floor((limit - YOUNG_BYTES) * SHARE))
}
