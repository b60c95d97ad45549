import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ChatError } from '../../../src/errors.ts'
import { failureInStream, failureOfEvent, failureOfStatus } from '../../../src/upstreams/failure.ts'

const directory = process.env['RECORDINGS_DIR']
if (!directory && process.env['CI']) throw new Error('RECORDINGS_DIR must be set in CI.')
if (!directory)
  console.warn('Skipped: the recorded refusals of real servers. Set RECORDINGS_DIR to have them.')

describe.skipIf(!directory)('a recorded refusal', () => {
  const files = directory ? readdirSync(directory).filter((name) => /-error-\d+\.json$/.test(name)) : []
  const codes: Record<string, [string, number]> = {
    400: ['upstream-rejected', 400],
    401: ['upstream-auth', 502],
    404: ['upstream-rejected', 404],
    429: ['rate-limited', 429],
  }

  test.each(files)('is understood: %s', (name) => {
    const status = Number(/(\d+)\.json$/.exec(name)?.[1])
    const body = JSON.parse(readFileSync(join(directory ?? '', name), 'utf8')) as unknown

    const failure = failureOfStatus({ status, body })

    expect([failure.code, failure.status]).toEqual(codes[status])
    if (status === 400) expect(failure.message).not.toContain('not shown')
    expect(failure.message).not.toMatch(/sk-|\*\*\*/)
  })
})

describe('how long to wait', () => {
  beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 12) }))
  afterEach(() => void vi.useRealTimers())

  test.each<[Record<string, string>, number | undefined]>([
    [{ 'retry-after': '7' }, 7000],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': '1.5' }, 1500],
    [{ 'retry-after': 'Thu, 01 Jan 2026 12:00:20 GMT' }, 20_000],
    [{ 'retry-after': 'Thu, 01 Jan 2026 11:00:00 GMT' }, undefined],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '-3' }, undefined],
    [{ 'retry-after': '' }, undefined],
    [{ 'retry-after-ms': '250', 'retry-after': '7' }, 250],
    [{}, undefined],
  ])('is read from %j', (fields, ms) => {
    const headers = { get: (name: string) => fields[name] ?? null }

    expect(failureOfStatus({ status: 429, body: {}, headers }).retryAfterMs).toBe(ms)
  })
})

