import type { ChatDelta } from './types.ts'

// Sizes in V8 on a 64-bit platform, measured with Node 20: pointers have 8 bytes there.

/** An object with two fields, its place in an array, and the header of its string. */
const DELTA_BYTES = 72
/** The further fields of a tool call. */
const CALL_BYTES = 56
const STRING_BYTES = 24
const NUMBER_BYTES = 16
const OBJECT_BYTES = 56
/** A field of an object; one whose name is new has a shape and a name of its own. */
const FIELD_BYTES = 8
const NAME_BYTES = 96
const SLOT_BYTES = 8

/** A text that is longer is looked at, because that takes little beside everything else that is done with it. */
const SHORT = 256

/** Whether V8 needs two bytes for each character of a text. */
export function isWide(text: string): boolean {
  return /[\u0100-\uffff]/.test(text)
}

/**
 * Bytes of the characters of a text. A short one counts two for each: to look at the characters of every delta would
 * take longer than to count it. Packing counts exactly.
 */
function widthOf(text: string): number {
  return text.length > SHORT && !isWide(text) ? text.length : 2 * text.length
}

/** Bytes of memory that a delta takes as an object. */
export function bytesOf(delta: ChatDelta): number {
  const { type } = delta
  if (type === 'text' || type === 'reasoning' || type === 'refusal') {
    if (!delta.logprobs) return DELTA_BYTES + widthOf(delta.text)
  } else if (type === 'tool-call' && !delta.extra && delta.id === undefined) {
    return DELTA_BYTES + CALL_BYTES + widthOf(delta.arguments)
  }
  return SLOT_BYTES + bytesOfValue(delta)
}

/** Bytes of memory that all deltas of a list take. */
export function bytesOfAll(deltas: readonly ChatDelta[]): number {
  let bytes = 0
  for (const delta of deltas) bytes += bytesOf(delta)
  return bytes
}

/** Bytes of memory that a value made of JSON takes, rather more than less. It does not recurse, however deep the value. */
export function bytesOfValue(value: unknown): number {
  const left: unknown[] = [value]
  const names = new Set<string>()
  let bytes = 0
  while (left.length > 0) {
    const next = left.pop()
    if (typeof next === 'string') bytes += STRING_BYTES + widthOf(next)
    else if (typeof next === 'number') bytes += NUMBER_BYTES
    else if (Array.isArray(next)) {
      bytes += OBJECT_BYTES + SLOT_BYTES * next.length
      for (const item of next) left.push(item)
    } else if (typeof next === 'object' && next !== null) {
      bytes += OBJECT_BYTES
      for (const [name, field] of Object.entries(next)) {
        bytes += FIELD_BYTES
        if (!names.has(name)) bytes += NAME_BYTES + 2 * name.length
        names.add(name)
        left.push(field)
      }
    }
  }
  return bytes
}
