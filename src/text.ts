import { isWide } from './memory.ts'

/** A text that grows piece by piece. */
export interface GrowingText {
  add(piece: string): void
  /** Everything so far. */
  whole(): string
}

/** Pieces that are joined at once. */
const PIECES = 256

/**
 * Creates an empty text. A sum of strings would keep every piece and an object for each `+`, which is many times the
 * text; joined pieces are the text alone. `onHold`: receives how many bytes more it takes, now and then.
 */
export function createText(onHold?: (bytes: number) => void): GrowingText {
  let text = ''
  let pieces: string[] = []
  let width = 1
  let counted = 0

  function whole(): string {
    if (pieces.length === 0) return text
    const piece = pieces.join('')
    pieces = []
    text += piece
    if (onHold) count(piece, onHold)
    return text
  }

  function count(piece: string, tell: (bytes: number) => void): void {
    if (width === 1 && isWide(piece)) width = 2
    const bytes = width * text.length
    const more = bytes - counted
    counted = bytes
    if (more > 0) tell(more)
  }

  return {
    add(piece) {
      if (pieces.push(piece) === PIECES) whole()
    },
    whole,
  }
}