describe('the words of a refusal', () => {
  function words(message: unknown): string {
    return failureOfStatus({ status: 400, body: { error: { message, param: 'temperature' } } }).message
  }

  test.each<readonly [string, string]>([
    ['two\nlines\u0000 and\u001b[31m colour', ': two lines and[31m colour'],
    ["Invalid 'temperature': must be at most 2.", ": Invalid 'temperature': must be at most 2."],
    [
      'Use max_completion_tokens with gpt-4.1-mini-2025-04-14, see https://platform.openai.com/docs.',
      ': Use max_completion_tokens with gpt-4.1-mini-2025-04-14, see https://platform.openai.com/docs.',
    ],
    ...[
      '',
      '<html>Bad</html>',
      '\n<!DOCTYPE html><p>Bad',
      'Error: <html>Bad</html>',
      'Invalid key sk-proj-abc123DEF456 given',
      'Use Bearer abcdefgh.ijk please',
      'cannot reach postgres://app:hunter2@db.internal:5432/chat',
      'cannot reach mongodb+srv://cluster.example/x',
      'Server=db;User Id=sa;Password=hunter2',
      'ask admin@example.com',
      'connect ECONNREFUSED 10.0.3.7:6379',
      'see https://files.example/a?sig=abc',
      'token=abc',
      'Token zQ9fK2mX8vR4tW7yB3nL is unknown',
      'digest 0123456789abcdef0123456789abcdef',
      'X-Api-Key: abc',
      'eyJhbGciOi.eyJzdWIi.c2ln',
    ].map((message) => [message, '. One of its fields is wrong.'] as const),
  ])('are shown only where no secret can be in them: %j', (message, shown) => {
    expect(words(message)).toBe(`The model's server refused the request (HTTP 400)${shown}`)
  })

  test('are short', () => {
    expect(words('x '.repeat(5000)).length).toBeLessThan(400)
  })

  test.each<[unknown, string | undefined, boolean]>([
    ['temperature', 'temperature', true],
    ['messages[2].content', 'messages[2].content', true],
    ['messages.[2].content', 'messages[2].content', true],
    ['messages.2.content', 'messages[2].content', true],
    ['input[1].output', 'input[1].output', true],
    ['tools[0].function.parameters', 'tools[0].function.parameters', true],
    ['response_format.json_schema.schema', 'response_format.json_schema.schema', true],
    [
      'response_format.json_schema.schema.properties.hunter2',
      'response_format.json_schema.schema.properties',
      false,
    ],
    ['messages[2].hunter2', 'messages[2]', false],
    ['messages[2].12345678', 'messages[2]', false],
    ['hunter2', undefined, false],
    ['extra_headers.authorization', undefined, false],
    ['__proto__', undefined, false],
    ['constructor', undefined, false],
    ['messages hunter2', undefined, false],
    ['messages.'.repeat(100), undefined, false],
    [7, undefined, false],
    [{ toString: 1 }, undefined, false],
    [['messages'], undefined, false],
  ])('are shown only together with a field that a request has: %j', (param, path, shown) => {
    const failure = failureOfStatus({ status: 400, body: { error: { message: 'Not so.', param } } })

    expect(failure.param).toBe(path)
    expect(failure.message.includes('Not so.')).toBe(shown)
  })

  test('are shown with the place that FastAPI gives', () => {
    const detail = [
      { loc: ['body', 'messages', 2, 'content'], msg: 'Field required', input: { a: 'hunter2' } },
    ]

    const failure = failureOfStatus({ status: 422, body: { detail } })

    expect(failure.param).toBe('messages[2].content')
    expect(failure.message).toContain('Field required')
    expect(failure.message).not.toContain('hunter2')
  })

  test.each([
    [
      { code: 'context_length_exceeded' },
      'context_length_exceeded',
      'messages',
      "longer than the model's context",
    ],
    [
      { message: "This model's maximum context length is 4096 tokens.", code: 400, type: 'BadRequestError' },
      'context_length_exceeded',
      'messages',
      "longer than the model's context",
    ],
    [
      { message: 'the request exceeds the available context size', type: 'exceed_context_size_error' },
      'context_length_exceeded',
      'messages',
      "longer than the model's context",
    ],
    [
      { message: 'prompt is too long: 210000 tokens > 200000 maximum', type: 'invalid_request_error' },
      'context_length_exceeded',
      'messages',
      "longer than the model's context",
    ],
    [
      { message: 'Model Not Exist', type: 'invalid_request_error' },
      'model_not_found',
      'model',
      'does not have this model',
    ],
    [{ code: 'DeploymentNotFound' }, 'DeploymentNotFound', 'model', 'does not have this model'],
    [{ code: 'content_filter', message: 'hunter2' }, 'content_filter', undefined, 'content filter'],
    [{ code: 'invalid_image_url', message: 'hunter2' }, 'invalid_image_url', undefined, 'an image'],
    [{ code: 'unsupported_value', message: 'hunter2' }, 'unsupported_value', undefined, 'does not support'],
    [
      { code: 'hunter2', message: 'hunter2', type: 'invalid_request_error' },
      'invalid_request_error',
      undefined,
      'not shown',
    ],
  ])('give way to ours where it is known what they are about: %j', (error, upstreamCode, param, text) => {
    const failure = failureOfStatus({ status: 400, body: { error } })

    expect(failure).toMatchObject({ upstreamCode, param })
    expect(failure.message).toContain(text)
    expect(failure.message).not.toContain('hunter2')
  })
})

