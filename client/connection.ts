import { ChatClientError, Trouble } from './errors.ts'
import type { Host } from './host.ts'

/** One request, from its first byte to its last. */
export interface Connection {
  readonly signal: AbortSignal
  /** How long the other side has been heard for. */
  readonly heardMs: number
  /** Waits for something of the other side. @throws `Trouble` when it breaks or is silent for too long; the reason, when left. */
  wait<T>(work: Promise<T>, broken: string): Promise<T>
  /** Gives up when the silence has been too long, which a timer may not have noticed: it sleeps when the computer does. */
  check(): void
  /** Ends it, whatever it is doing. */
  close(): void
}

export interface ConnectionOptions {
  readonly host: Host
  readonly silenceMs: number
  /** Aborts when nobody wants this any more. */
  readonly leaving: AbortSignal
  readonly onStall: () => void
}

export function openConnection({ host, silenceMs, leaving, onStall }: ConnectionOptions): Connection {
  const controller = new AbortController()
  const { signal } = controller
  const openedAt = host.now()
  let heardAt = openedAt
  let waitingSince: number | undefined
  const leave = (): void => controller.abort(leaving.reason)
  leaving.addEventListener('abort', leave)
  if (leaving.aborted) leave()

  function stall(): void {
    if (signal.aborted) return
    const seconds = Math.round(silenceMs / 1000)
    const error = new ChatClientError('stalled', `Nothing came from the server for ${seconds} s.`)
    controller.abort(new Trouble(error))
    onStall()
  }

  return {
    signal,
    get heardMs() {
      return heardAt - openedAt
    },
    async wait(work, broken) {
      waitingSince = host.now()
      const cancel = host.setTimer(stall, silenceMs)
      try {
        const result = await work
        heardAt = host.now()
        return result
      } catch (cause) {
        signal.throwIfAborted()
        throw new Trouble(toBreak(broken, cause))
      } finally {
        cancel()
        waitingSince = undefined
      }
    },
    check() {
      if (waitingSince !== undefined && host.now() - waitingSince >= silenceMs) stall()
    },
    close() {
      leaving.removeEventListener('abort', leave)
      controller.abort()
    },
  }
}

const BREAKS: Readonly<Record<string, string>> = {
  unreachable: 'The server cannot be reached. Is it running, and are you online?',
  incomplete: 'The connection ended before the answer was finished.',
}

export function toBreak(code: string, cause?: unknown): ChatClientError {
  return new ChatClientError(code, BREAKS[code] ?? code, { cause })
}
