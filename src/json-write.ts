import { isObject } from './checks.ts'
import { createPacer, LARGE, pause, SLICE, sliceEnd } from './pause.ts'

/** JSON as text, or as UTF-8 where the value is large. */
export async function encodeJson(value: unknown): Promise<string | Uint8Array<ArrayBuffer>> {
  return isLarge(value) ? encodeLargeJson(value) : JSON.stringify(value)
}

/**
 * What `JSON.stringify` gives, as UTF-8. A large value does not keep the event loop: it is written in slices with
 * pauses between them, and nothing may change it meanwhile.
 */
export async function encodeLargeJson(value: unknown): Promise<Uint8Array<ArrayBuffer>> {
  await pause()
  const pace = createPacer()
  const encoder = new TextEncoder()
  const pieces: Uint8Array[] = []
  let waiting: string[] = []
  let length = 0
  function flush(): void {
    pieces.push(encoder.encode(waiting.join('')))
    waiting = []
    length = 0
  }
  for (const piece of write(value)) {
    waiting.push(piece)
    length += piece.length
    if (length < SLICE) continue
    flush()
    await pace()
  }
  flush()
  return joined(pieces)
}

/** Whether the texts of a value, keys aside, are long. */
export function isLarge(value: unknown): boolean {
  return weigh(value, 0) > LARGE
}

function weigh(value: unknown, sum: number): number {
  if (typeof value === 'string') return sum + value.length
  if (typeof value !== 'object' || value === null) return sum
  let total = sum
  for (const inner of Array.isArray(value) ? value : Object.values(value)) {
    if (total > LARGE) return total
    total = weigh(inner, total)
  }
  return total
}

function* write(value: unknown): Generator<string> {
  if (typeof value === 'string') yield* writeString(value)
  else if (Array.isArray(value)) {
    let separator = '['
    for (const inner of value) {
      yield separator
      yield* write(inner ?? null)
      separator = ','
    }
    yield separator === '[' ? '[]' : ']'
  } else if (isObject(value) && typeof value['toJSON'] !== 'function') {
    let separator = '{'
    for (const [name, inner] of Object.entries(value)) {
      if (inner === undefined || typeof inner === 'function') continue
      yield `${separator}${JSON.stringify(name)}:`
      yield* write(inner)
      separator = ','
    }
    yield separator === '{' ? '{}' : '}'
  } else yield JSON.stringify(value) ?? 'null'
}

function* writeString(text: string): Generator<string> {
  if (text.length <= SLICE) return yield JSON.stringify(text)
  yield '"'
  for (let from = 0; from < text.length;) {
    const end = sliceEnd(text, from)
    yield JSON.stringify(text.slice(from, end)).slice(1, -1)
    from = end
  }
  yield '"'
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}
