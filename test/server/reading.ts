import { type Asking, open } from '../hosts/client.ts'

/** What a reader has of a stream: whole events only, as any client of event streams counts. */
export interface Part {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  /** Whether the stream came to an end of its own, and was not cut by the reader. */
  readonly ended: boolean
}

/** Reads a stream, and breaks the connection as soon as so many events are there. Heartbeats are left out. */
export async function readPart(url: string, asking: Asking, events = Infinity): Promise<Part> {
  const response = await open(url, asking)
  const decoder = new TextDecoder()
  let text = ''
  let ended = events > 0
  try {
    if (ended) {
      for await (const piece of response) {
        text += decoder.decode(piece as Buffer, { stream: true })
        if (countEvents(text) < events) continue
        ended = false
        break
      }
    }
  } catch {
    ended = false
  }
  response.destroy()
  const { statusCode: status = 0, headers } = response
  const isStream = String(headers['content-type']).startsWith('text/event-stream')
  const whole = isStream ? text.slice(0, text.lastIndexOf('\n\n') + 2).replaceAll(': \n\n', '') : text
  return { status, headers, text: text.includes('\n\n') || !isStream ? whole : '', ended }
}

/** Events in a text, comments aside. */
export function countEvents(text: string): number {
  return text.split('\n\n').length - 1 - (text.split(': \n\n').length - 1)
}

/** The number of the last event of our own dialect; 0 when there is none. */
export function lastId(text: string): number {
  return Number([...text.matchAll(/^id: (\d+)$/gm)].at(-1)?.[1] ?? 0)
}

/** Asks for what came after an event of a reply. */
export function after(id: string, seq: number): Asking {
  return { path: `/chat/${id}`, headers: seq > 0 ? { 'last-event-id': String(seq) } : {} }
}

/** What a reader went through. */
export interface Reading {
  /** The bytes of all its parts, one after the other. */
  readonly text: string
  readonly parts: readonly Part[]
}

/**
 * Reads a reply of our own dialect to its end: with every part it comes to the next of these addresses, and says what
 * it has. `events` says after how many the connection breaks each time.
 */
export async function readOn(
  urls: readonly string[],
  id: string,
  { from = '', events = () => Infinity }: { readonly from?: string; readonly events?: () => number } = {},
): Promise<Reading> {
  const parts: Part[] = []
  let text = from
  while (!isOver(text)) {
    const url = urls[parts.length % urls.length]!
    const part = await readPart(url, after(id, lastId(text)), events())
    parts.push(part)
    if (part.status !== 200) break
    text += part.text
  }
  return { text, parts }
}

/** Whether a stream of our own dialect has its last event. */
export function isOver(text: string): boolean {
  return /^data: \{"type":"(?:finish|error)"/m.test(text)
}

/** The reply's id, as the head says it. */
export function idOf({ headers }: Part): string {
  return String(headers['x-reply-id'])
}
