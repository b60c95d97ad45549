import type { Deltas } from './types.ts'

/** Deltas of what is made in batches: each by itself, or what arrived together in one piece. */
export function inBatches<T>(batches: () => AsyncIterable<readonly T[]>): Required<Deltas<T>> {
  return {
    batches,
    async *[Symbol.asyncIterator]() {
      for await (const batch of batches()) yield* batch
    },
  }
}

/** What arrived together in one piece, where the deltas know; else each by itself. */
export function batchesOf<T>(deltas: Deltas<T>): AsyncIterable<readonly T[]> {
  return deltas.batches?.() ?? singly(deltas)
}

async function* singly<T>(deltas: AsyncIterable<T>): AsyncGenerator<readonly T[]> {
  for await (const delta of deltas) yield [delta]
}
