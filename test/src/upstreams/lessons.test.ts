import { describe, expect, test } from 'vitest'
import { streamChat } from '../../../src/chat.ts'
import type { ChatDelta, ChatRequest } from '../../../src/types.ts'
import { createOpenAI } from '../../../src/upstreams/openai.ts'
import { all, asking, soon, textIn } from '../kit.ts'

type Body = Readonly<Record<string, unknown>>

const answer = 'data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

/** An upstream whose server says what `refusal` says of a body, or answers it. */
function serving(refusal: (body: Body) => Response | undefined) {
  const bodies: Body[] = []
  const upstream = createOpenAI({
    apiKey: 'any',
    baseURL: 'http://localhost/v1',
    fetch: async (_, init) => {
      const body = JSON.parse(init?.body as string) as Body // the package sends texts
      bodies.push(body)
      return refusal(body) ?? new Response(answer, { headers: { 'content-type': 'text/event-stream' } })
    },
  })
  const ask = (request: ChatRequest): Promise<ChatDelta[]> => {
    return soon(all(streamChat(request, { upstream, signal: new AbortController().signal, id: 'r' })))
  }
  return { bodies, ask }
}

function refuse(message: string): Response {
  return Response.json({ error: { message, type: 'invalid_request_error' } }, { status: 400 })
}

const limited = { maxOutputTokens: 5 }
const told: ChatRequest = { model: 'm', messages: [{ role: 'developer', content: 'Be brief.' }] }

describe('the words of a client teach nothing', () => {
  const echo = (field: string) => (body: Body) => {
    return body[field] === undefined ? undefined : refuse(`Unknown ${field}: ${JSON.stringify(body[field])}`)
  }

  test.each<[string, ChatRequest, string, ChatRequest, object]>([
    [
      'an unknown field with the name of ours in it',
      asking('hi', { extra: { include_usage_x: 1 } }),
      'include_usage_x',
      asking(),
      { stream_options: { include_usage: true } },
    ],
    [
      'the name of our field',
      asking('hi', { extra: { x: 'stream_options' } }),
      'x',
      asking(),
      { stream_options: { include_usage: true } },
    ],
    [
      'a value about the limit of tokens',
      asking('hi', { ...limited, reasoningEffort: 'max_tokens unsupported' }),
      'reasoning_effort',
      asking('hi', limited),
      { max_tokens: 5 },
    ],
    [
      'a value about roles',
      { ...told, reasoningEffort: 'role developer' },
      'reasoning_effort',
      told,
      { messages: [{ role: 'developer' }] },
    ],
  ])('%s', async (_, odd, field, plain, sent) => {
    const { bodies, ask } = serving(echo(field))

    expect((await ask(odd)).at(-1)).toMatchObject({ type: 'error', code: 'upstream-rejected' })
    expect(textIn(await ask(plain))).toBe('Hello')

    expect(bodies.at(-1)).toMatchObject(sent)
  })
})

test('two lessons of one request are kept together', async () => {
  const { bodies, ask } = serving((body) => {
    if ('stream_options' in body) return refuse('Unrecognized request argument: stream_options')
    return 'max_tokens' in body ? refuse("Unsupported parameter: 'max_tokens'.") : undefined
  })

  await ask(asking('hi', limited))
  await ask(asking('hi', limited))

  expect(bodies).toHaveLength(4)
  expect(bodies[3]).toEqual(bodies[2])
})

describe('a refusal over HTTP', () => {
  const page = '<!DOCTYPE html><html><body>Not here</body></html>'
  const start = "The model's server refused the request (HTTP 404)"
  const fixed = `${start}. Its reason is not shown, because it names no field of the request.`

  test.each<[string, BodyInit | null, string]>([
    ['that is a page', page, fixed],
    ['that is a text', 'No such route.', fixed],
    ['that is empty', null, fixed],
    ['that is JSON', '{"detail":"Not Found"}', fixed],
    ['that names a field', '{"error":{"message":"Not so.","param":"tools"}}', `${start}: Not so.`],
  ])('%s has fixed words, or its own about a field', async (_, body, message) => {
    const { ask } = serving(() => new Response(body, { status: 404 }))

    expect((await ask(asking())).at(-1)).toMatchObject({ code: 'upstream-rejected', message })
  })

  test.each<[string, unknown, number]>([
    [
      'of Google',
      [{ error: { code: 400, message: 'API key not valid. Please pass a valid API key.' } }],
      400,
    ],
    ['of xAI', { code: 'An invalid argument', error: 'Incorrect API key provided: xai-123456.' }, 400],
    ['of Google behind a 200', [{ error: { code: 400, message: 'API key not valid.' } }], 200],
  ])('that means our key is our matter: %s', async (_, body, status) => {
    const { ask } = serving(() => Response.json(body, { status }))

    expect((await ask(asking())).at(-1)).toMatchObject({ code: 'upstream-auth', retryable: false })
  })
})
