import { describe, expect, test } from 'vitest'
import type { ChatMessage, ChatRequest } from '../../../src/types.ts'
import { toCompletionParams } from '../../../src/upstreams/completion-params.ts'
import { type Manners, mannersAt } from '../../../src/upstreams/manners.ts'
import { toResponsesParams } from '../../../src/upstreams/responses-params.ts'
import { asking } from '../kit.ts'

const manners = mannersAt('http://127.0.0.1:8000/v1')
const openai = mannersAt('https://api.openai.com/v1')
const plain = { ...manners, includeUsage: false }

function said(...messages: ChatMessage[]): ChatRequest {
  return { model: 'm', messages }
}

const url = 'https://images.example/cat.png'
const call = { id: 'call_1', name: 'look', arguments: '{"at":"sky"}' }
const parameters = { type: 'object', properties: { at: { type: 'string' } } }
const schema = { name: 'answer', schema: { type: 'object' }, strict: true }
const audio = { type: 'input_audio', input_audio: { data: 'aGk=', format: 'wav' } }

const conversation = said(
  { role: 'developer', content: 'Be brief.' },
  {
    role: 'user',
    content: [
      { type: 'text', text: 'What is this?' },
      { type: 'image', url, detail: 'low' },
      { type: 'image', url },
    ],
  },
  { role: 'assistant', content: '', toolCalls: [call] },
  { role: 'tool', toolCallId: 'call_1', content: 'clouds' },
  { role: 'assistant', content: 'Clouds.', toolCalls: [{ ...call, id: 'call_2' }] },
  { role: 'tool', toolCallId: 'call_2', content: [{ type: 'text', text: 'rain' }] },
)

describe('a request in the words of Chat Completions', () => {
  test('is the same bytes as ever when nothing else is asked', () => {
    const request = asking('hi', { temperature: 1, maxOutputTokens: 5, stop: 'x', reasoningEffort: 'low' })

    expect(JSON.stringify(toCompletionParams(request, manners))).toBe(
      '{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,' +
        '"stream_options":{"include_usage":true},"temperature":1,"max_tokens":5,"stop":"x","reasoning_effort":"low"}',
    )
  })

  test('has the parts, calls and results of a conversation', () => {
    const fn = { name: 'look', arguments: '{"at":"sky"}' }

    expect(toCompletionParams(conversation, manners)['messages']).toEqual([
      { role: 'developer', content: 'Be brief.' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'What is this?' },
          { type: 'image_url', image_url: { url, detail: 'low' } },
          { type: 'image_url', image_url: { url } },
        ],
      },
      { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: fn }] },
      { role: 'tool', tool_call_id: 'call_1', content: 'clouds' },
      {
        role: 'assistant',
        content: 'Clouds.',
        tool_calls: [{ id: 'call_2', type: 'function', function: fn }],
      },
      { role: 'tool', tool_call_id: 'call_2', content: [{ type: 'text', text: 'rain' }] },
    ])
  })

  test.each<[string, Partial<ChatRequest>, object, Manners?]>([
    [
      'tools',
      { tools: [{ name: 'look', description: 'Looks', parameters, strict: true }, { name: 'wait' }] },
      {
        tools: [
          { type: 'function', function: { name: 'look', description: 'Looks', parameters, strict: true } },
          { type: 'function', function: { name: 'wait' } },
        ],
      },
    ],
    ['a choice of tools', { toolChoice: 'required' }, { tool_choice: 'required' }],
    [
      'one tool',
      { toolChoice: { name: 'look' }, parallelToolCalls: false },
      { tool_choice: { type: 'function', function: { name: 'look' } }, parallel_tool_calls: false },
    ],
    [
      'a format and logprobs',
      { responseFormat: { type: 'json_schema', json_schema: schema }, logprobs: true, topLogprobs: 2 },
      {
        response_format: { type: 'json_schema', json_schema: schema },
        logprobs: true,
        top_logprobs: 2,
      },
    ],
    [
      'fields of its own, which never win',
      { temperature: 0, extra: { temperature: 9, top_k: 5 } },
      { top_k: 5, temperature: 0 },
    ],
    [
      'a limit in one place',
      { maxOutputTokens: 5, extra: { max_tokens: 9 } },
      { max_completion_tokens: 5 },
      { ...openai, includeUsage: false },
    ],
    ['a stream, whatever the extra says', { extra: { stream: false, stream_options: {}, model: 'x' } }, {}],
  ])('has %s', (_, more, expected, used = plain) => {
    const { model, messages, stream, ...rest } = toCompletionParams(asking('hi', more), used)

    expect({ model, messages, stream }).toEqual({
      model: 'm',
      messages: [{ role: 'user', content: 'hi' }],
      stream: true,
    })
    expect(rest).toEqual(expected)
  })

  test('has what only a client of this API knows, as it is', () => {
    const request = said(
      { role: 'user', content: [{ type: 'other', part: audio }], extra: { name: 'Ada', role: 'system' } },
      { role: 'assistant', content: 'Hi', extra: { refusal: null, content: 'Ho' } },
      { role: 'tool', toolCallId: 'a', content: 'b', extra: { tool_call_id: 'c', name: 'd' } },
    )

    expect(toCompletionParams(request, manners)['messages']).toEqual([
      { name: 'Ada', role: 'user', content: [audio] },
      { refusal: null, role: 'assistant', content: 'Hi' },
      { tool_call_id: 'a', name: 'd', role: 'tool', content: 'b' },
    ])
  })
})

