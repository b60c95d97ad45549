// The servers that ours is compared with, each in a process of its own: `node servers.mjs upstream`, `plain`, `pipe`.
import { createServer, type IncomingMessage, request as ask, Agent, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a benchmark asks for, as the JSON text of its prompt. */
export interface Order {
  readonly events: number
  /** 0 sends everything at once. */
  readonly everyMs: number
}

type Write = (token: string, seq: number) => void

const streamHeaders = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform' }
const agent = new Agent({ keepAlive: true })

const servers = {
  /** A model that speaks OpenAI's API: every token is the moment at which it was written. */
  async upstream(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const order = orderOf(await textOf(request))
    response.writeHead(200, streamHeaders)
    await pace(order, response, (token) => response.write(chunk({ content: token }, null)))
    response.write(chunk({}, 'stop'))
    response.end('data: [DONE]\n\n')
  },

  /** Writes the events of ours by itself: nothing in between. */
  async plain(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const order = orderOf(await textOf(request))
    response.writeHead(200, streamHeaders)
    await pace(order, response, (token, seq) => {
      response.write(`id: ${seq}\ndata: {"type":"text","text":"${token}"}\n\n`)
    })
    response.end()
  },

  /** Hands the upstream's bytes on without looking at them: as little as anything in between can do. */
  pipe(request: IncomingMessage, response: ServerResponse): void {
    const headers = { 'content-type': 'application/json' }
    const target = `${process.env['OPENAI_BASE_URL']}/chat/completions`
    const upstream = ask(target, { method: 'POST', headers, agent }, (answer) => {
      response.writeHead(200, streamHeaders)
      answer.pipe(response)
    })
    request.pipe(upstream)
  },
}

const server = createServer((request, response) => {
  void servers[process.argv[2] as keyof typeof servers](request, response)
})
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo // it listens on TCP
  console.log(`listening on http://127.0.0.1:${port}`)
})

/** Calls `write` when each event is due, counted from the start, so that a late timer delays one and not the rest. */
async function pace({ events, everyMs }: Order, response: ServerResponse, write: Write): Promise<void> {
  const start = performance.now()
  for (let seq = 1; seq <= events && !response.destroyed; seq++) {
    const waitMs = start + seq * everyMs - performance.now()
    if (everyMs > 0 && waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
    // A clock that all processes of a machine share.
    write(`@${process.hrtime.bigint()}@`, seq)
  }
}

function chunk(delta: object, finishReason: string | null): string {
  const choices = [{ index: 0, delta, logprobs: null, finish_reason: finishReason }]
  const fields = { id: 'chatcmpl-0', object: 'chat.completion.chunk', created: 0, model: 'bench', choices }
  return `data: ${JSON.stringify(fields)}\n\n`
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const piece of request.setEncoding('utf8')) text += piece
  return text
}

function orderOf(text: string): Order {
  const { prompt, messages } = JSON.parse(text) // by the benchmark itself, as it is or through a subject
  return JSON.parse(prompt ?? messages.at(-1).content) as Order
}
