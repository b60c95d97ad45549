import { describe, expect, test } from 'vitest'
import { openai } from '../../../src/dialects/openai.ts'
import { ChatError, type ChatErrorOptions, type ErrorCode } from '../../../src/errors.ts'
import type { Answer } from '../../../src/types.ts'
import { errorIn } from './openai-kit.ts'

/** What most refusals have. */
const defaults = { param: null, after: null, retry: 'false' }

describe('a whole answer as a document', () => {
  const answer: Answer = {
    id: 'r-1',
    model: 'm',
    createdAt: 1_700_000_000_999,
    text: 'Hello',
    finishReason: 'stop',
  }
  const call = { id: 'c', name: 'f', arguments: '{}' }

  test('has everything that a client expects of one', () => {
    expect(openai.toDocument?.(answer)).toEqual({
      id: 'chatcmpl-r-1',
      object: 'chat.completion',
      created: 1_700_000_000,
      model: 'm',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hello', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
    })
  })

  test.each<[Partial<Answer>, object]>([
    [{ text: '' }, { message: { content: '' } }],
    [{ reasoning: 'Hm.' }, { message: { content: 'Hello', reasoning_content: 'Hm.' } }],
    [{ text: '', refusal: 'No.' }, { message: { content: null, refusal: 'No.' } }],
    [{ finishReason: 'content-filter' }, { finish_reason: 'content_filter' }],
    [{ finishReason: 'length' }, { finish_reason: 'length' }],
    [{ finishReason: 'other', rawFinishReason: 'recitation' }, { finish_reason: 'recitation' }],
    [{ finishReason: 'other', rawFinishReason: 'max-steps' }, { finish_reason: 'length' }],
    [{ finishReason: 'other' }, { finish_reason: 'stop' }],
    [{ logprobs: { text: [1] } }, { logprobs: { content: [1], refusal: null } }],
    [{ logprobs: { refusal: [1] } }, { logprobs: { content: null, refusal: [1] } }],
    [
      { text: '', toolCalls: [call, { ...call, id: '' }], finishReason: 'tool-calls' },
      {
        message: {
          content: null,
          tool_calls: [
            { id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } },
            { id: 'call_r-1_1', type: 'function', function: { name: 'f', arguments: '{}' } },
          ],
        },
        finish_reason: 'tool_calls',
      },
    ],
    [
      {
        toolCalls: [
          { ...call, server: true, result: 1 },
          { ...call, id: 'mine' },
        ],
        finishReason: 'tool-calls',
      },
      { message: { content: 'Hello', tool_calls: [{ id: 'mine' }] }, finish_reason: 'tool_calls' },
    ],
    [
      { sources: [{ url: 'https://a.example/', title: 'A' }, { url: 'https://b.example/' }] },
      {
        message: {
          annotations: [
            { type: 'url_citation', url_citation: { url: 'https://a.example/', title: 'A' } },
            {
              type: 'url_citation',
              url_citation: { url: 'https://b.example/', title: 'https://b.example/' },
            },
          ],
        },
      },
    ],
  ])('%j is told as %j', (more, choice) => {
    expect(openai.toDocument?.({ ...answer, ...more })).toMatchObject({ choices: [choice] })
  })

  test('calls that are all the service’s own are not there', () => {
    const toolCalls = [{ ...call, server: true as const }]
    const document = openai.toDocument?.({ ...answer, toolCalls, finishReason: 'tool-calls' })

    expect(document).toMatchObject({ choices: [{ message: { content: 'Hello' }, finish_reason: 'stop' }] })
    expect(document).not.toHaveProperty('choices[0].message.tool_calls')
  })

  test.each([
    [
      { inputTokens: 3, outputTokens: 5 },
      { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 },
    ],
    [
      { inputTokens: 3, outputTokens: 5, totalTokens: 20, cachedInputTokens: 2, reasoningTokens: 1 },
      {
        prompt_tokens: 3,
        completion_tokens: 5,
        total_tokens: 20,
        prompt_tokens_details: { cached_tokens: 2 },
        completion_tokens_details: { reasoning_tokens: 1 },
      },
    ],
  ])('usage %j is %j', (usage, expected) => {
    expect(openai.toDocument?.({ ...answer, usage })).toHaveProperty('usage', expected)
  })

  test('an answer that somebody stopped is not one', () => {
    expect(openai.toDocument?.({ ...answer, finishReason: 'cancelled' })).toBeUndefined()
  })
})

test.each<[ErrorCode, ChatErrorOptions, object]>([
  [
    'invalid-request',
    { param: 'n' },
    { status: 400, type: 'invalid_request_error', param: 'n', code: 'invalid-request' },
  ],
  ['origin-not-allowed', {}, { status: 403, type: 'permission_error', code: 'origin-not-allowed' }],
  [
    'model-not-allowed',
    { param: 'model' },
    { status: 404, type: 'invalid_request_error', param: 'model', code: 'model_not_found' },
  ],
  ['not-found', {}, { status: 404, type: 'invalid_request_error', code: 'not-found' }],
  ['body-too-large', {}, { status: 413, type: 'invalid_request_error', code: 'body-too-large' }],
  ['rate-limited', {}, { status: 429, type: 'rate_limit_error', code: 'rate_limit_exceeded', retry: 'true' }],
  [
    'rate-limited',
    { retryable: false },
    { status: 429, type: 'insufficient_quota', code: 'insufficient_quota' },
  ],
  ['rate-limited', { retryAfterMs: 1500 }, { status: 429, after: '2', retry: 'true' }],
  [
    'upstream-rejected',
    { status: 401 },
    { status: 401, type: 'authentication_error', code: 'upstream-rejected' },
  ],
  [
    'upstream-rejected',
    { upstreamCode: 'context_length_exceeded' },
    { status: 400, code: 'context_length_exceeded' },
  ],
  [
    'upstream-error',
    { upstreamCode: 'server_error' },
    { status: 502, type: 'server_error', code: null, retry: 'true' },
  ],
  [
    'rate-limited',
    { upstreamCode: 'rate_limit_error' },
    { status: 429, type: 'rate_limit_error', code: 'rate_limit_exceeded', retry: 'true' },
  ],
  [
    'upstream-auth',
    { upstreamCode: 'authentication_error' },
    { status: 502, type: 'server_error', code: 'upstream-auth' },
  ],
  [
    'upstream-auth',
    { upstreamCode: 'invalid_api_key' },
    { status: 502, type: 'server_error', code: 'upstream-auth' },
  ],
  [
    'upstream-error',
    { status: 400, retryable: false },
    { status: 400, type: 'invalid_request_error', retry: 'false' },
  ],
  ['internal', {}, { status: 500, type: 'server_error', code: 'internal' }],
  ['overloaded', {}, { status: 503, type: 'server_error', code: 'overloaded', retry: 'true' }],
  ['deadline', {}, { status: 504, type: 'server_error', code: 'deadline', retry: 'true' }],
  ['cancelled', {}, { status: 499, type: 'server_error', code: 'cancelled' }],
])('%s %j is refused as %j', async (code, options, expected) => {
  const reply = openai.refuse(new ChatError(code, 'Why.', options), { 'x-reply-id': 'r-1' })

  const { 'retry-after': after = null, 'x-should-retry': retry, ...headers } = reply.headers
  const error = { status: reply.status, ...(await errorIn(reply)), after, retry }
  expect(error).toMatchObject({ message: 'Why.', ...defaults, ...expected })
  expect(headers).toMatchObject({ 'x-reply-id': 'r-1' })
})
