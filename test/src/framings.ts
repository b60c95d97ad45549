import type { Recording } from './kit.ts'

type Framing = (recording: Pick<Recording, 'bytes'>) => Iterable<Uint8Array<ArrayBuffer>>

const encoder = new TextEncoder()

/** Divides bytes before each of the given positions. */
export function* divide<T extends ArrayBufferLike>(
  bytes: Uint8Array<T>,
  positions: Iterable<number>,
): Generator<Uint8Array<T>> {
  let from = 0
  for (const to of positions) {
    yield bytes.subarray(from, to)
    from = to
  }
  yield bytes.subarray(from)
}

function rewrite(change: (text: string) => string) {
  return ({ bytes }: Pick<Recording, 'bytes'>) => [encoder.encode(change(new TextDecoder().decode(bytes)))]
}

/** Positions in something of this length, each a step after the one before. */
export function* positions(length: number, step: (at: number) => number): Generator<number> {
  for (let at = step(0); at < length; at += step(at)) yield at
}

/** The ways in which the same stream can come over the wire. */
export const framings: Readonly<Record<string, Framing>> = {
  'in one piece': ({ bytes }) => [bytes],
  'byte by byte': ({ bytes }) => divide(bytes, bytes.keys()),
  'in pieces of 1 to 97 bytes': ({ bytes }) =>
    divide(
      bytes,
      positions(bytes.length, (at) => 1 + ((at * 31) % 97)),
    ),
  'cut inside of every character': ({ bytes }) =>
    divide(
      bytes,
      [...bytes.entries()].flatMap(([at, byte]) => (byte >= 0x80 && byte < 0xc0 ? [at] : [])),
    ),
  'with CRLF': rewrite((text) => text.replaceAll('\n', '\r\n')),
  'with CRLF, byte by byte': (recording) => {
    const [bytes = new Uint8Array()] = rewrite((text) => text.replaceAll('\n', '\r\n'))(recording)
    return divide(bytes, bytes.keys())
  },
  'with CR alone': rewrite((text) => text.replaceAll('\n', '\r')),
  'after a byte order mark': rewrite((text) => `\ufeff${text}`),
  'with comments between': rewrite((text) => text.replaceAll('\n\n', '\n\n: PROCESSING\n\n')),
  'with comments inside of events': rewrite((text) => text.replaceAll(/^data:/gm, ': hi\ndata:')),
  'without a space after the colon': rewrite((text) => text.replaceAll(/^data: /gm, 'data:')),
  'with data in several lines': rewrite((text) =>
    text.replaceAll(/^data: ?(\{.*\})$/gm, (_, json: string) =>
      JSON.stringify(JSON.parse(json), null, 1).replaceAll(/^/gm, 'data: '),
    ),
  ),
  'without its last blank line': rewrite((text) => text.trimEnd()),
  'without [DONE]': rewrite((text) => text.replace(/data: ?\[DONE\]\s*$/, '')),
}
