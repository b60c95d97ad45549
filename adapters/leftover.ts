import type { IncomingBody } from './body.ts'

/** How much of a body is read after its request was answered, and for how long. */
const MAX_BYTES = 1024 * 1024
const MAX_MS = 2000

/** Whether a part of the request body has not arrived yet. */
export function isIncomplete({ complete, readableEnded, destroyed }: IncomingBody): boolean {
  // A platform that buffers bodies may not have `complete`.
  return complete === false && !readableEnded && !destroyed
}

/**
 * Reads and drops the rest of a request body whose response is written. Resolves to true when the body is complete:
 * the connection can be used again. Resolves to false after 2 s, or when the client disconnects: the connection must
 * be closed.
 *
 * A client that sends first and reads later loses the response if the connection is closed while data arrives, because
 * that sends RST. Therefore a body above 1 MiB is no longer read, but the connection stays open until the 2 s are over.
 */
export function dropRest(request: IncomingBody): Promise<boolean> {
  return new Promise((resolve) => {
    const start = request.socket?.bytesRead ?? 0
    let size = 0
    let settled = false
    const timer = setTimeout(onBroken, MAX_MS)

    function onData(chunk: Uint8Array): void {
      size += chunk.length
      // The connection counts the framing of chunks too, which can be larger than their content.
      const read = (request.socket?.bytesRead ?? 0) - start
      if (Math.max(size, read) >= MAX_BYTES) stop()
    }
    function stop(): void {
      request.pause()
      // The request would still take its buffer full of content, which chunk extensions make as large as they like.
      setImmediate(() => {
        if (!settled && request.socket?.parser) request.socket.pause?.()
      })
    }
    function onEnd(): void {
      settle(true)
    }
    function onBroken(): void {
      settle(false)
    }
    function settle(complete: boolean): void {
      settled = true
      clearTimeout(timer)
      request.off('data', onData)
      request.off('end', onEnd)
      request.off('close', onBroken)
      request.off('error', onBroken)
      request.on('error', () => {}) // of a connection that is closed now
      resolve(complete)
    }

    request.on('data', onData)
    request.on('end', onEnd)
    request.on('close', onBroken)
    request.on('error', onBroken)
    request.resume()
  })
}
