import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One question that reached the model; what it answers is said word by word. */
export interface Question {
  /** Which of the models was asked. */
  readonly model: string
  readonly text: string
  say(word: string): void
  finish(): void
  /** Resolves when the connection is closed, or the answer complete. */
  readonly closed: Promise<void>
}

/** A model's server that says a word when it is told to, and nothing by itself. */
export interface StepModel {
  /** What a client calls its base URL. */
  readonly url: string
  readonly questions: readonly Question[]
  stop(): Promise<void>
}

/** Starts one; every question is added to `all` too, which several can share. */
export async function startStepModel(name: string, all: Question[]): Promise<StepModel> {
  const questions: Question[] = []
  const server = createServer((request, response) => {
    response.on('error', () => {}) // who asked may leave at any time
    void textOf(request).then(
      (text) => {
        const question = answering(name, text, response)
        questions.push(question)
        all.push(question)
      },
      () => {}, // it left before it had asked
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  return {
    url: `http://127.0.0.1:${port}/v1`,
    questions,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

function answering(model: string, text: string, response: ServerResponse): Question {
  const closed = new Promise<void>((resolve) => void response.once('close', () => resolve()))
  function write(delta: object, finish: string | null = null): void {
    if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' })
    const choices = [{ index: 0, delta, finish_reason: finish }]
    const chunk = { id: 'c', object: 'chat.completion.chunk', created: 0, model: 'step', choices }
    response.write(`data: ${JSON.stringify(chunk)}\n\n`)
  }
  return {
    model,
    text,
    say: (word) => write({ content: word }),
    finish() {
      write({}, 'stop')
      response.end('data: [DONE]\n\n')
    },
    closed,
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const piece of request.setEncoding('utf8')) text += piece
  return text
}
