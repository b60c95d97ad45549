import { ChatError } from './errors.ts'
import type { ChatDelta } from './types.ts'

/** The end of a reply that somebody stopped. */
export const stopped: ChatDelta = { type: 'finish', reason: 'cancelled' }

/** What ends a log that is not there any more. */
export const gone: ChatDelta = {
  type: 'error',
  code: 'gone',
  message: 'The reply was lost.',
  retryable: false,
}

/** What a reader is told of whom a part of the log is missing. */
export function partLost(): ChatError {
  return new ChatError('gone', 'A part of this reply was lost.')
}
