import { describe, expect, test } from 'vitest'
import { ChatError } from '../../../src/errors.ts'
import type { UpstreamDelta } from '../../../src/types.ts'
import { createCompletionParser } from '../../../src/upstreams/completion.ts'
import { createResponsesReader } from '../../../src/upstreams/responses.ts'

type Event = Readonly<Record<string, unknown>>

interface Outcome {
  readonly deltas: readonly UpstreamDelta[]
  readonly failure?: unknown
}

/** Feeds a text and says what came of it, as the upstream would. */
function parse(text: string): Outcome {
  const parser = createCompletionParser({ reader: createResponsesReader(), maxEventBytes: 100_000 })
  parser.feed(new TextEncoder().encode(text))
  parser.end()
  const deltas = [...parser.take()]
  if (parser.failure) return { deltas, failure: parser.failure }
  try {
    return { deltas: [...deltas, ...parser.close()] }
  } catch (failure) {
    return { deltas, failure }
  }
}

function told(events: readonly Event[]): string {
  return events.map((event) => `event: ${String(event['type'])}\ndata: ${JSON.stringify(event)}\n\n`).join('')
}

function event(type: string, fields: object = {}): Event {
  return { type: `response.${type}`, ...fields }
}

const at = { item_id: 'msg_1', output_index: 0, content_index: 0 }
const text = (delta: string, more: object = {}): Event =>
  event('output_text.delta', { ...at, delta, ...more })
const completed = event('completed', { response: { status: 'completed' } })
const stop: UpstreamDelta = { type: 'finish', reason: 'stop' }
const called: UpstreamDelta = { type: 'finish', reason: 'tool-calls' }
const part = (said: string): object => ({ type: 'output_text', text: said, annotations: [] })
const hello: UpstreamDelta = { type: 'text', text: 'Hello' }
const no: UpstreamDelta = { type: 'refusal', text: 'No.' }

function think(delta: string, summary_index = 0, output_index = 0): Event {
  return event('reasoning_summary_text.delta', { item_id: 'rs_1', output_index, summary_index, delta })
}
const thought = (said: string): UpstreamDelta => ({ type: 'reasoning', text: said })

const fn = { type: 'function_call', id: 'fc_1', call_id: 'call_1', name: 'look', arguments: '' }
const inCall = { item_id: 'fc_1', output_index: 0 }
const opened = event('output_item.added', { output_index: 0, item: fn })
const argued = (delta: string, more: object = {}): Event => {
  return event('function_call_arguments.delta', { ...inCall, delta, ...more })
}
const closed = (item: object = {}): Event => {
  return event('output_item.done', { output_index: 0, item: { ...fn, arguments: '{"a":1}', ...item } })
}
const first = (said = ''): UpstreamDelta => {
  return { type: 'tool-call', index: 0, id: 'call_1', name: 'look', arguments: said }
}
const next = (said: string, index = 0): UpstreamDelta => ({ type: 'tool-call', index, arguments: said })