test.each<[number, string, number, boolean]>([
  [400, 'upstream-rejected', 400, false],
  [402, 'rate-limited', 429, false],
  [405, 'upstream-rejected', 502, false],
  [409, 'upstream-rejected', 502, true],
  [413, 'upstream-rejected', 413, false],
  [415, 'upstream-rejected', 415, false],
  [418, 'upstream-rejected', 502, false],
  [425, 'upstream-rejected', 502, true],
  [498, 'upstream-rejected', 502, true],
  [499, 'upstream-rejected', 502, true],
  [401, 'upstream-auth', 502, false],
  [403, 'upstream-auth', 502, false],
  [404, 'upstream-rejected', 404, false],
  [408, 'upstream-unavailable', 502, true],
  [422, 'upstream-rejected', 422, false],
  [429, 'rate-limited', 429, true],
  [500, 'upstream-unavailable', 502, true],
  [503, 'upstream-unavailable', 503, true],
  [529, 'upstream-unavailable', 503, true],
  [304, 'upstream-bad-response', 502, false],
])('status %i is %s: our status is %i, asking again helps: %s', (status, code, ours, retryable) => {
  expect(failureOfStatus({ status, body: undefined })).toMatchObject({ code, status: ours, retryable })
})

test.each([
  [429, { code: 'insufficient_quota', message: 'Pay.' }],
  [402, { code: 'invalid_request_error', message: 'Insufficient Balance' }],
])('an account without money is not asked again (%i)', (status, error) => {
  expect(failureOfStatus({ status, body: { error } })).toMatchObject({
    code: 'rate-limited',
    retryable: false,
    upstreamCode: 'insufficient_quota',
  })
})

describe('a refused key', () => {
  test.each<[unknown, string]>([
    [[{ error: { code: 400, message: 'API key not valid. Please pass a valid API key.' } }], 'upstream-auth'],
    [
      { error: { code: 400, message: 'API key expired. Renew it.', status: 'INVALID_ARGUMENT' } },
      'upstream-auth',
    ],
    [
      { code: 'Client specified an invalid argument', error: 'Incorrect API key provided: xai-1.' },
      'upstream-auth',
    ],
    [{ error: { code: 400, type: 'authentication_error', message: 'No.' } }, 'upstream-auth'],
    // What a client wrote can be repeated further on.
    [{ error: { code: 400, message: 'Unknown model "Incorrect API key".' } }, 'other'],
  ])('is ours to mend, whatever its status: %j', (body, code) => {
    const is =
      code === 'upstream-auth' ? { code, status: 502 } : { code: expect.not.stringContaining('auth') }

    expect(failureOfStatus({ status: 400, body })).toMatchObject(is)
    expect(failureInStream(body)).toMatchObject(is)
  })
})

test('a limit that is said with status 400 is one', () => {
  const body = { error: { code: 'ThrottlingException', message: 'Slow.' } }

  expect(failureOfStatus({ status: 400, body })).toMatchObject({ code: 'rate-limited', retryable: true })
})

test('no shape of a body makes it throw', () => {
  const body = fc.oneof(fc.jsonValue(), fc.record({ error: fc.jsonValue() }), fc.string())
  fc.assert(
    fc.property(fc.integer({ min: 300, max: 599 }), body, (status, given) => {
      expect(failureOfStatus({ status, body: given })).toBeInstanceOf(ChatError)
      expect(failureOfEvent(given)).toBeInstanceOf(ChatError)
      if (typeof given === 'object' && given !== null) failureInStream({ ...given })
    }),
    { numRuns: 500 },
  )
})

