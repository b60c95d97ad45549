import { createServer, type ServerResponse } from 'node:http'
import { listen, readAll } from '../lambda/sockets.ts'

/** Answers one request of a host; what it does not end stays open until the upstream is closed. */
export type Script = (response: ServerResponse) => void | Promise<void>

/** A model's server that says what the test wants, to whichever host asks. */
export interface Upstream {
  /** The base URL for a client. */
  readonly url: string
  /** How every request is answered from now on. */
  script: Script
  /** The bodies of the requests so far. */
  readonly asked: readonly unknown[]
  close(): Promise<void>
}

/** Starts an upstream on a free local port; until it is told otherwise it says `Hello.` */
export async function startUpstream(): Promise<Upstream> {
  const asked: unknown[] = []
  const server = createServer((request, response) => {
    void readAll(request).then(async (body) => {
      asked.push(JSON.parse(body.toString()))
      response.on('error', () => {}) // A host may leave at any time.
      await self.script(response)
    })
  })
  const { port, close } = await listen(server)
  const self: Upstream = {
    url: `http://127.0.0.1:${port}/v1`,
    script: stream(answer('Hello.')),
    asked,
    close,
  }
  return self
}

/** One event of a chat completion. */
export function chunk(delta: object, finish: string | null = null): string {
  const choices = [{ index: 0, delta, finish_reason: finish }]
  return `data: ${JSON.stringify({ id: 'c1', object: 'chat.completion.chunk', model: 'm', choices })}\n\n`
}

export const role = chunk({ role: 'assistant', content: '' })
export const say = (content: string): string => chunk({ content })
export const finish = (reason: string): string => chunk({}, reason)
export const usage = (input: number, output: number): string =>
  `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: input, completion_tokens: output } })}\n\n`
export const done = 'data: [DONE]\n\n'

/** A whole answer of these tokens. */
export function answer(...tokens: readonly string[]): string {
  return [role, ...tokens.map(say), finish('stop'), usage(3, tokens.length), done].join('')
}

/** Sends these pieces as an event stream and ends it. */
export function stream(...pieces: readonly (string | Uint8Array)[]): Script {
  return async (response) => {
    openStream(response)
    for (const piece of pieces) await send(response, piece)
    response.end()
  }
}

/** Sends these pieces and then breaks the connection. */
export function cut(...pieces: readonly string[]): Script {
  return async (response) => {
    openStream(response)
    for (const piece of pieces) await send(response, piece)
    response.socket?.destroySoon()
  }
}

/** Sends these pieces and then nothing more. */
export function stall(...pieces: readonly string[]): Script {
  return async (response) => {
    openStream(response)
    for (const piece of pieces) await send(response, piece)
  }
}

/** Refuses with a status and a JSON document. */
export function refuse(status: number, body: unknown, headers: Record<string, string> = {}): Script {
  return (response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  }
}

export function openStream(response: ServerResponse, type = 'text/event-stream'): void {
  response.writeHead(200, { 'content-type': type }).flushHeaders()
}

/** Writes one piece as a packet of its own, as far as the system lets us; waits when the host is slow. */
export function send(response: ServerResponse, piece: string | Uint8Array): Promise<void> {
  if (response.destroyed || response.write(piece)) return new Promise(setImmediate)
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off('drain', settle)
      response.off('close', settle)
      resolve()
    }
    response.on('drain', settle)
    response.on('close', settle)
  })
}