const rows: Record<string, [readonly Event[], readonly UpstreamDelta[]]> = {
  'text in pieces': [
    [text('Hel'), text(''), text('lo')],
    [{ type: 'text', text: 'Hel' }, { type: 'text', text: 'lo' }, stop],
  ],
  'text with logprobs, where there are some': [
    [text('a', { logprobs: [{ token: 'a', logprob: -1 }] }), text('b', { logprobs: [] })],
    [{ type: 'text', text: 'a', logprobs: [{ token: 'a', logprob: -1 }] }, { type: 'text', text: 'b' }, stop],
  ],
  'text that every end repeats': [
    [
      text('Hello'),
      event('output_text.done', { ...at, text: 'Hello' }),
      event('content_part.done', { ...at, part: part('Hello') }),
      event('output_item.done', { output_index: 0, item: { type: 'message', content: [part('Hello')] } }),
    ],
    [hello, stop],
  ],
  'text without deltas, at the end of the text': [
    [
      event('output_text.done', { ...at, text: 'Hello', logprobs: [1] }),
      event('content_part.done', { ...at, part: part('Hello') }),
    ],
    [{ ...hello, logprobs: [1] }, stop],
  ],
  'text without deltas, at the end of the part': [
    [event('content_part.done', { ...at, part: part('Hello') })],
    [hello, stop],
  ],
  'text and refusal without deltas, at the end of the item': [
    [
      event('output_item.done', {
        output_index: 0,
        item: { type: 'message', content: [part('Hello'), { type: 'refusal', refusal: 'No.' }] },
      }),
    ],
    [hello, no, stop],
  ],
  'a second part of the text, although the first came in deltas': [
    [
      text('Hello'),
      event('output_item.done', {
        output_index: 0,
        item: { type: 'message', content: [part('Hello'), part('!')] },
      }),
    ],
    [hello, { type: 'text', text: '!' }, stop],
  ],
  'an answer that is only in the last event': [
    [
      event('completed', {
        response: {
          status: 'completed',
          output: [
            { type: 'reasoning', summary: [{ type: 'summary_text', text: 'Hm.' }] },
            { type: 'message', content: [part('Hello')] },
            { ...fn, arguments: '{}' },
          ],
        },
      }),
    ],
    [thought('Hm.'), hello, first(), next('{}'), called],
  ],
  'the last event, which repeats what was said': [
    [
      text('Hello', { output_index: 3 }),
      event('completed', { response: { output: [{ type: 'message', content: [part('Hello')] }] } }),
    ],
    [hello, stop],
  ],
  'a refusal': [
    [
      event('refusal.delta', { ...at, delta: 'N' }),
      event('refusal.delta', { ...at, delta: 'o.' }),
      event('refusal.done', { ...at, refusal: 'No.' }),
    ],
    [{ type: 'refusal', text: 'N' }, { type: 'refusal', text: 'o.' }, stop],
  ],
  'a refusal without deltas': [[event('refusal.done', { ...at, refusal: 'No.' })], [no, stop]],
  'summaries of reasoning, a blank line between': [
    [think('A'), think('B'), think('C', 1), think('D', 1), think('E', 0, 2), text('Hello')],
    [thought('A'), thought('B'), thought('\n\nC'), thought('D'), thought('\n\nE'), hello, stop],
  ],
  'reasoning itself': [
    [
      event('reasoning_text.delta', { ...at, delta: 'A' }),
      event('reasoning_text.done', { ...at, text: 'A' }),
    ],
    [thought('A'), stop],
  ],
  'summaries of reasoning without deltas': [
    [
      event('reasoning_summary_text.done', { output_index: 0, summary_index: 0, text: 'A' }),
      event('reasoning_summary_part.done', { output_index: 0, summary_index: 0, part: { text: 'A' } }),
      event('reasoning_summary_part.done', { output_index: 0, summary_index: 1, part: { text: 'B' } }),
      event('output_item.done', {
        output_index: 0,
        item: { type: 'reasoning', summary: [{ text: 'A' }, { text: 'B' }, { text: 'C' }] },
      }),
    ],
    [thought('A'), thought('\n\nB'), thought('\n\nC'), stop],
  ],
  'a call': [
    [
      opened,
      argued('{"a"'),
      argued(':1}'),
      event('function_call_arguments.done', { ...inCall, arguments: '{"a":1}' }),
      closed(),
    ],
    [first(), next('{"a"'), next(':1}'), called],
  ],
  'a call that is announced twice': [
    [opened, opened, argued('{}')],
    [first(), next('{}'), called],
  ],
  'a call whose arguments come at once': [
    [opened, event('function_call_arguments.done', { ...inCall, arguments: '{"a":1}' }), closed()],
    [first(), next('{"a":1}'), called],
  ],
  'a call that is whole in its first event': [
    [event('output_item.added', { output_index: 0, item: { ...fn, arguments: '{"a":1}' } }), closed()],
    [first('{"a":1}'), called],
  ],
  'a call that is only in its last event': [[closed()], [first(), next('{"a":1}'), called]],
  'a call without arguments': [
    [opened, closed({ arguments: '' })],
    [first(), called],
  ],
  'a call that begins before its name is known': [
    [argued('{"a"'), argued(':1}'), closed()],
    [first('{"a":1}'), called],
  ],
  'a call that never gets a name': [[argued('{}')], [next('{}'), called]],
  'a call whose item has another id in every event': [
    [opened, argued('{"a":1}', { item_id: 'fc_2' }), closed({ id: 'fc_3' })],
    [first(), next('{"a":1}'), called],
  ],
  'two calls': [
    [
      opened,
      event('output_item.added', { output_index: 1, item: { ...fn, id: 'fc_2', call_id: 'call_2' } }),
      argued('{}', { item_id: 'fc_2', output_index: 1 }),
      argued('[]'),
    ],
    [first(), { ...first(), index: 1, id: 'call_2' } as UpstreamDelta, next('{}', 1), next('[]'), called],
  ],
  'two calls at the same index': [
    [
      opened,
      argued('[]'),
      closed(),
      event('output_item.added', { output_index: 0, item: { ...fn, id: 'fc_2', call_id: 'call_2' } }),
      argued('{}', { item_id: 'fc_2' }),
      closed({ id: 'fc_2', call_id: 'call_2' }),
    ],
    [first(), next('[]'), { ...first(), index: 1, id: 'call_2' } as UpstreamDelta, next('{}', 1), called],
  ],
  'two calls at the same index that are only in their last events': [
    [closed(), closed({ id: 'fc_2', call_id: 'call_2', arguments: '' })],
    [first(), next('{"a":1}'), { ...first(), index: 1, id: 'call_2' } as UpstreamDelta, called],
  ],
  'sources, each once': [
    [
      ...[1, 2].map(() => {
        const annotation = { type: 'url_citation', url: 'https://a.example', title: 'A' }
        return event('output_text.annotation.added', { ...at, annotation })
      }),
      event('output_text.annotation.added', { ...at, annotation: { type: 'file_citation', file_id: 'f' } }),
    ],
    [{ type: 'source', url: 'https://a.example', title: 'A' }, stop],
  ],
  'events nobody knows, and those that say nothing': [
    [
      event('created', { response: { status: 'in_progress' } }),
      event('queued'),
      { type: 'keepalive' },
      event('web_search_call.searching', { message: 'looking' }),
      event('unheard.of', { error: 'not one of ours' }),
      event('output_item.added', { output_index: 0, item: { type: 'web_search_call' } }),
      event('output_item.done', { output_index: 0, item: { type: 'web_search_call' } }),
      text('Hello'),
    ],
    [hello, stop],
  ],
}

