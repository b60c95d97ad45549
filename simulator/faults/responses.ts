import { begin, rewrite, toSteps } from '../exchange.ts'
import { namedEvent, responseOf } from '../responses/wire.ts'
import type { Fault } from './fault.ts'

const error = { code: 'server_error', message: 'The model stopped with an error.' }

/** Faults in the events of the Responses API. */
export const responseFaults: readonly Fault[] = [
  {
    name: 'response-failed',
    about: 'The answer fails in the middle, with `code`.',
    api: 'responses',
    params: { after: 3, code: error.code },
    play: (exchange, { after, code }) => {
      const { reply, chat } = exchange
      const response = { ...responseOf(reply, chat.raw, 'failed'), error: { ...error, code } }
      return [
        ...begin(exchange, after),
        { do: 'write', data: namedEvent({ type: 'response.failed', response, sequence_number: 0 }) },
      ]
    },
  },
  {
    name: 'response-error',
    about: 'An event of the type `error` with `code`, then the end.',
    api: 'responses',
    params: { after: 3, code: error.code },
    play: (exchange, { after, code }) => [
      ...begin(exchange, after),
      { do: 'write', data: namedEvent({ type: 'error', ...error, code, param: null, sequence_number: 0 }) },
    ],
  },
  {
    name: 'keepalive-events',
    about: 'An event that keeps the connection alive, and one nobody knows, before every event.',
    api: 'responses',
    play: (exchange) => {
      const extra = ['keepalive', 'response.unheard.of'].map((type) =>
        namedEvent({ type, sequence_number: 0 }),
      )
      return rewrite(toSteps(exchange, exchange.frames), (text) => extra.join('') + text)
    },
  },
  {
    name: 'unnamed-events',
    about: 'Events without names.',
    api: 'responses',
    play: (exchange) => {
      return rewrite(toSteps(exchange, exchange.frames), (text) => text.replace(/^event: .*\n/gm, ''))
    },
  },
]
