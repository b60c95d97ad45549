import type { Connection, Pending } from './connection.ts'
import { createChecker, elapsedMs, nowUs, type Order } from './tokens.ts'
import { createDecoder, type WireName } from './wires.ts'

/** How a subject is asked; plain data, for another process. */
export interface Question {
  readonly host: string
  readonly port: number
  readonly path: string
  readonly wire: WireName
  /** The JSON of its body, with `PROMPT` (in quotes) where the prompt is to be. */
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

/** What is wrong with an answer. */
export interface Problem {
  /** `wrong` text is never excusable; `failed` is what an overloaded server may do. */
  readonly kind: 'wrong' | 'failed'
  readonly text: string
}

export interface Hooks {
  /** With the first token, and how long after the question it came. */
  onFirst?(afterMs: number): void
  /** With each token: how long it was on its way. */
  onToken?(delayMs: number): void
  onBytes?(bytes: number): void
  onEnd(problem?: Problem): void
}

/** One answer as it arrives; its text is checked as it comes. */
export interface Stream {
  readonly tokens: number
  /** Leaves, and waits for nothing. */
  destroy(): void
}

/** The request as it is on the wire. */
export function toRequest({ host, port, path, body, headers }: Question, order: Order): string {
  const text = body.replace('"PROMPT"', JSON.stringify(JSON.stringify(order)))
  const lines = Object.entries({
    host: `${host}:${port}`,
    'content-type': 'application/json',
    accept: 'text/event-stream',
    'content-length': String(text.length), // nothing in it is beyond ASCII
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n${text}`
}

/** Asks, and hands every token to the hooks. */
export function openStream(connection: Connection, question: Question, order: Order, hooks: Hooks): Stream {
  const decoder = createDecoder(question.wire)
  const checker = createChecker(order.events)
  const askedUs = nowUs()
  let readUs = 0
  let over = false

  function end(problem?: Problem): void {
    if (over) return
    over = true
    hooks.onEnd(problem)
  }

  const onToken = (atUs: number): void => hooks.onToken?.(elapsedMs(atUs, readUs))
  const { host, port } = question
  const pending: Pending = connection.ask(
    { host, port, request: toRequest(question, order) },
    {
      onBody(body, bytes) {
        hooks.onBytes?.(bytes)
        const text = decoder.push(body)
        if (text === '' || over) return
        readUs = nowUs()
        if (checker.count === 0) hooks.onFirst?.(elapsedMs(askedUs, readUs))
        try {
          checker.take(text, onToken)
        } catch (error) {
          pending.destroy()
          end({ kind: 'wrong', text: (error as Error).message })
        }
      },
      onEnd(failure) {
        if (failure !== undefined) return end({ kind: 'failed', text: failure })
        const problem = checker.problem() ?? (decoder.ended ? undefined : 'The end of the stream is missing.')
        end(problem === undefined ? undefined : { kind: 'wrong', text: problem })
      },
    },
  )
  return {
    get tokens() {
      return checker.count
    },
    destroy() {
      over = true
      pending.destroy()
    },
  }
}
