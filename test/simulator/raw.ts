import { request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { Agent } from 'node:http'
import type { Simulator } from '../../simulator/index.ts'

/** What came back over a plain HTTP connection, however it ended. */
export interface RawAnswer {
  readonly status: number | undefined
  readonly headers: IncomingHttpHeaders
  readonly bytes: Buffer
  readonly text: string
  /** `complete`: a proper end. `cut`: closed before. `open`: nobody closed it, until we did. */
  readonly ended: 'complete' | 'cut' | 'open'
}

export interface RawOptions {
  readonly headers?: Record<string, string>
  /** Leave as soon as the answer holds this text; `''` leaves when the headers are there. */
  readonly until?: string | undefined
  readonly agent?: Agent
  /** Below `/v1`. Default `/chat/completions`. */
  readonly path?: string
}

/** Sends a body and collects what comes. */
export function ask(simulator: Simulator, body: object, options: RawOptions = {}): Promise<RawAnswer> {
  const { headers, until, agent, path = '/chat/completions' } = options
  return new Promise((resolve) => {
    const pieces: Buffer[] = []
    const finish = (ended: RawAnswer['ended'], status?: number, received: IncomingHttpHeaders = {}): void => {
      const bytes = Buffer.concat(pieces)
      resolve({ status, headers: received, bytes, text: bytes.toString(), ended })
    }
    const asking = request(`${simulator.url}${path}`, {
      method: 'POST',
      agent: agent ?? false,
      headers: { authorization: 'Bearer any', 'content-type': 'application/json', ...headers },
    })
    asking.on('response', (response) => {
      const leave = async (): Promise<void> => {
        // One round trip later, whatever the server had still to say is here.
        await fetch(`${simulator.url}/models`, { headers: { authorization: 'Bearer any' } })
        if (response.readableEnded || response.destroyed) return
        finish('open', response.statusCode, response.headers)
        asking.destroy()
      }
      let leaving = until === ''
      if (leaving) void leave()
      response.on('data', (piece: Buffer) => {
        pieces.push(piece)
        if (leaving || until === undefined || !Buffer.concat(pieces).includes(until)) return
        leaving = true
        void leave()
      })
      response.on('end', () => finish('complete', response.statusCode, response.headers))
      response.on('error', () => finish('cut', response.statusCode, response.headers))
    })
    asking.on('error', () => finish('cut'))
    asking.end(JSON.stringify(body))
  })
}

/** A chat request with one user message. */
export function chat(content: string, more: object = {}): object {
  return { model: 'any', stream: true, messages: [{ role: 'user', content }], ...more }
}

/** The JSON of every event of a stream, `[DONE]` as it is. */
export function events(text: string): unknown[] {
  return text
    .split('\n\n')
    .filter((block) => block.startsWith('data: '))
    .map((block) => (block === 'data: [DONE]' ? '[DONE]' : (JSON.parse(block.slice(6)) as unknown)))
}
