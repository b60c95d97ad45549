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
  let waiting: { resolve(read: Read): void; reject(reason: unknown): void } | undefined

  source.on('data', (piece: Uint8Array) => {
    if (over) return
    pieces.push(piece)
    bytes += piece.length
    if (bytes > HIGH_WATER_BYTES) source.pause()
    serve()
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
    if (!waiting || (pieces.length === 0 && !over)) return
    const { resolve, reject } = waiting
    waiting = undefined
    if (pieces.length > 0) resolve({ value: take(), done: false })
    else if (failure) reject(signal?.aborted ? signal.reason : failure)
    else resolve({ value: undefined, done: true })
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
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        serve()
      })
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
