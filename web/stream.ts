import { createParser } from 'eventsource-parser'
import type { ChatDelta } from '../src/types.ts'
import type { Message } from './conversation.ts'

/** Why there is no answer, or only a part of one: told by the server, or noticed here. */
export interface Failure {
  readonly type: 'error'
  readonly code: string
  readonly message: string
  readonly retryable: boolean
}

/** What the page shows: the server's deltas, and failures from wherever they came. */
export type PageDelta = Exclude<ChatDelta, { readonly type: 'error' }> | Failure

/** How long a stopped reply may take to say its last word before the connection is closed. */
const PATIENCE_MS = 2_000

/**
 * Asks the server and yields the answer. Never throws, and always ends with one `finish` or `error`:
 * a refused request, a lost connection and a stream that just ends become an `error` delta.
 *
 * Aborting `stop` asks the server to stop the reply; what it still says is yielded. Merely closing the connection
 * would not do, because a reader that is gone may come back.
 */
export async function* ask(
  body: { readonly messages: readonly Message[]; readonly model?: string },
  { stop }: { readonly stop: AbortSignal },
): AsyncGenerator<PageDelta, void, undefined> {
  const connection = new AbortController()
  let patience: ReturnType<typeof setTimeout> | undefined
  let id: string | null = null
  const onStop = (): void => {
    patience ??= setTimeout(() => connection.abort(), PATIENCE_MS)
    if (id) void sendStop(id)
  }
  stop.addEventListener('abort', onStop)
  let last: Failure = failure(
    'unreachable',
    'The server cannot be reached. Is it running, and are you online?',
  )
  try {
    const response = await fetch('chat', {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify(body),
      signal: connection.signal,
    })
    last = failure('incomplete', 'The connection ended before the answer was finished.')
    if (!response.body || !isEventStream(response)) {
      last = await readFailure(response)
    } else {
      id = response.headers.get('x-reply-id')
      if (stop.aborted) onStop()
      for await (const delta of readDeltas(response.body)) {
        yield delta
        if (delta.type === 'finish' || delta.type === 'error') return
      }
    }
  } catch (error) {
    if (error instanceof SyntaxError)
      last = failure('unreadable', 'The server sent something that is not an answer.')
    // Anything else is the connection breaking; `last` says how far it had come.
  } finally {
    clearTimeout(patience)
    stop.removeEventListener('abort', onStop)
    connection.abort()
  }
  yield stop.aborted ? { type: 'finish', reason: 'cancelled' } : last
}

async function* readDeltas(body: ReadableStream<Uint8Array>): AsyncGenerator<ChatDelta, void, undefined> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  const arrived: ChatDelta[] = []
  // The server's published type is what arrives; a kind that is newer than this page is ignored where it is shown.
  const parser = createParser({ onEvent: ({ data }) => void arrived.push(JSON.parse(data) as ChatDelta) })
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    parser.feed(decoder.decode(value, { stream: true }))
    yield* arrived.splice(0)
  }
}

function isEventStream(response: Response): boolean {
  return response.ok && /^text\/event-stream\b/i.test(response.headers.get('content-type') ?? '')
}

/** Reads `{"error":{"code","message"}}`; a proxy's own page in its place is named by its status. */
async function readFailure(response: Response): Promise<Failure> {
  const { status } = response
  const retryable = status === 408 || status === 429 || status >= 500
  const text = await response.text()
  try {
    const { code, message } = (JSON.parse(text) as { error: { code: unknown; message: unknown } }).error
    return failure(String(code), String(message), retryable)
  } catch {
    // Not ours, so there is nothing in it for a reader.
    return failure(
      `http-${status}`,
      `The server answered ${status} ${response.statusText}`.trim() + '.',
      retryable,
    )
  }
}

function failure(code: string, message: string, retryable = true): Failure {
  return { type: 'error', code, message, retryable }
}

async function sendStop(id: string): Promise<void> {
  try {
    await fetch(`chat/${encodeURIComponent(id)}/stop`, { method: 'POST', keepalive: true })
  } catch {
    // Closing the connection is what remains, and happens when the patience ends.
  }
}
