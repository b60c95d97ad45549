import { errorBody, RequestError } from '../errors.ts'
import type { ErrorBody } from '../errors.ts'
import { jsonHead, toSteps } from '../exchange.ts'
import type { Exchange } from '../exchange.ts'
import type { Step } from '../play.ts'
import { completionOf } from '../wire.ts'
import type { Fault } from './fault.ts'

const page = '<!doctype html><title>Bad gateway</title><h1>502 Bad Gateway</h1><p>nginx</p>\n'

/** Faults a client sees in the status, in the headers or in the kind of body. */
export const httpFaults: readonly Fault[] = [
  {
    name: 'rate-limit',
    about: '429 with Retry-After.',
    params: { status: 429, retryAfter: 2 },
    play: (_, { status, retryAfter }) =>
      refuse(
        status,
        errorBody('Rate limit reached. Please try again later.', 'requests', null, 'rate_limit_exceeded'),
        {
          'Retry-After': String(retryAfter),
          'X-RateLimit-Remaining-Requests': '0',
        },
      ),
  },
  {
    name: 'no-quota',
    about: '429 because the account has no money left: trying again does not help.',
    play: () => {
      const text = 'You exceeded your current quota, please check your plan and billing details.'
      return refuse(429, errorBody(text, 'insufficient_quota', null, 'insufficient_quota'))
    },
  },
  {
    name: 'server-error',
    about: 'A status of the 5xx kind with an error in JSON.',
    params: { status: 500 },
    play: (_, { status }) =>
      refuse(status, errorBody('The server had an error while processing your request.', 'server_error')),
  },
  {
    name: 'overloaded',
    about: '503, or 529 as some servers say it, with Retry-After.',
    params: { status: 503, retryAfter: 2 },
    play: (_, { status, retryAfter }) =>
      refuse(
        status,
        errorBody('The engine is currently overloaded.', 'overloaded_error', null, 'overloaded'),
        {
          'Retry-After': String(retryAfter),
        },
      ),
  },
  {
    name: 'unauthorized',
    about: '401: the key is wrong.',
    play: () => {
      return refuse(
        401,
        errorBody('Incorrect API key provided.', 'invalid_request_error', null, 'invalid_api_key'),
      )
    },
  },
  {
    name: 'forbidden',
    about: '403: the key may not do this.',
    play: () => refuse(403, errorBody('You have insufficient permissions.', 'invalid_request_error')),
  },
  {
    name: 'unknown-model',
    about: '404: there is no such model.',
    play: () =>
      refuse(404, errorBody('The model does not exist.', 'invalid_request_error', null, 'model_not_found')),
  },
  {
    name: 'context-length',
    about: '400: the conversation is too long for the model.',
    play: () => {
      const text =
        "This model's maximum context length is 8192 tokens. Please reduce the length of the messages."
      return refuse(400, errorBody(text, 'invalid_request_error', 'messages', 'context_length_exceeded'))
    },
  },
  {
    name: 'reject-stream-options',
    about: '400 whenever the body has stream_options, as older compatible servers say it.',
    play: (exchange) =>
      rejectField(exchange, 'stream_options', 'Unrecognized request argument supplied: stream_options'),
  },
  {
    name: 'reject-max-tokens',
    about: '400 whenever the body has max_tokens, as reasoning models say it.',
    play: (exchange) => {
      const text =
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
      return rejectField(exchange, 'max_tokens', text)
    },
  },
  {
    name: 'reject-field',
    about: '400 whenever the body has the named field.',
    params: { field: 'temperature' },
    play: (exchange, { field }) =>
      rejectField(exchange, field, `Unsupported parameter: '${field}' is not supported with this model.`),
  },
  {
    name: 'redirect',
    about: '307 to another address: `to`, or the same port under another name.',
    params: { status: 307, to: '' },
    play: ({ origin }, { status, to }) => {
      const location = to || `${origin.replace('127.0.0.1', 'localhost')}/redirected`
      return [{ do: 'head', status, headers: { Location: location } }]
    },
  },
  {
    name: 'html',
    about: 'A web page instead of an answer.',
    params: { status: 200 },
    play: (_, { status }) => [
      { do: 'head', status, headers: { 'Content-Type': 'text/html; charset=utf-8' } },
      { do: 'write', data: page },
    ],
  },
  {
    name: 'empty-body',
    about: '200 with the right headers and nothing else.',
    params: { status: 200 },
    play: ({ head }, { status }) => [{ ...head, status }],
  },
  {
    name: 'json-instead-of-stream',
    about: 'The whole answer as one JSON object although a stream was asked for.',
    streamOnly: true,
    play: ({ reply }) => [jsonHead(200), { do: 'write', data: JSON.stringify(completionOf(reply)) }],
  },
  {
    name: 'wrong-content-type',
    about: 'A proper body that calls itself text/plain.',
    play: (exchange) => withHeaders(exchange, { 'Content-Type': 'text/plain' }),
  },
]

/** Sends the answer properly, but with other headers. */
export function withHeaders(exchange: Exchange, headers: Readonly<Record<string, string>>): Step[] {
  const head = { ...exchange.head, headers: { ...exchange.head.headers, ...headers } }
  return toSteps({ ...exchange, head }, exchange.frames)
}

function refuse(status: number, body: ErrorBody, headers: Readonly<Record<string, string>> = {}): Step[] {
  return [jsonHead(status, headers), { do: 'write', data: JSON.stringify(body) }]
}

function rejectField(exchange: Exchange, field: string, message: string): Step[] {
  if (!(field in exchange.chat.raw)) return toSteps(exchange, exchange.frames)
  return refuse(400, new RequestError(400, message, field, 'unsupported_parameter').body)
}
