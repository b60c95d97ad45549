import type { ChatError } from '../src/errors.ts'
import type { FailoverMove } from '../src/upstreams/failover.ts'
import type { EndedReply } from '../src/finished.ts'
import type { ReportContext } from '../src/report.ts'
import { withoutWords } from '../src/upstreams/words.ts'

/**
 * Writes one line of JSON about a failure to stderr. Of its cause only names, codes and statuses: the words of an
 * upstream can repeat a key, and those of a request are a conversation.
 */
export function logError(error: ChatError, { replyId, ...context }: ReportContext = {}): void {
  const { code } = error
  const message = withoutWords(error.message)
  const line = {
    time: new Date().toISOString(),
    level: 'error',
    code,
    message: replyId === undefined ? message : message.replaceAll(replyId, shortId(replyId)),
    ...(replyId === undefined ? {} : { replyId: shortId(replyId) }),
    ...context,
    cause: causes(error),
  }
  console.error(JSON.stringify(line))
}

/** Writes one line of JSON to stderr: something that the operator should know. */
export function logWarning(message: string): void {
  console.error(JSON.stringify({ time: new Date().toISOString(), level: 'warn', message }))
}

/** Writes one line of JSON to stderr: that an upstream failed, why, and which one was asked in its place. */
export function logFailover({ from, to, error }: FailoverMove): void {
  const { code } = error
  const line = { time: new Date().toISOString(), level: 'warn', code, from, to, cause: causes(error) }
  console.error(JSON.stringify(line))
}

/**
 * The beginning of a reply's id: enough to find its other lines. With the whole id an anonymous client can read and stop
 * the reply, so it is in no log. At most half of a shorter id is shown.
 */
function shortId(id: string): string {
  return `${id.slice(0, Math.min(8, Math.floor(id.length / 2)))}…`
}

/** Writes one line of JSON about a reply that is over to stderr: what it cost and how it ended, none of its words. */
export function logReply({
  id,
  status,
  request,
  finishReason,
  error,
  usage,
  upstream,
  timings,
}: EndedReply): void {
  const { acceptedMs, firstDeltaMs, durationMs } = timings
  const line = {
    time: new Date().toISOString(),
    level: 'info',
    replyId: shortId(id),
    status,
    code: error?.code,
    finishReason,
    model: request.model,
    upstream,
    usage,
    acceptedMs,
    firstDeltaMs,
    durationMs,
  }
  console.error(JSON.stringify(line))
}

/** The chain of causes, outermost first: `AuthenticationError 401`, `TypeError`, `SocketError UND_ERR_SOCKET`. */
function causes(error: ChatError): readonly string[] {
  const chain: string[] = []
  for (let cause: unknown = error.cause; cause instanceof Error && chain.length < 5; cause = cause.cause) {
    chain.push(`${cause.constructor.name} ${detail(cause)}`.trim())
    // Our own programming errors are found by their place, not by their words.
    if (error.code === 'internal') chain.push(...places(cause))
  }
  return chain
}

// A status, or a code of the system's. The `code` of a refusal is the upstream's to choose: it can be anything.
function detail(cause: Error): string {
  // A refusal of Redis begins with its code: `OOM command not allowed …`.
  if (/^(?:SimpleError|BlobError|ErrorReply|ReplyError)$/.test(cause.constructor.name)) {
    return /^[A-Z]+\b/.exec(cause.message)?.[0] ?? ''
  }
  const { status, code } = cause as { status?: unknown; code?: unknown } // of errors that have them
  if (typeof status === 'number') return String(status)
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,40}$/.test(code) ? code : ''
}

// Without the message, which can hold a stack of its own: people ask about those.
function places({ stack = '', message }: Error): readonly string[] {
  const lines = stack
    .replace(message, '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
  return lines.slice(0, 3).map((line) => line.trim())
}
