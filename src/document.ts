import type { Frames } from './types.ts'

/** One write takes at most so many characters, which are 64 KiB at the most. */
const PIECE_LENGTH = Math.floor((64 * 1024) / 3)

/**
 * A document in pieces, so that a client that reads slowly is noticed as it is for a stream. Undefined where it is so
 * small that it is one piece. `onEnd` runs once, when the document was taken or the client has left.
 */
export function inPieces(text: string, onEnd: () => void): Frames | undefined {
  if (text.length <= PIECE_LENGTH) return undefined
  let left = text
  let at = 0
  let ended = false

  function end(): IteratorResult<string> {
    left = ''
    at = 0
    if (!ended) onEnd()
    ended = true
    return { value: undefined, done: true }
  }

  return {
    async next() {
      if (at >= left.length) return end()
      const splitsPair = /[\ud800-\udbff]/.test(left.charAt(at + PIECE_LENGTH - 1))
      const value = left.slice(at, at + PIECE_LENGTH - (splitsPair ? 1 : 0))
      at += value.length
      return { value, done: false }
    },
    async return() {
      return end()
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
