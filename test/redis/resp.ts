import { connect, type Socket } from 'node:net'

/** A connection to Redis without any client library: RESP2 on a socket. */
export interface RespConnection {
  /** Sends a command and gives its answer: a text, a number, null, or an array of them. Errors of Redis are thrown. */
  command(args: readonly (string | number)[]): Promise<unknown>
  close(): void
}

type Waiter = { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }

/** An error that Redis answered with. */
export class RespError extends Error {
  override readonly name = 'RespError'
}

/** Connects; commands are answered in order, and rejected when the connection ends. */
export async function connectResp(port: number, password?: string): Promise<RespConnection> {
  const waiting: Waiter[] = []
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.once('connect', resolve)
  })
  const fail = (error: Error): void => {
    for (const { reject } of waiting.splice(0)) reject(error)
  }
  socket.on('error', fail)
  socket.on('close', () => fail(new Error('The connection to Redis is closed.')))
  answerFrom(socket, waiting)

  function command(args: readonly (string | number)[]): Promise<unknown> {
    if (socket.destroyed) return Promise.reject(new Error('The connection to Redis is closed.'))
    return new Promise((resolve, reject) => {
      waiting.push({ resolve, reject })
      const words = args.map((arg) => `$${Buffer.byteLength(String(arg))}\r\n${arg}\r\n`)
      socket.write(`*${words.length}\r\n${words.join('')}`)
    })
  }

  if (password !== undefined) await command(['AUTH', password])
  return { command, close: () => void socket.destroy() }
}

function answerFrom(socket: Socket, waiting: Waiter[]): void {
  let bytes: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    bytes = bytes.length > 0 ? Buffer.concat([bytes, chunk]) : chunk
    for (;;) {
      const answer = parse(bytes, 0)
      if (!answer) return
      bytes = bytes.subarray(answer.end)
      const waiter = waiting.shift()
      if (answer.value instanceof RespError) waiter?.reject(answer.value)
      else waiter?.resolve(answer.value)
    }
  })
}

/** Reads one RESP2 value; undefined when it is not all there yet. */
function parse(bytes: Buffer, from: number): { readonly value: unknown; readonly end: number } | undefined {
  const line = bytes.indexOf('\r\n', from)
  if (line < 0) return undefined
  const text = bytes.toString('utf8', from + 1, line)
  const end = line + 2
  switch (bytes.toString('latin1', from, from + 1)) {
    case '+':
      return { value: text, end }
    case '-':
      return { value: new RespError(text), end }
    case ':':
      return { value: Number(text), end }
    case '$':
      return bulk(bytes, end, Number(text))
    case '*':
      return array(bytes, end, Number(text))
    default:
      throw new Error(`Not RESP2: ${JSON.stringify(bytes.toString('latin1', from, line))}`)
  }
}

function bulk(bytes: Buffer, from: number, length: number): ReturnType<typeof parse> {
  if (length < 0) return { value: null, end: from }
  const end = from + length
  return bytes.length < end + 2 ? undefined : { value: bytes.toString('utf8', from, end), end: end + 2 }
}

function array(bytes: Buffer, from: number, length: number): ReturnType<typeof parse> {
  if (length < 0) return { value: null, end: from }
  const items: unknown[] = []
  let end = from
  for (let count = 0; count < length; count++) {
    const item = parse(bytes, end)
    if (!item) return undefined
    items.push(item.value)
    end = item.end
  }
  return { value: items, end }
}