describe('a request in the words of the Responses API', () => {
  test('is as small as what is asked', () => {
    expect(toResponsesParams(asking('hi'), manners)).toEqual({
      model: 'm',
      input: [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: 'hi' }] }],
      stream: true,
      store: false,
    })
  })

  test('has the parts, calls and results of a conversation as items', () => {
    const fn = { type: 'function_call', name: 'look', arguments: '{"at":"sky"}' }

    expect(toResponsesParams(conversation, manners)['input']).toEqual([
      { type: 'message', role: 'developer', content: [{ type: 'input_text', text: 'Be brief.' }] },
      {
        type: 'message',
        role: 'user',
        content: [
          { type: 'input_text', text: 'What is this?' },
          { type: 'input_image', image_url: url, detail: 'low' },
          { type: 'input_image', image_url: url, detail: 'auto' },
        ],
      },
      { ...fn, call_id: 'call_1' },
      { type: 'function_call_output', call_id: 'call_1', output: 'clouds' },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Clouds.' }] },
      { ...fn, call_id: 'call_2' },
      { type: 'function_call_output', call_id: 'call_2', output: [{ type: 'input_text', text: 'rain' }] },
    ])
  })

  test('says parts with notes beside them without the notes', () => {
    const cache_control = { type: 'ephemeral' }
    const request = said({
      role: 'user',
      content: [
        { type: 'other', part: { type: 'text', text: 'hi', cache_control } },
        { type: 'other', part: { type: 'image_url', image_url: { url, detail: 'low' }, cache_control } },
      ],
    })

    expect(toResponsesParams(request, manners)['input']).toMatchObject([
      {
        content: [
          { type: 'input_text', text: 'hi' },
          { type: 'input_image', image_url: url, detail: 'low' },
        ],
      },
    ])
  })

  test('keeps a refusal, a file and parts of this API', () => {
    const file = { file_data: 'data:,', filename: 'a.txt' }
    const request = said(
      {
        role: 'user',
        content: [
          { type: 'other', part: { type: 'file', file } },
          { type: 'other', part: { type: 'input_file', file_id: 'f' } },
        ],
      },
      { role: 'assistant', content: '', extra: { refusal: 'No.', annotations: [] } },
    )

    expect(toResponsesParams(request, manners)['input']).toEqual([
      {
        type: 'message',
        role: 'user',
        content: [
          { type: 'input_file', ...file },
          { type: 'input_file', file_id: 'f' },
        ],
      },
      { type: 'message', role: 'assistant', content: [{ type: 'refusal', refusal: 'No.' }] },
    ])
  })

  const fn = { type: 'function', name: 'look', parameters }
  const nothing = { type: 'object', properties: {} }

  test.each<[string, Partial<ChatRequest>, object, Partial<Manners>?]>([
    [
      'numbers',
      { temperature: 0, topP: 0.5, maxOutputTokens: 7 },
      { temperature: 0, top_p: 0.5, max_output_tokens: 7 },
    ],
    [
      'tools that are strict only where it is said',
      { tools: [{ name: 'look', parameters }, { name: 'look', parameters, strict: true }, { name: 'wait' }] },
      {
        tools: [
          { ...fn, strict: false },
          { ...fn, strict: true },
          { type: 'function', name: 'wait', parameters: nothing, strict: false },
        ],
      },
    ],
    [
      'one tool',
      { toolChoice: { name: 'look' }, parallelToolCalls: false },
      { tool_choice: { type: 'function', name: 'look' }, parallel_tool_calls: false },
    ],
    ['a choice of tools', { toolChoice: 'none' }, { tool_choice: 'none' }],
    [
      'a schema, not wrapped',
      { responseFormat: { type: 'json_schema', json_schema: schema } },
      { text: { format: { type: 'json_schema', ...schema } } },
    ],
    ['JSON', { responseFormat: { type: 'json_object' } }, { text: { format: { type: 'json_object' } } }],
    [
      'a verbosity',
      { responseFormat: { type: 'text' }, extra: { verbosity: 'low' } },
      { text: { format: { type: 'text' }, verbosity: 'low' } },
    ],
    [
      'logprobs',
      { logprobs: true, topLogprobs: 3 },
      { include: ['message.output_text.logprobs'], top_logprobs: 3 },
    ],
    ['no logprobs', { logprobs: false }, {}],
    ['reasoning', { reasoningEffort: 'low' }, { reasoning: { effort: 'low', summary: 'auto' } }],
    ['no summary of no reasoning', { reasoningEffort: 'none' }, { reasoning: { effort: 'none' } }],
    ['no summary', { reasoningEffort: 'low' }, { reasoning: { effort: 'low' } }, { reasoning: 'effort' }],
    [
      'what this API has alone',
      {
        logprobs: true,
        reasoningEffort: 'high',
        extra: { reasoning: { summary: 'detailed' }, include: ['x'], text: { verbosity: 'high' } },
      },
      {
        include: ['x', 'message.output_text.logprobs'],
        reasoning: { summary: 'detailed', effort: 'high' },
        text: { verbosity: 'high' },
      },
    ],
    ['no reasoning', { reasoningEffort: 'low' }, {}, { reasoning: 'none' }],
    [
      'what both APIs have',
      { extra: { user: 'u', metadata: { a: 'b' }, service_tier: 'flex', prompt_cache_key: 'k', model: 'x' } },
      { user: 'u', metadata: { a: 'b' }, service_tier: 'flex', prompt_cache_key: 'k' },
    ],
    ['what it is told to keep', { extra: { store: true } }, { store: true }],
    [
      'nothing of what asks for nothing',
      {
        stop: [],
        presencePenalty: 0,
        frequencyPenalty: 0,
        extra: { n: 1, modalities: ['text'], logit_bias: {}, audio: null, stream_options: {} },
      },
      {},
    ],
  ])('has %s', (_, more, expected, used) => {
    const { model, input, stream, ...rest } = toResponsesParams(asking('hi', more), { ...manners, ...used })

    expect({ model, stream, items: Array.isArray(input) && input.length }).toEqual({
      model: 'm',
      stream: true,
      items: 1,
    })
    expect(rest).toEqual({ store: false, ...expected })
  })

  const user = (more: object): Partial<ChatRequest> => ({
    messages: [
      { role: 'user', content: 'hi' },
      { role: 'user', content: 'ho', ...more },
    ],
  })

  test.each<[string, Partial<ChatRequest>]>([
    ['seed', { seed: 3 }],
    ['stop', { stop: ['END'] }],
    ['presence_penalty', { presencePenalty: 1 }],
    ['frequency_penalty', { frequencyPenalty: -1 }],
    ['logit_bias', { extra: { logit_bias: { 50256: -100 } } }],
    ['n', { extra: { n: 2 } }],
    ['modalities', { extra: { modalities: ['text', 'audio'] } }],
    ['audio', { extra: { audio: { voice: 'alloy' } } }],
    ['prediction', { extra: { prediction: { type: 'content' } } }],
    ['functions', { extra: { functions: [] } }],
    ['background', { extra: { background: true } }],
    ['previous_response_id', { extra: { previous_response_id: 'resp_1' } }],
    ['web_search_options', { extra: { web_search_options: {} } }],
    ['messages[].name', user({ extra: { name: 'Ada' } })],
    ['messages[].prefix', said({ role: 'assistant', content: 'So', extra: { prefix: true } })],
    ['messages[].content', user({ content: [{ type: 'other', part: { type: 'hologram' } }] })],
    [
      'messages[].content',
      {
        messages: [
          { role: 'user', content: 'hi' },
          {
            role: 'assistant',
            content: [
              { type: 'text', text: 'a' },
              { type: 'image', url },
            ],
          },
        ],
      },
    ],
  ])('says that it cannot have %s', (param, more) => {
    expect(() => toResponsesParams(asking('hi', more), manners)).toThrow(
      expect.objectContaining({
        code: 'invalid-request',
        param,
        message: expect.stringMatching(/^.* (?:Responses API, |cannot be used here: ).* Leave it out\.$/),
      }),
    )
  })
})
