import type { ChatClientError } from '../client/index.ts'
import type { Failure } from './answer.ts'

/** The reply cannot be had any more; its question can be asked again. */
const LOST = ['not-found', 'gone', 'cursor-beyond-tail', 'gap', 'unreadable', 'idempotency-mismatch']

/**
 * Says what a failure that is no part of the reply means for its turn. `over`: another try asks anew. Otherwise the reply
 * may well exist, and another try, or another load of the page, goes on with it.
 */
export function judge(
  { code, message, retryable }: ChatClientError,
  replied: boolean,
): { readonly failure: Failure; readonly over: boolean } {
  const onTheWay = /^(?:unreachable|stalled|incomplete|http-)/.test(code)
  return {
    failure: { type: 'error', code, message, retryable: retryable || LOST.includes(code) },
    over: !(retryable && (replied || onTheWay)),
  }
}
