// A model that speaks OpenAI's API and writes what the prompt orders: a process of its own, as cheap as can be.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { serve } from './parent.ts'
import { closing, nowUs, type Order, toBytes, tokenOf } from './tokens.ts'
import { createWheel } from './wheel.ts'

/** What became of one answer, as the model saw it. */
export interface Trace {
  /** When each token was written. */
  readonly tokensUs: number[]
  /** When the connection was closed before the end. */
  closedUs?: number
}

/** Of this process, since it began. */
export interface UpstreamState {
  readonly connections: number
  /** Bytes of answers that connections have taken from it. */
  readonly handedOver: number
  readonly traces: Readonly<Record<string, Trace>>
}

const wheel = createWheel()
const sockets = new Set<Socket>()
const traces: Record<string, Trace> = {}
let connections = 0
let closedBytes = 0

const server = createServer({ keepAliveTimeout: 600_000, requestTimeout: 0 }, (request, response) => {
  answer(request, response).catch(() => response.writeHead(400).end())
})
server.on('connection', (socket: Socket) => {
  connections++
  sockets.add(socket)
  socket.setNoDelay(true)
  socket.on('error', () => {}) // who left, left
  socket.on('close', () => {
    sockets.delete(socket)
    closedBytes += socket.bytesWritten
  })
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const { port } = server.address() as AddressInfo // it listens on TCP
  console.log(`listening on http://127.0.0.1:${port}`)
})
serve({
  async state(): Promise<UpstreamState> {
    let handedOver = closedBytes
    // `bytesWritten` counts what waits in this process, too.
    for (const socket of sockets) handedOver += socket.bytesWritten - socket.writableLength
    return { connections, handedOver, traces }
  },
})

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await textOf(request)
  const order = orderOf(body)
  const socket = request.socket
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
  response.flushHeaders()
  const trace: Trace = { tokensUs: [] }
  if (order.trace !== undefined) traces[order.trace] = trace
  response.on('close', () => {
    if (!response.writableFinished) trace.closedUs = nowUs()
  })

  let seq = 0
  let sum = 0
  /** The next `count` tokens as events, from `role` on, to `usage` and `[DONE]`. */
  function events(count: number): string[] {
    const list = seq === 0 ? [event({ role: 'assistant', content: '' })] : []
    for (const last = Math.min(order.events, seq + count); seq < last;) {
      const atUs = nowUs()
      sum += atUs
      const token = tokenOf(++seq, atUs)
      if (order.trace !== undefined) trace.tokensUs.push(atUs)
      list.push(seq < order.events ? textEvent(token) : event({ content: token + closing(sum) }))
    }
    if (seq === order.events) list.push(event({}, 'stop'), ...usage(body, seq), 'data: [DONE]\n\n')
    return list
  }
  const over = (): boolean => seq === order.events || socket.destroyed

  if (order.everyMs > 0) {
    const start = performance.now()
    const { everyMs, group = 1 } = order
    let writes = 0
    const write = (): void => {
      if (socket.destroyed) return
      // What one write holds is one chunk of HTTP, too. It bypasses the response, which would do the same for more.
      const chunks = events(group)
      socket.write(writes === 0 ? chunks.map(chunk).join('') : chunk(chunks.join('')), 'latin1')
      if (over()) response.end()
      else wheel.at(start + ++writes * everyMs, write)
    }
    write()
  } else {
    while (!over()) {
      // One chunk of HTTP for each event, as models write them.
      if (!socket.write(events(64).map(chunk).join(''), 'latin1')) await drained(socket)
    }
    response.end()
  }
}

function chunk(bytes: string): string {
  return `${bytes.length.toString(16)}\r\n${bytes}\r\n`
}

const before =
  'data: {"id":"chatcmpl-CgS0vQ7mC2aPq1bXr9TnEwYkLz4Ud","object":"chat.completion.chunk","created":1764279722,' +
  '"model":"bench","service_tier":"default","system_fingerprint":"fp_b547601dbd","choices":[{"index":0,"delta":'
const behind = ',"logprobs":null,"finish_reason":null}]}\n\n'

/** A token has nothing that JSON would escape. */
function textEvent(token: string): string {
  return `${before}{"content":"${token}"}${behind}`
}

function event(delta: object, finish?: string): string {
  const text = `${before}${JSON.stringify(delta)}${behind}`
  return toBytes(
    finish === undefined ? text : text.replace('"finish_reason":null', `"finish_reason":"${finish}"`),
  )
}

/** Only where the request asked for it. */
function usage(body: string, tokens: number): string[] {
  if (!/"include_usage": *true/.test(body)) return []
  const choices = '"choices":[{"index":0,"delta":'
  const counts = { prompt_tokens: 20, completion_tokens: tokens, total_tokens: tokens + 20 }
  return [`${before.slice(0, -choices.length)}"choices":[],"usage":${JSON.stringify(counts)}}\n\n`]
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done)
      resolve()
    }
    socket.on('drain', done).on('close', done)
  })
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const piece of request.setEncoding('utf8')) text += piece
  return text
}

/** The last message's text, which some clients send in parts. @throws when there is none. */
function orderOf(body: string): Order {
  const { messages } = JSON.parse(body) as { messages: { content: string | { text: string }[] }[] } // of OpenAI's API
  const content = messages.at(-1)!.content
  return JSON.parse(typeof content === 'string' ? content : content.map(({ text }) => text).join('')) as Order
}
