import { type Connection, cutOff } from './connection.ts'

/** Requests that may wait on one connection for the responses before theirs. */
const MAX_WAITING = 16

/** What waiting needs of a response. */
interface Waiting {
  once(event: 'close' | 'socket', listener: () => void): unknown
}

/** The requests that wait on each connection, as what ends their waiting. */
const queues = new WeakMap<Connection, Set<(hasTurn: boolean) => void>>()

/**
 * Waits until a pipelined request may be answered: until the responses before it have ended. Resolves to false when
 * the connection closes before that.
 *
 * Node limits pipelined requests by the output that they have produced, and a request that waits here produces none.
 * Therefore the connection of a request that would be the seventeenth to wait is closed.
 */
export function waitForTurn(connection: Connection, response: Waiting): Promise<boolean> {
  const queue = queues.get(connection) ?? openQueue(connection)
  if (queue.size >= MAX_WAITING) {
    cutOff(connection)
    return Promise.resolve(false)
  }
  return new Promise((resolve) => {
    function settle(hasTurn: boolean): void {
      queue.delete(settle)
      resolve(hasTurn)
    }
    queue.add(settle)
    response.once('socket', () => settle(true))
    response.once('close', () => settle(false))
  })
}

function openQueue(connection: Connection): Set<(hasTurn: boolean) => void> {
  const queue = new Set<(hasTurn: boolean) => void>()
  queues.set(connection, queue)
  // Node does not close the responses that are still waiting when their connection closes.
  connection.once?.('close', () => {
    for (const settle of queue) settle(false)
  })
  return queue
}
