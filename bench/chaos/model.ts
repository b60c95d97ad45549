import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Script, scriptOf, usageOf } from './truth.ts'

/** One request that reached the model. */
export interface ModelCall {
  readonly at: number
  /** When its connection was closed, or its answer complete. */
  closedAt: number | undefined
}

/** A model's server that answers each prompt by its script and remembers who asked what. */
export interface Model {
  /** What a client calls its base URL. */
  readonly url: string
  /** The requests so far, by prompt. */
  readonly calls: ReadonlyMap<string, readonly ModelCall[]>
  stop(): Promise<void>
}

/** Starts a model on a free local port; `now` is the clock of its notes. */
export async function startModel(now: () => number): Promise<Model> {
  const calls = new Map<string, ModelCall[]>()

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {}) // who asked may leave at any time
    const prompt = promptIn(await textOf(request))
    const call: ModelCall = { at: now(), closedAt: undefined }
    calls.set(prompt, [...(calls.get(prompt) ?? []), call])
    response.once('close', () => (call.closedAt = now()))
    await play(scriptOf(prompt), response)
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy()) // the request was cut
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP

  return {
    url: `http://127.0.0.1:${port}/v1`,
    calls,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

async function play(script: Script, response: ServerResponse): Promise<void> {
  const { pieces, everyMs, silentAt, silentMs, usage, ending } = script
  if (ending === 'refused') {
    response.writeHead(500, { 'content-type': 'application/json' })
    response.end('{"error":{"message":"The model is out of order."}}')
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(chunk({ role: 'assistant', content: '' }))
  const since = performance.now()
  for (const [at, content] of pieces.entries()) {
    const dueAt = since + at * everyMs + (at >= silentAt ? silentMs : 0)
    const waitMs = dueAt - performance.now()
    if (waitMs > 0) await sleep(waitMs)
    if (response.destroyed) return
    response.write(chunk({ content }))
  }
  if (ending === 'cut') {
    response.socket?.destroySoon()
    return
  }
  if (ending === 'error') return void response.end('data: {"error":{"message":"The model broke."}}\n\n')
  response.write(chunk({}, ending))
  const { inputTokens, outputTokens } = usageOf(pieces)
  const counted = { prompt_tokens: inputTokens, completion_tokens: outputTokens }
  if (usage) response.write(`data: ${JSON.stringify({ choices: [], usage: counted })}\n\n`)
  response.end('data: [DONE]\n\n')
}

function chunk(delta: object, finish: string | null = null): string {
  const choices = [{ index: 0, delta, finish_reason: finish }]
  return `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 0, model: 'chaos', choices })}\n\n`
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const piece of request.setEncoding('utf8')) text += piece
  return text
}

function promptIn(text: string): string {
  const { messages } = JSON.parse(text) // by a server of ours
  const { content } = messages.at(-1)
  return typeof content === 'string' ? content : content[0].text
}
