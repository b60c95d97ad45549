/** A text that was said, without the text: the reply's log has it already, and a second copy would double its memory. */
export interface Said {
  readonly length: number
  add(piece: string): void
  /** Whether a text begins with all that was said. */
  begins(text: string): boolean
}

/** Creates one of which nothing was said. Two hashes of 32 bits stand for the text. */
export function createSaid(): Said {
  let length = 0
  let first = 0x811c9dc5
  let second = 0

  return {
    get length() {
      return length
    },
    add(piece) {
      length += piece.length
      first = fnv(first, piece, piece.length)
      second = polynomial(second, piece, piece.length)
    },
    begins(text) {
      if (text.length < length) return false
      return fnv(0x811c9dc5, text, length) === first && polynomial(0, text, length) === second
    },
  }
}

/** FNV-1a over UTF-16 code units. */
function fnv(from: number, text: string, length: number): number {
  let hash = from
  for (let at = 0; at < length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash
}

function polynomial(from: number, text: string, length: number): number {
  let hash = from
  for (let at = 0; at < length; at++) hash = (Math.imul(hash, 0x9e3779b1) + text.charCodeAt(at)) | 0
  return hash
}
