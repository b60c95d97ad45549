import type { ChatDelta } from './types.ts'

/** Characters of one delta: every reader holds a whole delta while it writes a part of it. */
const MAX_LENGTH = 16_384

/** The same deltas, those with long texts in several pieces. No character is cut in two. */
export function splitLong(deltas: readonly ChatDelta[]): readonly ChatDelta[] {
  return deltas.some(isLong) ? deltas.flatMap(split) : deltas
}

function isLong(delta: ChatDelta): boolean {
  switch (delta.type) {
    case 'text':
    case 'reasoning':
    case 'refusal':
      // What its tokens are worth belongs to all of it.
      return delta.text.length > MAX_LENGTH && !delta.logprobs
    case 'tool-call':
      return delta.arguments.length > MAX_LENGTH
    default:
      return false
  }
}

function split(delta: ChatDelta): readonly ChatDelta[] {
  if (!isLong(delta)) return [delta]
  if (delta.type === 'tool-call') {
    const { type, index } = delta
    return pieces(delta.arguments).map((piece, at) => {
      return at === 0 ? { ...delta, arguments: piece } : { type, index, arguments: piece }
    })
  }
  return 'text' in delta ? pieces(delta.text).map((text) => ({ type: delta.type, text })) : [delta]
}

function pieces(text: string): readonly string[] {
  const all: string[] = []
  for (let at = 0; at < text.length;) {
    const splitsPair = /[\ud800-\udbff]/.test(text.charAt(at + MAX_LENGTH - 1))
    const piece = text.slice(at, at + MAX_LENGTH - (splitsPair ? 1 : 0))
    all.push(piece)
    at += piece.length
  }
  return all
}