describe('an answer of the Responses API', () => {
  test.each(Object.entries(rows))('%s', (_, [events, deltas]) => {
    const all = events.some(({ type }) => type === 'response.completed') ? events : [...events, completed]

    expect(parse(told(all))).toEqual({ deltas })
  })

  test.each<[string, (text: string) => string]>([
    ['with [DONE]', (stream) => `${stream}data: [DONE]\n\n`],
    ['without names', (stream) => stream.replaceAll(/^event: .*\n/gm, '')],
    ['with types in the names only', (stream) => stream.replaceAll(/"type":"response[^"]*",?/g, '')],
    ['with more after its end', (stream) => stream + told([text('!')])],
    ['without its last blank line', (stream) => stream.trimEnd()],
  ])('is understood %s', (_, change) => {
    expect(parse(change(told([text('Hello'), completed])))).toEqual({ deltas: [hello, stop] })
  })

  test.each<[string, object, UpstreamDelta]>([
    [
      'a limit',
      { incomplete_details: { reason: 'max_output_tokens' } },
      { type: 'finish', reason: 'length' },
    ],
    [
      'a filter',
      { incomplete_details: { reason: 'content_filter' } },
      { type: 'finish', reason: 'content-filter' },
    ],
    [
      'something new',
      { incomplete_details: { reason: 'tired' } },
      { type: 'finish', reason: 'other', raw: 'tired' },
    ],
    ['nothing it names', {}, { type: 'finish', reason: 'other', raw: 'incomplete' }],
  ])('that %s ended says so', (_, response, finish) => {
    expect(parse(told([text('Hello'), event('incomplete', { response })]))).toEqual({
      deltas: [hello, finish],
    })
  })

  test.each([
    [
      {
        input_tokens: 10,
        input_tokens_details: { cached_tokens: 4 },
        output_tokens: 5,
        output_tokens_details: { reasoning_tokens: 2 },
        total_tokens: 15,
      },
      { inputTokens: 10, outputTokens: 5, cachedInputTokens: 4, reasoningTokens: 2 },
    ],
    [
      { input_tokens: 1, output_tokens: 2, total_tokens: 9 },
      { inputTokens: 1, outputTokens: 2, totalTokens: 9 },
    ],
  ])('says what it cost', (usage, expected) => {
    const { deltas } = parse(told([event('completed', { response: { usage } })]))

    expect(deltas).toEqual([{ type: 'usage', ...expected }, stop])
  })
})

describe('an answer of the Responses API that is not whole', () => {
  const flat = (code: string): Event => ({ type: 'error', code, message: 'Too bad.', param: null })
  const nested = (error: object): Event => ({ type: 'error', error })
  const failed = (error: unknown): Event => event('failed', { response: { status: 'failed', error } })

  test.each<[string, Event, object]>([
    [
      'it failed',
      failed({ code: 'server_error', message: 'Oh.' }),
      { code: 'upstream-error', retryable: true },
    ],
    ['it failed without a word', failed(null), { code: 'upstream-error', retryable: true }],
    ['too many requests', failed({ code: 'rate_limit_exceeded', message: 'x' }), { code: 'rate-limited' }],
    ['no money', failed({ code: 'insufficient_quota' }), { code: 'rate-limited', retryable: false }],
    [
      'a prompt it does not take',
      failed({ code: 'invalid_prompt', message: 'Not this.' }),
      {
        code: 'upstream-error',
        retryable: false,
        status: 400,
        upstreamCode: 'invalid_prompt',
        message: expect.not.stringContaining('Not this.'),
      },
    ],
    ['an error', flat('server_error'), { code: 'upstream-error', retryable: true }],
    ['an error about requests', flat('rate_limit_exceeded'), { code: 'rate-limited' }],
    ['an error about a picture', flat('image_too_large'), { code: 'upstream-error', status: 400 }],
    ['an error about the length', flat('context_length_exceeded'), { code: 'upstream-error', status: 400 }],
    [
      'an error inside',
      nested({ type: 'invalid_request_error', code: null, message: 'No.' }),
      { code: 'upstream-error', retryable: false },
    ],
    ['an error without a type', { error: { message: 'Oh.' } }, { code: 'upstream-error' }],
  ])('%s', (_, last, failure) => {
    const outcome = parse(told([text('Hello'), last, completed]).replace('event: undefined\n', ''))

    expect(outcome).toEqual({ deltas: [hello], failure: expect.any(ChatError) })
    expect(outcome.failure).toMatchObject(failure)
  })

  const item = { type: 'message', status: 'completed', content: [part('Hello')] }

  test.each<[string, string, string]>([
    ['it ends', told([text('Hello')]), 'upstream-truncated'],
    [
      'it ends after its last item',
      told([text('Hello'), event('output_item.done', { output_index: 0, item })]),
      'upstream-truncated',
    ],
    [
      'it is in progress',
      told([event('in_progress', { response: { status: 'in_progress' } }), text('Hello')]),
      'upstream-truncated',
    ],
    ['it ends with [DONE]', `${told([text('Hello')])}data: [DONE]\n\n`, 'upstream-incomplete'],
    ['it is not JSON', `${told([text('Hello')])}data: {\n\ndata: {}\n\n`, 'upstream-malformed'],
  ])('%s', (_, stream, code) => {
    expect(parse(stream)).toEqual({ deltas: [hello], failure: expect.objectContaining({ code }) })
  })
})
