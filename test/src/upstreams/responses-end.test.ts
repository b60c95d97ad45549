import { describe, expect, test } from 'vitest'
import type { UpstreamDelta } from '../../../src/types.ts'
import { createResponsesReader } from '../../../src/upstreams/responses.ts'

type Event = Readonly<Record<string, unknown>>
const event = (type: string, fields: object = {}): Event => ({ type: `response.${type}`, ...fields })

/** What is said, the kinds before it: texts joined, calls with id, name and arguments, and the finish. */
function read(events: readonly Event[]): Record<string, unknown> {
  const reader = createResponsesReader()
  const out: UpstreamDelta[] = []
  for (const each of events) reader.read(each, out)
  const said: Record<string, string> = {}
  const calls: string[] = []
  for (const delta of out) {
    if ('text' in delta) said[delta.type] = (said[delta.type] ?? '') + delta.text
    if (delta.type !== 'tool-call') continue
    calls[delta.index] = (calls[delta.index] ?? `${delta.id ?? '-'} ${delta.name ?? '-'} `) + delta.arguments
  }
  const finish = reader.finish?.type === 'finish' ? reader.finish.reason : undefined
  return { ...said, ...(calls.length > 0 ? { calls } : {}), ...(finish ? { finish } : {}) }
}

const at = { item_id: 'msg_1', output_index: 0, content_index: 0 }
const text = (delta: string, place: object = at): Event => event('output_text.delta', { ...place, delta })
const message = (said: string, id?: string): object => {
  return { type: 'message', id, content: [{ type: 'output_text', text: said }] }
}
const call = (more: object = {}): object => {
  return { type: 'function_call', id: 'fc_1', call_id: 'call_1', name: 'look', arguments: '{"a":1}', ...more }
}
const added = (output_index: number, item: object): Event =>
  event('output_item.added', { output_index, item })
const completed = (...output: object[]): Event => {
  return event('completed', { response: { status: 'completed', output } })
}
const custom = { type: 'custom_tool_call', id: 'ct_1', call_id: 'call_1', name: 'run', input: '' }

