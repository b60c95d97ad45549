import type { ServerResponse } from 'node:http'
import type { Pace } from './pace.ts'

/** One thing a server does on the wire. What follows the last step is the proper end of the body. */
export type Step =
  /** Sends status and headers. `by-close`: the body ends with the connection, as in HTTP/1.0. */
  | {
      readonly do: 'head'
      readonly status: number
      readonly headers: Readonly<Record<string, string>>
      readonly delimited?: 'by-close'
    }
  /** Sends data; with `turn`, when that token is due. */
  | { readonly do: 'write'; readonly data: string | Uint8Array; readonly turn?: number }
  /** Sends data one byte a write. */
  | { readonly do: 'bytes'; readonly data: Uint8Array }
  /** Sends the same again and again: every so often, or (`turn`) at the pace of tokens from that one on. */
  | {
      readonly do: 'repeat'
      readonly data: string
      readonly times: number
      readonly everyMs?: number
      readonly turn?: number
    }
  /** Waits until that token is due. */
  | { readonly do: 'wait'; readonly turn: number }
  | { readonly do: 'pause'; readonly ms: number }
  /** Does nothing more, for as long as the client stays. */
  | { readonly do: 'hold' }
  /** Resets the connection (RST). */
  | { readonly do: 'reset' }
  /** Closes the connection in order (FIN) but in the middle of the body. */
  | { readonly do: 'fin' }

/** Where steps are carried out, and who hears of it. */
export interface Stage {
  readonly response: ServerResponse
  readonly pace: Pace
  readonly onToken: () => void
  /** The connection is about to be closed before the body is complete. */
  readonly onCut: () => void
}

/** Carries out the steps. Returns when they are done or the client has gone. */
export async function play(steps: Iterable<Step>, stage: Stage): Promise<void> {
  const { response, pace, onToken, onCut } = stage
  for (const step of steps) {
    if (pace.stopped) return
    switch (step.do) {
      case 'head':
        sendHead(response, step)
        break
      case 'write':
        if (step.turn !== undefined) {
          await pace.turn(step.turn)
          if (pace.stopped) return
          onToken()
        }
        if (!response.write(step.data)) await drained(response)
        break
      case 'bytes':
        await writeBytes(response, step.data, pace)
        break
      case 'repeat':
        await repeat(step, stage)
        break
      case 'wait':
        await pace.turn(step.turn)
        break
      case 'pause':
        await pace.pause(step.ms)
        break
      case 'hold':
        await pace.hold()
        break
      case 'reset':
        await flushed(response)
        onCut()
        response.socket?.resetAndDestroy()
        return
      case 'fin':
        await flushed(response)
        onCut()
        response.socket?.end()
        return
    }
  }
  if (!pace.stopped) response.end()
}

function sendHead(response: ServerResponse, { status, headers, delimited }: Step & { do: 'head' }): void {
  response.statusCode = status
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
  if (delimited === 'by-close') {
    response.setHeader('Connection', 'close')
    response.removeHeader('Transfer-Encoding')
  }
  response.flushHeaders()
}

async function repeat(
  { data, times, everyMs, turn }: Step & { do: 'repeat' },
  { response, pace, onToken }: Stage,
): Promise<void> {
  for (let count = 0; count < times; count++) {
    if (everyMs !== undefined) await pace.pause(everyMs)
    if (turn !== undefined) await pace.turn(turn + count)
    if (pace.stopped) return
    if (turn !== undefined) onToken()
    if (!response.write(data)) await drained(response)
    // Without pauses this would never let anything else run, not even the news that the client has gone.
    if (count % 256 === 255) await new Promise((resolve) => setImmediate(resolve))
  }
}

async function writeBytes(response: ServerResponse, data: Uint8Array, pace: Pace): Promise<void> {
  for (let at = 0; at < data.length && !pace.stopped; at++) {
    // The callback comes after the write has left, so that each byte is a write of its own.
    await new Promise<void>((resolve) => response.write(data.subarray(at, at + 1), () => resolve()))
  }
}

/** Resolves on `drain`, or on `close` when the client has gone. */
function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed) return Promise.resolve()
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

/** Resolves when everything written so far is with the operating system. */
function flushed({ socket }: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    if (!socket || socket.destroyed) resolve()
    else socket.write('', () => resolve())
  })
}
