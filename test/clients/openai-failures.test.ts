import OpenAI from 'openai'
import { beforeAll, describe, expect, test } from 'vitest'
import { soon, until } from '../src/kit.ts'
import { createRelay } from './relay.ts'

const relay = createRelay({ model: 'model-a' })
const user = (content: string) => ({ role: 'user' as const, content })
let client: OpenAI

beforeAll(() => {
  client = new OpenAI({ baseURL: relay.url, apiKey: 'any', maxRetries: 0 })
})

/** The error that a client throws. */
async function errorOf(promise: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  const error: unknown = await promise.then(
    () => expect.fail('it did not fail'),
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof OpenAI.APIError)) throw error
  return error
}

test('a model that does not exist is not found', async () => {
  const missing = await errorOf(client.models.retrieve('nobody/knows'))

  expect(missing).toBeInstanceOf(OpenAI.NotFoundError)
  expect(missing.code).toBe('model_not_found')
})

describe('failures', () => {
  const ask = (content: string, more: object = {}) =>
    client.chat.completions.create({ model: 'model-a', messages: [user(content)], ...more })

  test.each<[string, () => Promise<unknown>, unknown, object]>([
    [
      'a wrong field',
      () => ask('hi', { temperature: 3 }),
      OpenAI.BadRequestError,
      { status: 400, type: 'invalid_request_error', param: 'temperature', code: 'invalid-request' },
    ],
    [
      'a model that may not be named',
      () => ask('hi', { model: 'model-c' }),
      OpenAI.NotFoundError,
      { status: 404, type: 'invalid_request_error', param: 'model', code: 'model_not_found' },
    ],
    [
      'a conversation that is too long for the model',
      () => ask('fault:context-length'),
      OpenAI.BadRequestError,
      { status: 400, type: 'invalid_request_error', param: 'messages', code: 'context_length_exceeded' },
    ],
    [
      'too many messages',
      () => ask('hi', { messages: Array.from({ length: 201 }, () => user('hi')) }),
      OpenAI.UnprocessableEntityError,
      { status: 422, type: 'invalid_request_error', param: 'messages' },
    ],
    [
      'too many requests',
      () => ask('fault:rate-limit'),
      OpenAI.RateLimitError,
      { status: 429, type: 'rate_limit_error', code: 'rate_limit_exceeded' },
    ],
    [
      'no money',
      () => ask('fault:no-quota'),
      OpenAI.RateLimitError,
      { status: 429, type: 'insufficient_quota', code: 'insufficient_quota' },
    ],
    [
      'a key of the service that is refused',
      () => ask('fault:unauthorized'),
      OpenAI.InternalServerError,
      { status: 502, type: 'server_error', code: 'upstream-auth' },
    ],
    [
      'a server that breaks',
      () => ask('fault:server-error'),
      OpenAI.InternalServerError,
      { status: 502, type: 'server_error' },
    ],
    [
      'a server that is busy',
      () => ask('fault:overloaded'),
      OpenAI.InternalServerError,
      { status: 503, type: 'server_error' },
    ],
    [
      'an answer that was cut',
      () => ask('fault:cut'),
      OpenAI.InternalServerError,
      { status: 502, type: 'server_error', code: 'upstream-truncated' },
    ],
    [
      'the Responses API',
      () => client.responses.create({ model: 'model-a', input: 'hi' }),
      OpenAI.NotFoundError,
      { status: 404, type: 'invalid_request_error', code: 'not-found' },
    ],
    [
      'the Completions API',
      () => client.completions.create({ model: 'model-a', prompt: 'hi' }),
      OpenAI.NotFoundError,
      { status: 404 },
    ],
    [
      'embeddings',
      () => client.embeddings.create({ model: 'model-a', input: 'hi' }),
      OpenAI.NotFoundError,
      { status: 404 },
    ],
  ])('%s', async (_, attempt, kind, fields) => {
    const error = await errorOf(attempt())

    expect(error).toBeInstanceOf(kind)
    expect(error).toMatchObject(fields)
    expect(error.message).not.toMatch(/sk-upstream/)
  })

  test.each([
    ['rate-limit;retryAfter=1;times=1', 1],
    ['server-error;times=1', 1],
    ['no-quota;times=1', 0],
    ['context-length;times=1', 0],
  ])('a client asks again where that can help: %s', async (fault, retries) => {
    const before = relay.simulator.requests.length
    const patient = client.withOptions({ maxRetries: 2 })

    const attempt = patient.chat.completions.create({ model: 'model-a', messages: [user(`fault:${fault}`)] })
    await attempt.catch(() => undefined)

    expect(relay.simulator.requests.length - before).toBe(1 + retries)
    if (retries > 0) expect((await attempt).choices[0]?.finish_reason).toBe('stop')
  })

  test.each([
    ['cut', 'upstream-truncated'],
    ['fin', 'upstream-truncated'],
    ['eof', 'upstream-truncated'],
    ['truncated', 'upstream-truncated'],
    ['error-object', null],
    ['malformed-json', 'upstream-malformed'],
  ])('an answer that breaks with fault:%s is an error, never a short answer', async (fault, code) => {
    const asked = { model: 'model-a', messages: [user(`fault:${fault}`)], stream: true as const }
    let text = ''
    const error = await errorOf(
      (async () => {
        for await (const { choices } of await client.chat.completions.create(asked)) {
          text += choices[0]?.delta.content ?? ''
          expect(choices[0]?.finish_reason).toBeNull()
        }
      })(),
    )
    const helper = await errorOf(client.chat.completions.stream(asked).finalContent())

    expect(text).not.toBe('')
    for (const each of [error, helper]) {
      expect(each).toMatchObject({ type: 'server_error' })
      expect([code, 'upstream-error']).toContain(each.code)
    }
  })
})

describe('leaving', () => {
  test.each(['break', 'abort'])('by %s ends the request to the upstream', async (how) => {
    const before = relay.simulator.requests.length
    const stream = await client.chat.completions.create({
      model: 'model-a',
      messages: [user(`fault:stall leave by ${how}`)],
      stream: true,
    })

    for await (const { choices } of stream) {
      if (!choices[0]?.delta.content) continue
      if (how === 'break') break
      stream.controller.abort()
    }

    const request = relay.simulator.requests[before]!
    await soon(request.done)
    expect(request.hungUp).toBe(true)
  })

  test('before a whole answer is there ends the request to the upstream', async () => {
    const before = relay.simulator.requests.length
    const controller = new AbortController()
    const asked = client.chat.completions.create(
      { model: 'model-a', messages: [user('fault:stall leave early')] },
      { signal: controller.signal },
    )
    await until(() => (relay.simulator.requests[before]?.tokens ?? 0) > 0)

    controller.abort()

    await expect(asked).rejects.toBeInstanceOf(OpenAI.APIUserAbortError)
    await soon(relay.simulator.requests[before]!.done)
    expect(relay.simulator.requests[before]!.hungUp).toBe(true)
  })
})
