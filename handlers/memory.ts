import { getHeapStatistics } from 'node:v8'

/** What V8's young generation takes of the heap limit: three semi-spaces of 16 MiB, where nothing stays. */
const YOUNG_BYTES = 48 * 1024 * 1024
/**
 * The part of the old generation that replies may take. The service without replies takes 22 MB of it (measured), and
 * replies whose readers have not left yet can take a quarter more than their part; the rest is for garbage. The attacks
 * of test/security/memory.test.ts survive with it in heaps of 48 to 128 MB.
 */
const SHARE = 0.4
const LEAST_BYTES = 8 * 1024 * 1024

/** The default of `MAX_MEMORY_BYTES`: 0.4 of the heap limit without its young generation, at least 8 MiB. */
export function defaultMemoryBytes(): number {
  const { heap_size_limit: limit } = getHeapStatistics()
  return Math.max(LEAST_BYTES, Math.floor((limit - YOUNG_BYTES) * SHARE))
}