describe('an error in a stream', () => {
  const choices = [{ index: 0, delta: { content: '' }, finish_reason: null }]

  test.each<[string, unknown]>([
    ['a text', { error: 'Overloaded.' }],
    ['an object', { error: { message: 'Overloaded.', type: 'server_error', code: 503 } }],
    ['an object beside choices', { choices, error: { message: 'Overloaded.', code: 502 } }],
    ['nothing but a type', { error: { message: null, type: 'server_error', code: null } }],
    ['an empty object', { error: {} }],
    ['fields without words', { error: { message: '', code: '' } }],
    ['one in another', { error: { error: { message: 'Overloaded.' } } }],
    ['true, with words beside it', { error: true, message: 'Overloaded.' }],
    ['words with a type', { message: 'Overloaded.', type: 'error' }],
    ['words alone', { message: 'Overloaded.' }],
    ['words with a type that is a mishap', { message: 'Overloaded.', type: 'overloaded' }],
    ['words with a type and a status', { message: 'Overloaded.', type: 'status', code: 503 }],
    ['words with a code', { message: 'Overloaded.', code: 1 }],
    ['words beside choices that are null', { choices: null, message: 'Overloaded.' }],
    ['other words for words', { error_code: 336_503, error_msg: 'Overloaded.' }],
    ['a detail', { detail: 'Overloaded.' }],
    ['a list of details', { detail: [{ type: 'missing', loc: ['body'], msg: 'Field required' }] }],
    ['an object of the kind "error"', { object: 'error', message: 'Overloaded.', code: 500 }],
    [
      'an event of the type "error"',
      { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } },
    ],
    ['a list', [{ error: { code: 503, message: 'Overloaded.', status: 'UNAVAILABLE' } }]],
    ['a list in the field', { error: [{ message: 'Overloaded.' }] }],
    ['several', { errors: [{ message: 'Overloaded.' }] }],
    ['several, beside no choices', { choices: [], errors: ['Overloaded.'] }],
    ['one of Groq', { choices: [], x_groq: { id: 'req_1', error: 'over capacity' } }],
    ['a status of MiniMax', { choices: null, base_resp: { status_code: 1013, status_msg: 'internal' } }],
  ])('can be %s', (_, event) => {
    const failure = failureInStream(event)

    expect([failure?.code, failure?.status, failure?.retryable]).toEqual(['upstream-error', 502, true])
    expect(failure?.message).not.toMatch(/overloaded/i)
  })

  test.each<[string, unknown]>([
    ['null', { choices, error: null }],
    ['an empty text', { choices, error: '' }],
    ['an empty object', { choices, error: {} }],
    ['empty fields', { choices, error: { message: '', type: '', param: null, code: '' } }],
    ['an empty list', { choices, error: [], errors: [] }],
    ['false', { choices, error: false }],
    ['an empty object, and no choices yet', { choices: [], error: {} }],
    ['an empty object beside usage', { usage: { prompt_tokens: 1 }, error: {} }],
    ['words that are no report', { choices, message: 'Hi', detail: 'Hi', errors: ['a warning'] }],
    ['all well, as MiniMax says it', { choices: [], base_resp: { status_code: 0, status_msg: '' } }],
    ['a list of chunks', [{ choices }]],
    ['words with a code of 0', { code: 0, message: 'success' }],
    ['words with a code of 200', { code: '200', msg: 'ok', detail: 'fine' }],
    ['words of a status', { type: 'status', message: 'Loading the model' }],
    ['words of a ping', { type: 'ping', message: 'hello', detail: 'hello' }],
    ['words of what goes with it', { type: 'metadata', detail: { region: 'eu' } }],
    ['no object', 'error'],
  ])('is not %s', (_, event) => {
    expect(failureInStream(event)).toBeUndefined()
  })

  test.each<[unknown, string, number, boolean]>([
    [{ error: { code: '429', message: 'Slow.' } }, 'rate-limited', 429, true],
    [{ error: { code: 429, message: 'Slow.' } }, 'rate-limited', 429, true],
    [{ error: 'Slow.', status: 429 }, 'rate-limited', 429, true],
    [{ error: { type: 'rate_limit_error' } }, 'rate-limited', 429, true],
    [[{ error: { status: 'RESOURCE_EXHAUSTED' } }], 'rate-limited', 429, true],
    [{ error: { code: 'insufficient_quota' } }, 'rate-limited', 429, false],
    [{ error: { error: { type: 'insufficient_quota' } } }, 'rate-limited', 429, false],
    [{ error: { code: '401', message: 'Key.' } }, 'upstream-auth', 502, false],
    [{ error: { type: 'invalid_request_error', code: 'invalid_api_key' } }, 'upstream-auth', 502, false],
    [{ type: 'error', error: { type: 'authentication_error' } }, 'upstream-auth', 502, false],
    [{ error: { code: 400, message: 'Too long.' } }, 'upstream-error', 400, false],
    [{ error: { type: 'invalid_request_error', message: 'Too long.' } }, 'upstream-error', 400, false],
    [{ error: { code: 'context_length_exceeded', message: 'Too long.' } }, 'upstream-error', 400, false],
    [[{ error: { code: 422, message: 'Too long.' } }], 'upstream-error', 422, false],
    [{ error: 'Bad Request', message: 'Too long.', statusCode: 400 }, 'upstream-error', 400, false],
    [{ error: true, message: 'Too long.', code: 400 }, 'upstream-error', 400, false],
    [{ error: { code: 408, message: 'Too long.' } }, 'upstream-error', 502, true],
    [{ error: { code: 405, message: 'No.' } }, 'upstream-error', 502, false],
    [{ error: { code: 409, message: 'No.' } }, 'upstream-error', 502, true],
    [{ error: { code: 402, message: 'Pay.' } }, 'rate-limited', 429, false],
    [{ error_code: 'REQUEST_LIMIT_EXCEEDED', message: 'Slow.' }, 'rate-limited', 429, true],
    [{ error: { type: 'ThrottlingException', message: 'Slow.' } }, 'rate-limited', 429, true],
    [{ error: { code: '1302', message: 'Slow.' } }, 'rate-limited', 429, true],
    [{ base_resp: { status_code: 1002, status_msg: 'Slow.' } }, 'rate-limited', 429, true],
    [{ base_resp: { status_code: 1008, status_msg: 'Pay.' } }, 'rate-limited', 429, false],
    [{ base_resp: { status_code: 1004, status_msg: 'Key.' } }, 'upstream-auth', 502, false],
    [{ error: { type: 'ValidationException', message: 'Wrong.' } }, 'upstream-error', 400, false],
    [{ error: 'Too long.', error_type: 'validation' }, 'upstream-error', 400, false],
    [{ error: { code: 'data_inspection_failed', message: 'Wrong.' } }, 'upstream-error', 400, false],
    [
      { type: 'error', error: { type: 'not_found_error', message: 'model: m' } },
      'upstream-error',
      404,
      false,
    ],
  ])('is understood: %j', (event, code, status, retryable) => {
    expect(failureInStream(event)).toMatchObject({ code, status, retryable })
  })

  test.each([['Overloaded.'], [null], [{}], [[]], [{ choices: [] }], [undefined]])(
    'that an event names is one, whatever it holds: %j',
    (data) => {
      expect(failureOfEvent(data)).toMatchObject({ code: 'upstream-error' })
    },
  )
})

