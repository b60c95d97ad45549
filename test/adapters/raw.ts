import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** A TCP connection that speaks HTTP by hand, and remembers every read. */
export interface Wire {
  readonly socket: Socket
  /** What came, one entry per read. */
  readonly reads: readonly string[]
  readonly text: string
  send(text: string): void
  /** Resolves once what came holds `part`, as often as `times`; rejects when it does not come. */
  until(part: string, times?: number): Promise<string>
  /** Resolves with everything when the other side has ended or closed. */
  readonly closed: Promise<string>
  /** FIN: closes in order. RST: as a crashed machine or a killed browser does. */
  leave(how?: 'FIN' | 'RST'): void
}

const PATIENCE_MS = 10_000

/** Connects to a server of this machine. */
export async function dial(port: number): Promise<Wire> {
  const socket = connect(port, '127.0.0.1')
  const reads: string[] = []
  const waiting = new Set<() => void>()
  let text = ''
  let over = false
  socket.setEncoding('utf8')
  socket.on('data', (piece: string) => {
    reads.push(piece)
    text += piece
    for (const check of waiting) check()
  })
  socket.on('error', () => {}) // a reset is an end like any other here
  const closed = new Promise<string>((resolve) => {
    const end = (): void => {
      over = true
      for (const check of waiting) check()
      resolve(text)
    }
    socket.once('end', end)
    socket.once('close', end)
  })
  await once(socket, 'connect')

  return {
    socket,
    reads,
    get text() {
      return text
    },
    send: (more) => void socket.write(more),
    until(part, times = 1) {
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => fail('in time'), PATIENCE_MS)
        function settle(): void {
          clearTimeout(timer)
          waiting.delete(check)
        }
        function fail(when: string): void {
          settle()
          reject(
            new Error(`${JSON.stringify(part)} did not come ${when}: ${JSON.stringify(text.slice(-500))}`),
          )
        }
        function check(): void {
          if (text.split(part).length > times) {
            settle()
            resolve(text)
          } else if (over) fail('before the end')
        }
        waiting.add(check)
        check()
      })
    },
    closed,
    leave(how = 'FIN') {
      if (how === 'RST') socket.resetAndDestroy()
      else socket.destroy()
    },
  }
}

/** The head and the body of one raw answer; the body without its chunk sizes. */
export function split(answer: string): {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
} {
  const [head = '', ...rest] = answer.split('\r\n\r\n')
  const lines = head.split('\r\n').slice(1)
  const headers = Object.fromEntries(
    lines.map((line) =>
      line
        .toLowerCase()
        .split(/: (.*)/s)
        .slice(0, 2),
    ),
  )
  const raw = rest.join('\r\n\r\n')
  const body = headers['transfer-encoding'] === 'chunked' ? dechunk(raw) : raw
  return { status: Number(head.split(' ')[1]), headers, body }
}

// Sizes count bytes.
function dechunk(text: string): string {
  const bytes = Buffer.from(text)
  const pieces: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const line = bytes.indexOf('\r\n', at)
    const size = Number.parseInt(bytes.toString('latin1', at, line), 16)
    if (line < 0 || !(size > 0)) break
    pieces.push(bytes.subarray(line + 2, line + 2 + size))
    at = line + 4 + size
  }
  return Buffer.concat(pieces).toString()
}

/** A raw POST of JSON. */
export function post(path: string, body: unknown, headers: readonly string[] = []): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return [
    `POST ${path} HTTP/1.1`,
    'Host: localhost',
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(text)}`,
    ...headers,
    '',
    text,
  ].join('\r\n')
}

/** A raw request without a body. */
export function bare(line: string, headers: readonly string[] = []): string {
  return [`${line} HTTP/1.1`, 'Host: localhost', ...headers, '', ''].join('\r\n')
}
