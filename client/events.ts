import { createParser, type EventSourceMessage } from 'eventsource-parser'
import type { Connection } from './connection.ts'

/** Reads a stream of events. What its end cuts off in the middle is no event. */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  connection: Connection,
): AsyncGenerator<EventSourceMessage, void, undefined> {
  const reader = body.getReader()
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
