/** How a wire format says a piece of text, and that the answer is whole. */
interface Wire {
  /** The JSON field of an event that holds text, up to the quote that begins it. */
  readonly field: string
  /** In an event without text: nothing is missing. */
  readonly end: string
}

const done = 'data: [DONE]'

const wires = {
  /** OpenAI's chunks. */
  openai: { field: '"content":"', end: done },
  /** The events of ours. */
  events: { field: '"text":"', end: '"type":"finish","reason":"stop"' },
  /** The AI SDK's UI message stream. */
  ui: { field: '"delta":"', end: done },
  /** `{"content": …}` by itself, as tutorials write it. */
  plain: { field: '"content":"', end: done },
} as const satisfies Record<string, Wire>

export type WireName = keyof typeof wires

export interface Decoder {
  /** The stream has said that it is whole. */
  readonly ended: boolean
  /** Gives the text of all events that are complete, as UTF-8 bytes; holds back the others. */
  push(bytes: string): string
}

/** Reads the text out of a stream of events, cut anywhere. Bytes are characters, as `latin1` gives them. */
export function createDecoder(name: WireName): Decoder {
  const { field, end } = wires[name]
  let rest = ''
  let ended = false
  return {
    get ended() {
      return ended
    },
    push(bytes) {
      rest = rest === '' ? bytes : rest + bytes
      let text = ''
      let from = 0
      for (let to; (to = rest.indexOf('\n\n', from)) >= 0; from = to + 2) {
        const event = rest.slice(from, to)
        const at = event.indexOf(field)
        if (at >= 0) text += textAt(event, at + field.length)
        else if (event.includes(end)) ended = true
      }
      rest = rest.slice(from)
      return text
    },
  }
}

/** A JSON string from behind its opening quote on. */
function textAt(event: string, from: number): string {
  const quote = event.indexOf('"', from)
  const plain = event.slice(from, quote)
  if (!plain.includes('\\')) return plain
  let to = from
  while (event[to] !== '"') to += event[to] === '\\' ? 2 : 1
  const json = Buffer.from(event.slice(from - 1, to + 1), 'latin1').toString('utf8')
  return Buffer.from(JSON.parse(json) as string, 'utf8').toString('latin1')
}
