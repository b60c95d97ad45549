import { gzipSync } from 'node:zlib'
import { begin, divide, rewrite, toSteps } from '../exchange.ts'
import type { Exchange } from '../exchange.ts'
import type { Step } from '../play.ts'
import { frameText } from '../wire.ts'
import type { Frame } from '../wire.ts'
import type { Fault } from './fault.ts'
import { withHeaders } from './http.ts'

/** Faults of the connection: silence, endings in the wrong place, odd packets and encodings. */
export const connectionFaults: readonly Fault[] = [
  { name: 'no-response', about: 'Takes the request and never answers.', play: () => [{ do: 'hold' }] },
  { name: 'reset', about: 'Takes the request and resets the connection.', play: () => [{ do: 'reset' }] },
  {
    name: 'slow-headers',
    about: 'Waits before the response headers, then answers properly.',
    params: { ms: 6000 },
    play: (exchange, { ms }) => [{ do: 'pause', ms }, ...toSteps(exchange, exchange.frames)],
  },
  {
    name: 'stall-after-headers',
    about: 'Sends the headers and nothing more; the connection stays open.',
    play: ({ head }) => [head, { do: 'hold' }],
  },
  {
    name: 'stall',
    about: 'Falls silent in the middle; the connection stays open.',
    params: { after: 3 },
    play: (exchange, { after }) => [...begin(exchange, after), { do: 'hold' }],
  },
  {
    name: 'pause',
    about: 'Falls silent in the middle for a while, then goes on to the proper end.',
    params: { after: 3, ms: 2000 },
    play: (exchange, { after, ms }) => {
      const first = begin(exchange, after)
      return [...first, { do: 'pause', ms }, ...toSteps(exchange, exchange.frames).slice(first.length)]
    },
  },
  {
    name: 'comment-drip',
    about: 'Sends comments for ever instead of the rest of the answer.',
    params: { after: 0, ms: 1000 },
    streamOnly: true,
    play: (exchange, { after, ms }) => [
      ...(after > 0 ? begin(exchange, after) : [exchange.head]),
      { do: 'repeat', data: ': PROCESSING\n\n', times: Infinity, everyMs: ms },
    ],
  },
  {
    name: 'cut',
    about: 'Resets the connection in the middle (RST).',
    params: { after: 3 },
    play: (exchange, { after }) => [...begin(exchange, after), { do: 'reset' }],
  },
  {
    name: 'fin',
    about: 'Closes the connection in the middle of a chunked body (FIN, no last chunk).',
    params: { after: 3 },
    play: (exchange, { after }) => [...begin(exchange, after), { do: 'fin' }],
  },
  {
    name: 'eof',
    about:
      'Ends in the middle of a body that is delimited by the close of the connection: nothing tells it was cut.',
    params: { after: 3 },
    play: (exchange, { after }) => {
      return begin({ ...exchange, head: { ...exchange.head, delimited: 'by-close' } }, after)
    },
  },
  {
    name: 'truncated',
    about: 'Ends the body in order in the middle of the answer.',
    params: { after: 3 },
    play: (exchange, { after }) => begin(exchange, after),
  },
  {
    name: 'close-after-idle',
    about: 'Answers properly and keeps the connection; resets it when the next request comes on it.',
    play: (exchange) => toSteps(exchange, exchange.frames),
  },
  {
    name: 'burst',
    about: 'Many small chunks in one packet.',
    params: { count: 10_000 },
    streamOnly: true,
    play: ({ head, frames, say }, { count }) => {
      const [first, rest] = divide(frames, 0)
      const text = Array.from({ length: count }, (_, index) => say(`${index} `))
      return [
        head,
        { do: 'write', data: [...first.map(frameText), ...text, ...rest.map(frameText)].join('') },
      ]
    },
  },
  {
    name: 'trickle',
    about: 'One character per event, one event every `ms`.',
    params: { ms: 1 },
    streamOnly: true,
    play: ({ head, frames, reply, say }, { ms }) => {
      const [first, rest] = divide(frames, 0)
      const write = (frame: Frame): Step => ({ do: 'write', data: frameText(frame) })
      const letters = [...reply.content.join('')].flatMap((letter): Step[] => [
        { do: 'pause', ms },
        { do: 'write', data: say(letter) },
      ])
      const silent = rest.filter(({ kind }) => kind !== 'token')
      return [head, ...first.map(write), ...letters, ...silent.map(write)]
    },
  },
  {
    name: 'endless',
    about: 'Never stops talking.',
    streamOnly: true,
    play: ({ head, frames, say }) => [
      head,
      ...divide(frames, 0)[0].map((frame): Step => ({ do: 'write', data: frameText(frame) })),
      {
        do: 'repeat',
        data: say(' and so on,'),
        times: Infinity,
        turn: 0,
      },
    ],
  },
  {
    name: 'huge-line',
    about: 'One line of many bytes that never ends; then the body does.',
    params: { after: 3, bytes: 64 * 1024 * 1024 },
    streamOnly: true,
    play: (exchange, { after, bytes }) => [
      ...begin(exchange, after),
      { do: 'write', data: 'data: {"choices":[{"index":0,"delta":{"content":"' },
      ...filler(bytes),
    ],
  },
  {
    name: 'huge-event',
    about: 'One correct event of many bytes in the middle of the answer.',
    params: { after: 3, bytes: 2 * 1024 * 1024 },
    streamOnly: true,
    play: (exchange, { after, bytes }) => {
      const first = begin(exchange, after)
      const [open = '', close = ''] = exchange.say('\0').split('\\u0000')
      const rest = toSteps(exchange, exchange.frames).slice(first.length)
      return [...first, { do: 'write', data: open }, ...filler(bytes), { do: 'write', data: close }, ...rest]
    },
  },
  {
    name: 'split-utf8',
    about: 'Text in many scripts, one byte a write.',
    needs: 'scripts',
    play: ({ head, frames }) => [head, { do: 'bytes', data: Buffer.from(frames.map(frameText).join('')) }],
  },
  {
    name: 'invalid-utf8',
    about: 'A byte that is not UTF-8 inside a text.',
    params: { after: 3 },
    streamOnly: true,
    play: (exchange, { after }) => {
      const first = begin(exchange, after)
      const [open = '', close = ''] = exchange.say('\0').split('\\u0000')
      const data = Buffer.concat([Buffer.from(open), Buffer.of(0xff), Buffer.from(close)])
      return [...first, { do: 'write', data }, ...toSteps(exchange, exchange.frames).slice(first.length)]
    },
  },
  {
    name: 'gzip',
    about: 'The body compressed, and labelled so, although nobody asked.',
    play: (exchange) => {
      const [head] = withHeaders(exchange, { 'Content-Encoding': 'gzip' }).filter(
        (step) => step.do === 'head',
      )
      return [...(head ? [head] : []), { do: 'write', data: gzipSync(bodyOf(exchange)) }]
    },
  },
  {
    name: 'wrong-charset',
    about: 'The body in ISO 8859-1, and labelled so.',
    needs: 'scripts',
    play: (exchange) => {
      const label = `${exchange.head.headers['Content-Type']?.split(';')[0]}; charset=iso-8859-1`
      return withHeaders(exchange, { 'Content-Type': label }).map((step) => {
        return step.do === 'write' ? { ...step, data: latin1(String(step.data)) } : step
      })
    },
  },
  {
    name: 'bom',
    about: 'A byte order mark before the first event.',
    play: (exchange) => {
      const steps = toSteps(exchange, exchange.frames)
      const at = steps.findIndex((step) => step.do === 'head') + 1
      return [...steps.slice(0, at), { do: 'write', data: '\ufeff' }, ...steps.slice(at)]
    },
  },
  {
    name: 'crlf',
    about: 'Lines end with CR LF.',
    streamOnly: true,
    play: (exchange) => rewrite(toSteps(exchange, exchange.frames), (text) => text.replaceAll('\n', '\r\n')),
  },
  {
    name: 'split-crlf',
    about: 'Lines end with CR LF, one byte a write.',
    streamOnly: true,
    needs: 'scripts',
    play: (exchange) => [
      exchange.head,
      { do: 'bytes', data: Buffer.from(bodyOf(exchange).replaceAll('\n', '\r\n')) },
    ],
  },
  {
    name: 'cr-only',
    about: 'Lines end with CR alone.',
    streamOnly: true,
    play: (exchange) => rewrite(toSteps(exchange, exchange.frames), (text) => text.replaceAll('\n', '\r')),
  },
]

function bodyOf({ frames }: Exchange): string {
  return frames.map(frameText).join('')
}

/** What the charset lacks becomes a question mark; by itself Node would keep the low byte, which may be a quote. */
function latin1(text: string): Buffer {
  return Buffer.from(text.replace(/[^\0-\xff]/gu, '?'), 'latin1')
}

function filler(bytes: number): Step[] {
  const size = 64 * 1024
  const whole: Step = { do: 'repeat', data: 'x'.repeat(size), times: Math.floor(bytes / size) }
  return [whole, { do: 'write', data: 'x'.repeat(bytes % size) }]
}