describe("the upstream's own word", () => {
  test.each<[unknown, string | undefined]>([
    [
      { error: { code: 'context_length_exceeded', type: 'invalid_request_error' } },
      'context_length_exceeded',
    ],
    [{ error: { code: null, type: 'server_error' } }, 'server_error'],
    [{ error: { code: '500', type: 'None', param: 'None' } }, undefined],
    [{ error: { code: 500, type: 'BadGateway' } }, undefined],
    [{ error: { code: 'odd', type: 'server_error' } }, 'server_error'],
    [{ error: { error: { code: 'model_not_found' }, type: 'odd' } }, 'model_not_found'],
    [[{ error: { code: 503, status: 'UNAVAILABLE' } }], 'UNAVAILABLE'],
    [{ type: 'error', error: { type: 'overloaded_error' } }, 'overloaded_error'],
    [{ error: { code: 'insufficient_quota' } }, 'insufficient_quota'],
    [{ type: 'error', message: 'Overloaded.' }, undefined],
    [{ error: { code: 'a whole sentence', type: '<b>' } }, undefined],
    [{ error: { code: 'x'.repeat(65) } }, undefined],
    [{ error: { code: 'sk-proj-abc123DEF456' } }, undefined],
    [{ error: { code: 'invalid_api_key' } }, undefined],
    [{ error: 'Overloaded.' }, undefined],
  ])('in a stream: %j', (event, word) => {
    expect(failureInStream(event)?.upstreamCode).toBe(word)
  })

  test.each<[number, string | undefined]>([
    [400, 'slow_down'],
    [401, undefined],
    [403, undefined],
    [404, 'slow_down'],
    [429, 'slow_down'],
    [500, 'slow_down'],
    [503, 'slow_down'],
  ])('in a refusal with status %i', (status, word) => {
    const body = { error: { code: 'slow_down', message: 'No.' } }

    expect(failureOfStatus({ status, body }).upstreamCode).toBe(word)
    expect(failureOfStatus({ status, body: body.error }).upstreamCode).toBe(word)
    expect(failureOfStatus({ status, body: 'No.' }).upstreamCode).toBeUndefined()
  })
})
