import type { IncomingMessage, ServerResponse } from 'node:http'

/** What a client asked, and how it ended. */
export interface SimulatorRequest {
  readonly method: string
  /** Path with query, as it came. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** The parsed body; `undefined` without one or while it arrives, a string when it is not JSON. */
  readonly body: unknown
  /** The fault that was chosen for it. */
  readonly fault: string | undefined
  /** Tokens sent so far. */
  readonly tokens: number
  readonly receivedAt: number
  /** The exchange is over, whoever ended it. */
  readonly closed: boolean
  readonly closedAt: number | undefined
  /** It was over before the answer was complete, and not because a fault closed it: the client left. */
  readonly hungUp: boolean
  /** Resolves when the exchange is over. */
  readonly done: Promise<void>
}

/** A request as the server keeps it while it is answered. */
export type OpenRequest = { -readonly [Key in keyof SimulatorRequest]: SimulatorRequest[Key] } & {
  /** The simulator itself ended the connection. */
  ended: boolean
}

/** Begins the record of a request, closed when its response is. */
export function openRequest(
  request: IncomingMessage,
  response: ServerResponse,
  now: () => number,
): OpenRequest {
  const { promise, resolve } = deferred()
  const record: OpenRequest = {
    method: request.method ?? '',
    path: request.url ?? '',
    headers: request.headers,
    body: undefined,
    fault: undefined,
    tokens: 0,
    receivedAt: now(),
    closed: false,
    closedAt: undefined,
    hungUp: false,
    done: promise,
    ended: false,
  }
  response.once('close', () => {
    record.closed = true
    record.closedAt = now()
    record.hungUp = !response.writableFinished && !record.ended
    resolve()
  })
  return record
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((settle) => {
    resolve = settle
  })
  return { promise, resolve }
}
