import { setTimer } from '../src/timer.ts'
import type { Frame, Frames } from '../src/types.ts'

/** What the write loop needs of a platform's stream: Node's `Writable` has it, and Lambda's response stream too. */
export interface Sink {
  write(chunk: string): boolean
  once(event: 'drain', listener: () => void): unknown
  off(event: 'drain', listener: () => void): unknown
}

export interface WriteOptions {
  /** Aborts when the reader is gone: nothing is written after that. */
  readonly signal: AbortSignal
  /** How long a reader may take nothing while something waits for it, in milliseconds. */
  readonly stallTimeoutMs: number
  /** Sends what stands before the frames. It runs where the first frame does not come at once; else that takes it along. */
  readonly flush?: (() => void) | undefined
}

export type Outcome = 'ended' | 'gone' | 'stalled'

/** Characters of one write. A longer frame is written in pieces, because a reader must take each write in time. */
const WRITE_LENGTH = 128 * 1024

/**
 * Writes every frame and waits whenever the sink asks for it, so that a slow reader costs one buffer and no more.
 * Resolves to `stalled` when the reader took nothing for too long. It does not end the sink.
 */
export async function writeFrames(sink: Sink, frames: Frames, options: WriteOptions): Promise<Outcome> {
  const { signal, flush } = options
  let flushing = flush && setTimer(flush, 0)
  // Noted once: a signal checks who asks it, which costs as much as a write of ours.
  let gone = signal.aborted
  const onAbort = (): void => void (gone = true)
  signal.addEventListener('abort', onAbort, { once: true })

  // Told rather than awaited: a frame is written by whoever made it, in the same turn.
  function writeAll(resolve: (outcome: Outcome) => void, reject: (error: unknown) => void): void {
    let asking = false
    let again = false

    // In a loop: however many frames are there already, none waits on the stack for the next.
    function proceed(): void {
      again = true
      if (asking) return
      asking = true
      while (again) {
        again = false
        if (gone) resolve('gone')
        else if (frames.pull) frames.pull(onFrame)
        else frames.next().then(onFrame, reject)
      }
      asking = false
    }

    function onFrame(frame: Frame | Promise<Frame>): void {
      if ('then' in frame) return void frame.then(onFrame, reject)
      try {
        take(frame)
      } catch (error) {
        reject(error)
      }
    }

    function take({ value, done }: Frame): void {
      if (flushing) {
        clearTimeout(flushing)
        flushing = undefined
      }
      if (done) return resolve('ended')
      if (gone) return resolve('gone')
      if (value.length > WRITE_LENGTH) return writePieces(value)
      if (sink.write(value)) return proceed()
      // False means taken, but no more please.
      whenDrained(proceed)
    }

    function writePieces(text: string): void {
      const end = endOfPiece(text)
      const more = sink.write(text.slice(0, end))
      const rest = text.slice(end)
      const resume = rest === '' ? proceed : () => writePieces(rest)
      if (more) resume()
      else whenDrained(resume)
    }

    function whenDrained(resume: () => void): void {
      drained(sink, options)
        .then((more) => {
          if (more) resume()
          else resolve(gone ? 'gone' : 'stalled')
        })
        .catch(reject)
    }

    proceed()
  }

  try {
    return await new Promise(writeAll)
  } finally {
    clearTimeout(flushing)
    signal.removeEventListener('abort', onAbort)
    await frames.return?.()
  }
}

/** Where the first piece of a long text ends: not within a character. */
function endOfPiece(text: string): number {
  const splitsPair = /[\ud800-\udbff]/.test(text.charAt(WRITE_LENGTH - 1))
  return WRITE_LENGTH - (splitsPair ? 1 : 0)
}

/** Resolves true on `drain`, false when the reader is gone or stalls: a closed stream never drains. */
function drained(sink: Sink, { signal, stallTimeoutMs }: WriteOptions): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(false)
    const timer = setTimer(() => settle(false), stallTimeoutMs)
    const onDrain = (): void => settle(true)
    const onAbort = (): void => settle(false)
    function settle(result: boolean): void {
      clearTimeout(timer)
      sink.off('drain', onDrain)
      signal.removeEventListener('abort', onAbort)
      resolve(result)
    }
    sink.once('drain', onDrain)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}
