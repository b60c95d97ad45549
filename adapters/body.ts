import { ChatError } from '../src/errors.ts'
import { decodeUtf8, notUtf8, tooLarge } from '../src/http.ts'
import type { Connection } from './connection.ts'

/** What reading a body needs of Node's `IncomingMessage`. */
export interface IncomingBody {
  /** Set by a body parser that ran before us. */
  readonly body?: unknown
  readonly readableEnded?: boolean
  readonly destroyed?: boolean
  /** Whether all of the body has arrived, read or not. */
  readonly complete?: boolean | undefined
  readonly socket?: Connection | null | undefined
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  on(event: 'end' | 'close' | 'error', listener: () => void): unknown
  off(event: 'data', listener: (chunk: Uint8Array) => void): unknown
  off(event: 'end' | 'close' | 'error', listener: () => void): unknown
  pause(): unknown
  resume(): unknown
}

export interface BodyOptions {
  readonly maxBytes: number
  /** How long the whole body may take to arrive, in milliseconds. */
  readonly bodyTimeoutMs: number
}

/**
 * Reads a request body as UTF-8 text. A body that was parsed already is written as JSON again. The rest of a body that
 * is refused is left unread, for `dropRest`.
 *
 * @throws `ChatError`: `body-too-large` as soon as it is, `request-timeout`, `invalid-json` when it breaks off.
 */
export function readText(request: IncomingBody, { maxBytes, bodyTimeoutMs }: BodyOptions): Promise<string> {
  const { body } = request
  if (body !== undefined) return Promise.resolve(body).then(textOf)
  if (request.readableEnded) {
    const text = 'Something before this handler read the body and did not leave it in `request.body`.'
    return Promise.reject(new ChatError('internal', text))
  }
  // Its `close` was emitted before anything listened.
  if (request.destroyed) return Promise.reject(brokenOff())
  return new Promise((resolve, reject) => {
    const decoder = new TextDecoder('utf-8', { fatal: true })
    let text = ''
    let size = 0
    const timer = setTimeout(() => {
      const message = `The body did not arrive within ${bodyTimeoutMs} ms.`
      settle(() => reject(new ChatError('request-timeout', message)))
    }, bodyTimeoutMs)

    function onData(chunk: Uint8Array): void {
      size += chunk.length
      if (size > maxBytes) return settle(() => reject(tooLarge(maxBytes)))
      decode(chunk)
    }
    function onEnd(): void {
      if (decode()) settle(() => resolve(text))
    }
    // What is no UTF-8 is refused at once: to replace each such byte takes many times as long as to decode it.
    function decode(chunk?: Uint8Array): boolean {
      try {
        text += chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode()
        return true
      } catch {
        settle(() => reject(notUtf8()))
        return false
      }
    }
    const onBroken = (): void => settle(() => reject(brokenOff()))

    function settle(answer: () => void): void {
      clearTimeout(timer)
      request.off('data', onData)
      request.off('end', onEnd)
      request.off('close', onBroken)
      request.off('error', onBroken)
      request.on('error', ignore)
      if (request.complete === false) request.pause()
      else request.resume() // what has arrived is dropped
      answer()
    }

    request.on('data', onData)
    request.on('end', onEnd)
    request.on('close', onBroken)
    request.on('error', onBroken)
  })
}

function brokenOff(): ChatError {
  return new ChatError('invalid-json', 'The body broke off before its end.')
}

/** What a body parser left: text, bytes (serverless-http leaves those too), or a value. */
function textOf(body: unknown): string {
  if (body instanceof Uint8Array) return decodeUtf8(body)
  return typeof body === 'string' ? body : JSON.stringify(body)
}

function ignore(): void {}
