import { connect, type Socket } from 'node:net'
import { createResponseReader, type ResponseReader } from './response.ts'

/** What is asked: where, with what, and how often. */
export interface Target {
  readonly host: string
  readonly port: number
  /** The whole request, as it is on the wire. */
  readonly request: string
}

export interface Listener {
  /** Called with each piece of the body, and how many bytes came with it. */
  onBody(body: string, bytes: number): void
  /** Called once: the response is whole, or why it is not. */
  onEnd(problem?: string): void
}

/** One answer that is on its way. */
export interface Pending {
  /** Closes the connection, without a word. */
  destroy(): void
}

/** A client that keeps its connection for its next question, as browsers and programs do. */
export interface Connection {
  /** One at a time. */
  ask(target: Target, listener: Listener): Pending
  close(): void
}

// Reads are taken apart before the next one comes, so that all connections share this.
const buffer = Buffer.allocUnsafe(65_536)

/** Connects with the first question; without `reads` it never takes anything from the network. */
export function createConnection({ reads = true }: { readonly reads?: boolean } = {}): Connection {
  let socket: Socket | undefined
  let reader: ResponseReader
  let listener: Listener | undefined

  function end(problem?: string): void {
    const ending = listener
    listener = undefined
    ending?.onEnd(problem)
  }

  function onBytes(size: number): boolean {
    if (!listener) return true
    const body = reader.push(buffer.toString('latin1', 0, size))
    if (body !== '' || size > 0) listener.onBody(body, size)
    if (!reader.ended) return true
    if (!reader.reusable) close()
    end(reader.status === 200 ? undefined : `It was answered with ${reader.status}.`)
    return true
  }

  function open({ host, port }: Target): Socket {
    const callback = onBytes
    const opened = connect({ host, port, noDelay: true, onread: { buffer, callback } })
    if (!reads) opened.pause()
    opened.on('error', (error: NodeJS.ErrnoException) => {
      if (socket === opened) end(`The connection failed: ${error.code}.`)
    })
    opened.on('close', () => {
      if (socket !== opened) return
      socket = undefined
      // Without a length the end of the connection is the end of the body, and the text says whether it is whole.
      end(reader.status === 200 && !reader.reusable ? undefined : 'The connection was closed.')
    })
    return opened
  }

  function close(): void {
    const closing = socket
    socket = undefined
    closing?.destroy()
  }

  return {
    ask(target, asking) {
      reader = createResponseReader()
      listener = asking
      socket ??= open(target)
      socket.write(target.request, 'latin1')
      return {
        destroy() {
          if (listener !== asking) return
          listener = undefined
          close()
        },
      }
    },
    close,
  }
}
