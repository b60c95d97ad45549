import { bytesOfAll, isWide } from './memory.ts'
import type { ChatDelta } from './types.ts'

/** Deltas of the past, in little room. */
export type Packed = readonly ChatDelta[] | PackedTexts

/** Pieces of one text: a token is a few characters, the object around it is a hundred bytes. */
interface PackedTexts {
  readonly type: 'text' | 'reasoning'
  readonly text: string
  readonly lengths: Uint16Array
  /** The same unpacked, while it is read: readers of one block share it. */
  unpacked?: WeakRef<readonly ChatDelta[]>
}

const MAX_LENGTH = 65_535

/** Takes a fifth of the memory where all of them are pieces of one text; the deltas themselves where they are not. */
export function pack(deltas: readonly ChatDelta[]): Packed {
  const type = deltas[0]?.type
  if (type !== 'text' && type !== 'reasoning') return deltas
  const texts: string[] = []
  for (const delta of deltas) {
    if (delta.type !== type || delta.logprobs || delta.text.length > MAX_LENGTH) return deltas
    texts.push(delta.text)
  }
  return { type, text: texts.join(''), lengths: Uint16Array.from(texts, ({ length }) => length) }
}

/** The objects and headers of a packed block, beside its text and lengths. */
const PACKED_BYTES = 720

/** Bytes of memory that packed deltas take. */
export function bytesOfPacked(packed: Packed): number {
  if (!('lengths' in packed)) return bytesOfAll(packed)
  const { text, lengths } = packed
  return PACKED_BYTES + lengths.byteLength + text.length * (isWide(text) ? 2 : 1)
}

/** The deltas as they were. */
export function unpack(packed: Packed): readonly ChatDelta[] {
  if (!('lengths' in packed)) return packed
  const known = packed.unpacked?.deref()
  if (known) return known
  const { type, text, lengths } = packed
  let end = 0
  const deltas = Array.from(lengths, (length): ChatDelta => {
    return { type, text: text.slice(end, (end += length)) }
  })
  packed.unpacked = new WeakRef(deltas)
  return deltas
}
