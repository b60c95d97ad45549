import type { ChatError } from './errors.ts'

/** Told of a failure, whole, with its cause; and of which reply, and which upstream where there are several. */
export type Report = (error: ChatError, context: ReportContext) => void

export interface ReportContext {
  /** Whole. With it an anonymous client's reply can be read and stopped: a log should have its beginning alone. */
  readonly replyId?: string
  readonly upstream?: string
}

/** A report that cannot fail itself: what `onError` throws, or rejects with, is nobody's to handle. */
export function toReport(onError: Report | undefined): Report {
  if (!onError) return () => {}
  return (error, context) => {
    Promise.resolve()
      .then(() => onError(error, context))
      .catch(() => {})
  }
}

/** Tells somebody who asked to be told, at once. What that throws, or rejects with, is nobody's to handle. */
export function tell<Args extends readonly unknown[]>(
  listener: ((...args: Args) => unknown) | undefined,
  ...args: Args
): void {
  ;(async () => await listener?.(...args))().catch(() => {})
}
