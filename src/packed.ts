import type { ChatDelta } from './types.ts'

/** Deltas of the past, in little room. */
export type Packed = readonly ChatDelta[] | PackedTexts

/** Pieces of one text: a token is a few characters, the object around it is a hundred bytes. */
interface PackedTexts {
  readonly type: 'text' | 'reasoning'
  readonly text: string
  readonly lengths: Uint16Array
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

/** The deltas as they were. */
export function unpack(packed: Packed): readonly ChatDelta[] {
  if (!('lengths' in packed)) return packed
  const { type, text, lengths } = packed
  let end = 0
  return Array.from(lengths, (length) => ({ type, text: text.slice(end, (end += length)) }))
}
