import type { ChatDelta } from './types.ts'

/** Characters of what a delta says; of one that is not words alone, with its names. */
export function sizeOf(delta: ChatDelta): number {
  switch (delta.type) {
    case 'text':
    case 'reasoning':
    case 'refusal':
      return delta.logprobs ? JSON.stringify(delta).length : delta.text.length
    case 'tool-call':
    case 'tool-result':
    case 'source':
      return JSON.stringify(delta).length
    case 'start':
    case 'usage':
    case 'finish':
    case 'error':
      return 0
  }
}