const rows: Record<string, [readonly Event[], object]> = {
  'a call that only the end has, after a text': [
    [text('Hello'), completed(message('Hello', 'msg_1'), call())],
    { text: 'Hello', calls: ['call_1 look {"a":1}'], finish: 'tool-calls' },
  ],
  'a text and a call that the end repeats': [
    [
      text('Hello'),
      added(1, call({ arguments: '' })),
      event('function_call_arguments.delta', { item_id: 'fc_1', output_index: 1, delta: '{"a":1}' }),
      completed(message('Hello', 'msg_1'), call()),
    ],
    { text: 'Hello', calls: ['call_1 look {"a":1}'], finish: 'tool-calls' },
  ],
  'all of it repeated, in other places and under other ids': [
    [
      event('reasoning_summary_text.delta', {
        item_id: 'rs_1',
        output_index: 4,
        summary_index: 0,
        delta: 'Hm',
      }),
      text('Hello', { item_id: 'msg_1', output_index: 5, content_index: 0 }),
      added(6, call()),
      completed(
        { type: 'reasoning', id: 'rs_2', summary: [{ text: 'Hm' }] },
        message('Hello', 'msg_2'),
        call({ id: 'fc_2' }),
      ),
    ],
    { reasoning: 'Hm', text: 'Hello', calls: ['call_1 look {"a":1}'], finish: 'tool-calls' },
  ],
  'a second message that only the end has': [
    [text('Hello'), completed(message('Hello', 'msg_1'), message('Hello there', 'msg_2'))],
    { text: 'HelloHello there', finish: 'stop' },
  ],
  'a call without a beginning, named at the end of its arguments': [
    [
      event('function_call_arguments.delta', { item_id: 'fc_1', output_index: 0, delta: '{"a"' }),
      event('function_call_arguments.done', {
        item_id: 'fc_1',
        output_index: 0,
        name: 'look',
        arguments: '{"a":1}',
      }),
      completed(),
    ],
    { calls: ['- look {"a":1}'], finish: 'tool-calls' },
  ],
  'such a call, whole, and its id after that': [
    [
      event('function_call_arguments.done', {
        item_id: 'fc_1',
        output_index: 0,
        name: 'look',
        arguments: '{"a":1}',
      }),
      event('output_item.done', { output_index: 0, item: call({ name: undefined }) }),
      completed(),
    ],
    { calls: ['call_1 look {"a":1}'], finish: 'tool-calls' },
  ],
  'two calls with one id': [
    [
      added(0, call({ arguments: '' })),
      added(1, call({ id: 'fc_2', arguments: '' })),
      event('function_call_arguments.delta', { item_id: 'fc_1', output_index: 0, delta: '{"a":1}' }),
      event('function_call_arguments.delta', { item_id: 'fc_2', output_index: 1, delta: '{"b":2}' }),
      completed(call(), call({ id: 'fc_2', arguments: '{"b":2}' })),
    ],
    { calls: ['call_1 look {"a":1}', '- look {"b":2}'], finish: 'tool-calls' },
  ],
  'calls and texts that only have ids of items': [
    [
      text('Hel', { item_id: 'msg_1' }),
      text('World', { item_id: 'msg_2' }),
      text('lo', { item_id: 'msg_1' }),
      event('output_text.done', { item_id: 'msg_1', text: 'Hello' }),
      event('output_text.done', { item_id: 'msg_2', text: 'World!' }),
      event('function_call_arguments.delta', { item_id: 'fc_1', delta: '{"a":1}' }),
      event('function_call_arguments.delta', { item_id: 'fc_2', delta: '{"b":2}' }),
      event('output_item.done', { item: call() }),
      event('output_item.done', { item: call({ id: 'fc_2', call_id: 'call_2' }) }),
      completed(),
    ],
    { text: 'HelWorldlo!', calls: ['call_1 look {"a":1}', 'call_2 look {"b":2}'], finish: 'tool-calls' },
  ],
  'a text whose last piece is missing': [
    [text('He'), event('output_text.done', { ...at, text: 'Hello' }), completed()],
    { text: 'Hello', finish: 'stop' },
  ],
  'a text that its end contradicts': [
    [text('He'), event('output_text.done', { ...at, text: 'Bye' }), completed(message('Bye', 'msg_1'))],
    { text: 'He', finish: 'stop' },
  ],
  'reasoning under its older name': [
    [
      event('reasoning.delta', { ...at, delta: 'H' }),
      event('reasoning.delta', { ...at, delta: 'm' }),
      event('reasoning.done', { ...at, text: 'Hm' }),
      completed(),
    ],
    { reasoning: 'Hm', finish: 'stop' },
  ],
  'a call of a custom tool': [
    [
      added(0, custom),
      event('custom_tool_call_input.delta', { item_id: 'ct_1', output_index: 0, delta: 'ls ' }),
      event('custom_tool_call_input.delta', { item_id: 'ct_1', output_index: 0, delta: '-l' }),
      event('custom_tool_call_input.done', { item_id: 'ct_1', output_index: 0, input: 'ls -l' }),
      event('output_item.done', { output_index: 0, item: { ...custom, input: 'ls -l' } }),
      completed({ ...custom, input: 'ls -l' }),
    ],
    { calls: ['call_1 run ls -l'], finish: 'tool-calls' },
  ],
  'a call of a custom tool that only the end has': [
    [completed({ ...custom, input: 'ls' })],
    { calls: ['call_1 run ls'], finish: 'tool-calls' },
  ],
}

test.each(Object.entries(rows))('%s', (_, [events, said]) => {
  expect(read(events)).toEqual(said)
})

describe('it is no answer when', () => {
  test.each<[string, Event, object]>([
    ['it failed, in its last event', event('completed', { response: { status: 'failed' } }), {}],
    [
      'its last event has an error',
      event('completed', { response: { error: { code: 'rate_limit_exceeded', message: 'Slow.' } } }),
      { code: 'rate-limited' },
    ],
    ['it was cancelled', event('cancelled', { response: { status: 'cancelled' } }), {}],
    ['it was cancelled, in its last event', event('completed', { response: { status: 'cancelled' } }), {}],
  ])('%s', (_, last, failure) => {
    expect(() => read([text('Hello'), last])).toThrow(
      expect.objectContaining({ code: 'upstream-error', ...failure }),
    )
  })
})
