import { type IncomingMessage, request as ask } from 'node:http'
import type { Delta } from './truth.ts'

/** An answer whose head is there. */
export interface Reply {
  readonly status: number
  readonly replyId: string | undefined
  header(name: string): string | undefined
  /** Whether it is a stream of events. */
  readonly stream: boolean
  /** Each event as it comes, until the stream ends in whatever way. `left` ends it from this side. */
  events(): AsyncGenerator<Frame, void>
  /** The body of what is no stream. */
  text(): Promise<string>
  /** Bytes so far. */
  readonly bytes: number
  leave(): void
}

/** One event. `seq` is undefined where it has no id. */
export interface Frame {
  readonly seq: number | undefined
  readonly delta: Delta
}

export interface Request {
  readonly method: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | undefined
  /** How long the head may take, and any silence after it. */
  readonly silenceMs: number
  /** Leaves by itself after so many bytes of the body: in the middle of a frame. */
  readonly cutAtBytes?: number | undefined
}

/** A silence that is longer than it may be. */
export class Silence extends Error {
  override readonly name = 'Silence'
}

/**
 * Asks a server, without any client library. Rejects when there is no connection, or it breaks before the head, and
 * with `Silence` when no head comes.
 */
export function send(url: string, request: Request): Promise<Reply> {
  const { method, headers = {}, body, silenceMs } = request
  return new Promise((resolve, reject) => {
    const all = { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
    const outgoing = ask(url, { method, headers: all, agent: false }, (response) => {
      outgoing.off('error', reject)
      outgoing.on('error', () => {}) // the response ends with it
      resolve(toReply(response, request))
    })
    outgoing.on('error', reject)
    outgoing.setTimeout(silenceMs, () => outgoing.destroy(new Silence(`nothing came for ${silenceMs} ms`)))
    outgoing.end(body)
  })
}

function toReply(response: IncomingMessage, { silenceMs, cutAtBytes = Infinity }: Request): Reply {
  const { statusCode = 0, headers } = response
  const header = (name: string): string | undefined => headers[name]?.toString()
  let bytes = 0
  let silent = false
  response.setEncoding('utf8')
  response.on('error', () => {})
  response.socket.setTimeout(silenceMs, () => {
    silent = true
    response.destroy()
  })

  async function* pieces(cutAtBytes: number): AsyncGenerator<string, void> {
    try {
      for await (const piece of response as AsyncIterable<string>) {
        bytes += Buffer.byteLength(piece)
        if (bytes <= cutAtBytes) {
          yield piece
          continue
        }
        // What is cut in the middle is not seen, whether or not it came.
        yield piece.slice(0, Math.max(0, piece.length - (bytes - cutAtBytes)))
        return
      }
    } catch {
      // It broke: an end like any other, of which a reader thinks nothing.
    }
    if (silent) throw new Silence(`nothing came for ${silenceMs} ms`)
  }

  return {
    status: statusCode,
    replyId: header('x-reply-id'),
    header,
    stream: statusCode === 200 && header('content-type')?.startsWith('text/event-stream') === true,
    async *events() {
      let rest = ''
      for await (const piece of pieces(cutAtBytes)) {
        rest += piece
        for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
          const frame = parse(rest.slice(0, end))
          rest = rest.slice(end + 2)
          if (frame) yield frame
        }
      }
    },
    async text() {
      let text = ''
      for await (const piece of pieces(Infinity)) text += piece
      return text
    },
    get bytes() {
      return bytes
    },
    leave: () => void response.destroy(),
  }
}

/** An event of the lines `id: …` and `data: …`; undefined for comments. */
function parse(text: string): Frame | undefined {
  let seq: number | undefined
  let data: string | undefined
  for (const line of text.split('\n')) {
    if (line.startsWith('id: ')) seq = Number(line.slice(4))
    else if (line.startsWith('data: ')) data = line.slice(6)
    else if (!line.startsWith(':')) throw new Error(`Not an event of ours: ${JSON.stringify(text)}`)
  }
  return data === undefined ? undefined : { seq, delta: JSON.parse(data) as Delta }
}
