export type BodyRead = ReadableStreamReadResult<Uint8Array>

/** Bytes of a response, one read after the other. */
export interface BodyReader extends Required<Pullable> {
  next(): Promise<BodyRead>
  /** Gives up what is left, and its connection. */
  cancel(): void
}

/** What a body reader of our own can do beyond what those of the platform can. */
interface Pullable {
  /** As `next()`, told instead of promised, at once or later: no promise is made for each piece. */
  pull?(onRead: (read: BodyRead) => void, onBroken: (cause: unknown) => void): void
}

/**
 * Reads a body until `signal` aborts. It is cancelled by hand: the fetch of Node 20 holds its signal weakly, and after
 * a garbage collection the connection would stay open although everybody has left.
 */
export function readBody(body: ReadableStream<Uint8Array> | null, signal: AbortSignal): BodyReader {
  const reader: ReadableStreamDefaultReader<Uint8Array> & Pullable = (
    body ?? new Response('').body!
  ).getReader()
  function cancel(): void {
    signal.removeEventListener('abort', cancel)
    reader.cancel(signal.reason).catch(() => {
      // The fetch did see its signal.
    })
  }
  if (signal.aborted) cancel()
  else signal.addEventListener('abort', cancel, { once: true })
  return {
    next: () => reader.read(),
    pull(onRead, onBroken) {
      if (reader.pull) reader.pull(onRead, onBroken)
      else void reader.read().then(onRead, onBroken)
    },
    cancel,
  }
}

/** What is read of a document where a stream was asked for: enough for any error report. */
const MAX_DOCUMENT_BYTES = 64 * 1024

/**
 * A fetch whose refusals are small and complete: the `openai` package reads the body of a refusal by itself, without
 * a limit of size, and, on Node 20, without one of time.
 */
export function withBoundedRefusals(fetch: typeof globalThis.fetch): typeof globalThis.fetch {
  return async (input, init) => {
    const response = await fetch(input, init)
    if (response.ok && !isJson(response)) return response
    const parts = await readStart(response.body, init?.signal ?? new AbortController().signal)
    const { status, headers } = response
    // A response of our own may have no status above 599 or below 200, and no body with some of them; and no reason phrase in another alphabet, so it has none.
    const isBare = parts.length === 0 || [204, 205, 304].includes(status)
    const own = { status: Math.max(200, Math.min(status, 599)), headers }
    return new Response(isBare ? null : new Blob(parts), own)
  }
}

/** Whether a response says that it is one JSON document. */
export function isJson(response: Response): boolean {
  return /^\s*application\/(?:[\w.-]+\+)?json\b/i.test(response.headers.get('content-type') ?? '')
}

async function readStart(
  body: ReadableStream<Uint8Array> | null,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const reader = readBody(body, signal)
  const parts: Uint8Array<ArrayBuffer>[] = []
  let room = MAX_DOCUMENT_BYTES
  try {
    while (room > 0) {
      const { value, done } = await reader.next()
      if (signal.aborted) throw signal.reason
      if (done) break
      const part = new Uint8Array(value.subarray(0, room))
      room -= part.length
      parts.push(part)
    }
  } catch {
    if (signal.aborted) throw signal.reason
    // Cut, or not compressed as it says: it is the same refusal all the same.
  } finally {
    reader.cancel()
  }
  return parts
}
