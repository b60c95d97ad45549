import type { ChatError } from '../src/errors.ts'

/**
 * Writes one line of JSON about a failure to stderr. Of its cause only names, codes and statuses: the words of an
 * upstream can repeat a key, and those of a request are a conversation.
 */
export function logError(error: ChatError, context: { readonly replyId?: string } = {}): void {
  const { code } = error
  const line = {
    time: new Date().toISOString(),
    level: 'error',
    code,
    message: withoutQuote(error.message),
    ...context,
    cause: causes(error),
  }
  console.error(JSON.stringify(line))
}

// An upstream that refuses a request may say why by repeating it. The client has the whole sentence.
function withoutQuote(message: string): string {
  return message.replace(/(refused the request(?: \(HTTP \d+\))?): .*$/s, '$1.')
}

/** The chain of causes, outermost first: `APIError 401 invalid_api_key`, `TypeError`, `ECONNREFUSED`. */
function causes(error: ChatError): readonly string[] {
  const chain: string[] = []
  for (let cause: unknown = error.cause; cause instanceof Error && chain.length < 5; cause = cause.cause) {
    const { status, code } = cause as { status?: unknown; code?: unknown } // of errors that have them
    chain.push([cause.constructor.name, status, code].filter(isShort).join(' '))
    // Our own programming errors are found by their place, not by their words.
    if (error.code === 'internal' && cause.stack) chain.push(...cause.stack.split('\n').slice(1, 4).map(trim))
  }
  return chain
}

function isShort(value: unknown): boolean {
  return typeof value === 'number' || (typeof value === 'string' && value.length <= 60)
}

function trim(line: string): string {
  return line.trim()
}
