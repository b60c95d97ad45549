import type { ChatDelta } from './types.ts'

// Sizes in V8 on a 64-bit platform, measured with Node 20: pointers have 8 bytes there.

/** An object with two fields, its place in an array, and the header of its string. */
const DELTA_BYTES = 72
const STRING_BYTES = 24
const NUMBER_BYTES = 16
const OBJECT_BYTES = 56
const FIELD_BYTES = 24
const SLOT_BYTES = 8

/** Whether V8 needs two bytes for each character of a text. */
export function isWide(text: string): boolean {
  return /[\u0100-\uffff]/.test(text)
}

/**
 * Bytes of memory that a delta takes as an object. A text counts two bytes per character, because looking at each
 * character of each delta would take longer than all the rest; packing counts exactly.
 */
export function bytesOf(delta: ChatDelta): number {
  switch (delta.type) {
    case 'text':
    case 'reasoning':
    case 'refusal':
      if (!delta.logprobs) return DELTA_BYTES + 2 * delta.text.length
  }
  return SLOT_BYTES + bytesOfValue(delta)
}

/** Bytes of memory that all deltas of a list take. */
export function bytesOfAll(deltas: readonly ChatDelta[]): number {
  let bytes = 0
  for (const delta of deltas) bytes += bytesOf(delta)
  return bytes
}

/**
 * Bytes of memory that a value made of JSON takes, at most: every text counts two bytes per character. It does not
 * recurse, so that depth is no problem.
 */
export function bytesOfValue(value: unknown): number {
  const left: unknown[] = [value]
  let bytes = 0
  for (let next = left.pop(); left.length > 0 || next !== undefined; next = left.pop()) {
    if (typeof next === 'string') bytes += STRING_BYTES + 2 * next.length
    else if (typeof next === 'number') bytes += NUMBER_BYTES
    else if (Array.isArray(next)) {
      bytes += OBJECT_BYTES + SLOT_BYTES * next.length
      for (const item of next) left.push(item)
    } else if (typeof next === 'object' && next !== null) {
      bytes += OBJECT_BYTES
      for (const [name, field] of Object.entries(next)) {
        bytes += FIELD_BYTES + 2 * name.length
        left.push(field)
      }
    }
  }
  return bytes
}
