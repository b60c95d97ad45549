import { createServer } from 'node:http'
import { listen } from './sockets.ts'

/** Lets a test decide when a handler in another process goes on. */
export interface Gate {
  /** A handler that fetches `${url}/name` waits until `open(name)`. */
  readonly url: string
  /** Lets one waiting handler through, or the next that comes. */
  open(name: string): void
  close(): Promise<void>
}

/** Starts a gate on a free local port. */
export async function startGate(): Promise<Gate> {
  const handlers = new Map<string, (() => void)[]>()
  const opened = new Map<string, number>()

  const server = createServer({ requestTimeout: 0 }, (request, response) => {
    const name = request.url?.slice(1) ?? ''
    const credit = opened.get(name) ?? 0
    if (credit > 0) {
      opened.set(name, credit - 1)
      response.end()
    } else {
      handlers.set(name, [...(handlers.get(name) ?? []), () => response.end()])
    }
  })
  const { port, close } = await listen(server)

  return {
    url: `http://127.0.0.1:${port}`,
    open(name) {
      const next = handlers.get(name)?.shift()
      if (next) next()
      else opened.set(name, (opened.get(name) ?? 0) + 1)
    },
    close,
  }
}
