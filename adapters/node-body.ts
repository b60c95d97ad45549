import type { IncomingMessage } from 'node:http'
import { pipeline, type Readable } from 'node:stream'
import { constants, createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'

/** A body as `ReadableStream` has it, as far as `getReader()` goes. */
export interface NodeBody {
  getReader(): NodeBodyReader
}

type Read = ReadableStreamReadResult<Uint8Array>

export interface NodeBodyReader {
  /** One at a time. */
  read(): Promise<Read>
  /** As `read()`, told instead of promised, at once or later. */
  pull(onRead: (read: Read) => void, onBroken: (cause: unknown) => void): void
  /** Gives up what is left, and the connection with it. Does nothing once the body has been read to its end. */
  cancel(reason?: unknown): Promise<void>
}

/** Above this the connection is not read any further until somebody takes what is there. */
const HIGH_WATER_BYTES = 64 * 1024

/**
 * Reads a response in the pieces it arrives in; what arrives together is one or two of them.
 *
 * By hand over `data` events: leaving the stream's own iterator destroys the connection, and web streams cost several
 * times as much for each piece. Read to its end, the connection is free for the next request. Where the connection
 * broke because `signal` aborted, that is the reason.
 */
export function toNodeBody(message: IncomingMessage, signal?: AbortSignal | null): NodeBody {
  const source = decoded(message)
  let pieces: Uint8Array[] = []
  let bytes = 0
  let over = false
  let failure: Error | undefined
  let tell: ((read: Read) => void) | undefined
  let refuse: (cause: unknown) => void

  source.on('data', (piece: Uint8Array) => {
    if (over) return
    if (tell) return answer({ value: piece, done: false })
    pieces.push(piece)
    bytes += piece.length
    if (bytes > HIGH_WATER_BYTES) source.pause()
  })
  source.on('end', finish)
  source.on('error', finish)
  source.on('close', () => {
    if (!over) finish(new Error('The connection was closed in the middle of the body.'))
  })

  function finish(error?: Error): void {
    if (!over) failure = error
    over = true
    serve()
  }

  // The first piece of several goes by itself, to whoever waits; those that come with it are the next.
  function serve(): void {
    if (!tell) return
    if (pieces.length > 0) return answer({ value: take(), done: false })
    if (!over) return
    if (!failure) return answer({ value: undefined, done: true })
    tell = undefined
    refuse(signal?.aborted ? signal.reason : failure)
  }

  function answer(read: Read): void {
    const waiting = tell
    tell = undefined
    waiting?.(read)
  }

  function take(): Uint8Array {
    const value = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, bytes)
    if (bytes > HIGH_WATER_BYTES) source.resume()
    pieces = []
    bytes = 0
    return value
  }

  const reader: NodeBodyReader = {
    read() {
      return new Promise((resolve, reject) => reader.pull(resolve, reject))
    },
    pull(onRead, onBroken) {
      tell = onRead
      refuse = onBroken
      serve()
    },
    async cancel() {
      if (over) return
      pieces = []
      bytes = 0
      finish()
      message.destroy()
    },
  }
  return { getReader: () => reader }
}

/** The body without the compression that the server says it has. None was asked for; some compress all the same. */
function decoded(message: IncomingMessage): Readable {
  let body: Readable = message
  for (const encoding of (message.headers['content-encoding'] ?? '').split(',').reverse()) {
    const decoder = decoderFor(encoding.trim().toLowerCase(), message)
    // Errors reach the reader as those of the last decoder.
    if (decoder) body = pipeline(body, decoder, () => {})
  }
  return body
}

function decoderFor(encoding: string, message: IncomingMessage) {
  // What is there is given at once: an event must not wait for the next.
  const flush = constants.Z_SYNC_FLUSH
  switch (encoding) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip({ flush, finishFlush: flush })
    case 'deflate':
      return createInflate({ flush, finishFlush: flush })
    case 'br':
      return createBrotliDecompress({ flush: constants.BROTLI_OPERATION_FLUSH })
    case '':
    case 'identity':
      return undefined
    default:
      message.destroy()
      throw new Error(`unknown content-encoding ${encoding}`)
  }
}
