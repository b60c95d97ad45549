import { describe, expect, test } from 'vitest'
import { createHandler } from '../../../src/handler.ts'
import type { HandlerOptions } from '../../../src/handler.ts'
import { createOpenAI, type OpenAIOptions } from '../../../src/upstreams/openai.ts'
import { http, textOf } from '../kit.ts'

type Body = Readonly<Record<string, unknown>>

const chunks = 'data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
const events = [
  { type: 'response.output_text.delta', item_id: 'm', delta: 'Hello' },
  { type: 'response.completed', response: { status: 'completed', output: [] } },
]
const responses = events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join('')

/** A service whose model refuses a body with these words, or answers. */
function serving(
  refusal: (body: Body) => string | undefined,
  {
    api,
    status = 400,
    ...options
  }: Partial<HandlerOptions> & Pick<OpenAIOptions, 'api'> & { status?: number } = {},
) {
  const bodies: Body[] = []
  const upstream = createOpenAI({
    apiKey: 'any',
    api,
    baseURL: 'http://localhost/v1',
    fetch: async (_, init) => {
      const body = JSON.parse(init?.body as string) as Body // the package sends texts
      bodies.push(body)
      const message = refusal(body)
      if (message !== undefined) return Response.json({ error: { message } }, { status })
      return new Response(api === 'responses' ? responses : chunks, {
        headers: { 'content-type': 'text/event-stream' },
      })
    },
  })
  const handler = createHandler({ upstream, model: 'm', models: '*', ...options })
  async function ask(body: object = {}) {
    const reply = await handler(http('/chat', { body: { prompt: 'hi', stream: false, ...body } }))
    return { status: reply.status, body: JSON.parse(await textOf(reply)) as Body }
  }
  return { bodies, ask }
}

const limitOf = (body: Body | undefined) =>
  body?.['max_tokens'] ?? body?.['max_completion_tokens'] ?? body?.['max_output_tokens']

const tooLarge = (text: string) => (body: Body) => (limitOf(body) === undefined ? undefined : text)

describe('a limit of tokens that is only the default', () => {
  test('is sent', async () => {
    const { bodies, ask } = serving(() => undefined)

    await ask()

    expect(bodies.map(limitOf)).toEqual([16_384])
  })

  test.each([
    [
      'OpenAI',
      'max_tokens is too large: 16384. This model supports at most 4096 completion tokens, whereas you provided 16384.',
    ],
    ['DeepSeek', 'Invalid max_tokens value, the valid range of max_tokens is [1, 8192]'],
    ['DashScope', '<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]'],
    [
      'Anthropic',
      'max_tokens: 16384 > 8192, which is the maximum allowed number of output tokens for claude',
    ],
    ['Bedrock', 'The maximum tokens you requested exceeds the model limit of 4096.'],
    [
      'Gemini',
      'Unable to submit request because it has a maxOutputTokens value of 16384 but the supported range is from 1 (inclusive) to 8193 (exclusive).',
    ],
    ['with another separator', 'The limit of 16,384 is above what this model can give.'],
  ])('that the model is too small for is left out, and from then on (%s)', async (_, text) => {
    const { bodies, ask } = serving(tooLarge(text))

    const first = await ask()
    const second = await ask()

    expect([first.status, second.status]).toEqual([200, 200])
    expect(bodies.map(limitOf)).toEqual([16_384, undefined, undefined])
  })

  test.each([
    [
      'vLLM',
      "'max_tokens' or 'max_completion_tokens' is too large: 16384. This model's maximum context length is 8192 tokens and your request has 20 input tokens (16384 > 8192 - 20).",
    ],
    [
      'an older vLLM',
      "This model's maximum context length is 8192 tokens. However, you requested 16404 tokens (20 in the messages, 16384 in the completion). Please reduce the length of the messages or completion.",
    ],
    [
      'a sum',
      "This model's maximum context length is 8192 tokens. However, you requested 16404 tokens. Please reduce the length of the messages.",
    ],
    [
      'TGI',
      'Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 20 `inputs` tokens and 16384 `max_new_tokens`',
    ],
    ['Anthropic', 'input length and `max_tokens` exceed context limit: 190000 + 16384 > 200000'],
  ])('that this conversation has no room for is left out for it alone (%s)', async (_, text) => {
    let long = true
    const { bodies, ask } = serving((body) => (long ? tooLarge(text)(body) : undefined), { status: 422 })

    const first = await ask()
    long = false
    const second = await ask()

    expect([first.status, second.status]).toEqual([200, 200])
    expect(bodies.map(limitOf)).toEqual([16_384, undefined, 16_384])
  })

  test('is left out where the server knows neither name of it', async () => {
    const { bodies, ask } = serving((body) => {
      const field = ['max_tokens', 'max_completion_tokens'].find((name) => name in body)
      return field && `Unrecognized request argument supplied: ${field}`
    })

    expect((await ask()).status).toBe(200)
    expect((await ask()).status).toBe(200)

    expect(bodies.map((body) => Object.keys(body).filter((name) => name.startsWith('max_')))).toEqual([
      ['max_tokens'],
      ['max_completion_tokens'],
      [],
      [],
    ])
  })

  test('is left out of the Responses API as well', async () => {
    const text =
      "Invalid 'max_output_tokens': integer above maximum value. Expected a value <= 4096, but got 16384 instead."
    const { bodies, ask } = serving(tooLarge(text), { api: 'responses' })

    expect((await ask()).status).toBe(200)

    expect(bodies.map(limitOf)).toEqual([16_384, undefined])
  })

  test.each([
    [
      'a conversation that is too long by itself',
      "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    ],
    ['something else', 'Invalid temperature.'],
  ])('is not blamed for %s', async (_, text) => {
    const { bodies, ask } = serving(() => text)

    expect((await ask()).status).toBe(400)

    expect(bodies.map(limitOf)).toEqual([16_384])
  })

  test('is left out once: a refusal that stays is the answer', async () => {
    const { bodies, ask } = serving(() => 'max_tokens is too large: 16384.')

    expect((await ask()).status).toBe(400)

    expect(bodies.map(limitOf)).toEqual([16_384, undefined])
  })
})

describe('a limit of tokens that was chosen', () => {
  const text = 'max_tokens is too large. This model supports at most 4096 completion tokens.'

  test.each<[string, Partial<HandlerOptions>, object, number | undefined]>([
    ['by the client', {}, { max_tokens: 8000 }, 8000],
    ['by the client, above the default', {}, { max_tokens: 99_999 }, 16_384],
    ['by the operator', { maxOutputTokens: 9000 }, {}, 9000],
    ['by the operator, as large as the default', { maxOutputTokens: 16_384 }, {}, 16_384],
  ])('%s is kept: the refusal is the answer', async (_, options, body, sent) => {
    const { bodies, ask } = serving(tooLarge(text), options)

    expect((await ask(body)).status).toBe(400)

    expect(bodies.map(limitOf)).toEqual([sent])
  })

  test('to be none is not sent', async () => {
    const { bodies, ask } = serving(() => undefined, { maxOutputTokens: Infinity })

    await ask()

    expect(bodies.map(limitOf)).toEqual([undefined])
  })
})
