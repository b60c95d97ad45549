import type { ChatError } from './errors.ts'

/** Told of a failure, and of which reply. */
export type Report = (error: ChatError, context: { readonly replyId?: string }) => void

/** A report that cannot fail itself: what `onError` throws, or rejects with, is nobody's to handle. */
export function toReport(onError: Report | undefined): Report {
  if (!onError) return () => {}
  return (error, context) => {
    Promise.resolve()
      .then(() => onError(error, context))
      .catch(() => {})
  }
}
