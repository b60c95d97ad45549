import type { EventSourceMessage } from 'eventsource-parser'
import type { ChatDelta } from '../src/types.ts'
import { ChatClientError, Trouble } from './errors.ts'

/** What one reader has of a reply. */
export interface Reading {
  /** The number of the last delta it has. */
  readonly cursor: number
  /** Whether what is cut can be had again. */
  readonly resumable: boolean
  /** The service says that it keeps nothing. */
  forgo(): void
  /**
   * Reads an event: the next delta; undefined for one that is there already.
   * @throws `Trouble` for what is worth another try, `ChatClientError` for what is not.
   */
  take(event: EventSourceMessage): ChatDelta | undefined
}

export function createReading(cursor: number): Reading {
  let resumable = true
  /** The stream was wrong, and has not been right since. */
  let wrong = false

  /** What may be somebody's in between is asked for once more; the second time it is true. */
  function mistake(code: string, message: string): Error {
    const error = new ChatClientError(code, message, { retryable: false })
    if (wrong || !resumable) return error
    wrong = true
    return new Trouble(error)
  }

  return {
    get cursor() {
      return cursor
    },
    get resumable() {
      return resumable
    },
    forgo() {
      resumable = false
    },
    take({ id, data }) {
      const delta = parse(data)
      if (!delta) throw mistake('unreadable', 'The server sent something that is not an answer.')
      if (id === undefined && resumable && delta.type === 'error') {
        // In no log, so it is about this reader and not about the reply.
        if (delta.retryable) throw new Trouble(new ChatClientError(delta.code, delta.message))
        return delta
      }
      if (id === undefined) resumable = false
      const seq = id === undefined ? cursor + 1 : Number(id)
      // NaN, or 0: an id that is no number, or empty.
      if (!(seq > 0)) throw mistake('unreadable', `The server sent the event id "${id}".`)
      if (seq <= cursor) return undefined
      if (seq > cursor + 1) throw mistake('gap', `After delta ${cursor} the server sent ${seq}.`)
      cursor = seq
      wrong = false
      return delta
    },
  }
}

function parse(data: string): ChatDelta | undefined {
  try {
    const delta = JSON.parse(data) as ChatDelta | null
    // Kinds that are newer than this client are passed on: ignoring them is up to who shows them.
    return typeof delta?.type === 'string' ? delta : undefined
  } catch {
    return undefined
  }
}
