import { ChatError } from '../errors.ts'
import { isDeeper } from '../checks.ts'

/**
 * A failure while an answer is read. Whatever an upstream sends is its own matter: what goes wrong with it, and is no
 * `ChatError`, is a stream that cannot be understood.
 */
export function toReadFailure(error: unknown): ChatError {
  return error instanceof ChatError ? error : malformed('something that cannot be understood', error)
}

/** An answer that is not what it should be. */
export function malformed(what: string, cause?: unknown): ChatError {
  return new ChatError('upstream-malformed', `The model's server sent ${what}.`, { cause })
}

/** How many tool calls an answer may have: each new piece is compared with all of them. */
export const MAX_CALLS = 1000

/** How deep a value may be that is kept, and written again, without being looked into. */
const MAX_DEPTH = 64

/** Requires that a value can be written as JSON by everything after us. @throws `upstream-malformed`. */
export function requireShallow(value: unknown): void {
  if (isDeeper(value, MAX_DEPTH)) throw malformed(`JSON of more than ${MAX_DEPTH} levels`)
}
