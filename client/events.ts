import { createParser, type EventSourceMessage } from 'eventsource-parser'
import type { Connection } from './connection.ts'
import type { Host } from './host.ts'

/** How long a stream that has said its last word may take to end. */
const GRACE_MS = 1_000

/** Reads a stream of events. What its end cuts off in the middle is no event. */
export async function* readEvents(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  connection: Connection,
): AsyncGenerator<EventSourceMessage, void, undefined> {
  const decoder = new TextDecoder()
  const arrived: EventSourceMessage[] = []
  const parser = createParser({ onEvent: (event) => void arrived.push(event) })
  for (;;) {
    const { done, value } = await connection.wait(reader.read(), 'incomplete')
    if (done) return
    parser.feed(decoder.decode(value, { stream: true }))
    for (const event of arrived.splice(0)) {
      connection.signal.throwIfAborted()
      yield event
    }
  }
}

/**
 * Lets a stream that is over end by itself: the next question can then take the same connection, and no browser
 * reports a request that was broken off.
 */
export async function fade(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  connection: Connection,
  host: Host,
): Promise<void> {
  const cancel = host.setTimer(connection.close, GRACE_MS)
  try {
    while (!(await reader.read()).done);
  } catch {
    // Broken off after all: everything had been said.
  } finally {
    cancel()
    connection.close()
  }
}
