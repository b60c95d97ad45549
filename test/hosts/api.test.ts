import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Lambda, startLambda } from '../lambda/emulator.ts'
import { missingRuntime } from '../lambda/lab.ts'
import { type Bundle, bundle } from './bundle.ts'
import {
  answer,
  chunk,
  finish,
  refuse,
  role,
  stall,
  startUpstream,
  stream,
  type Upstream,
} from './upstream.ts'

interface Result {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly isBase64Encoded: boolean
}

const chatUrl = 'https://chat.example/'
const json = { 'content-type': 'application/json' }

/** What an HTTP API sends: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html */
function httpApiEvent(
  method: string,
  rawPath: string,
  {
    body,
    headers = {},
    query = '',
    base64 = false,
  }: Partial<{
    readonly body: string
    readonly headers: Record<string, string>
    readonly query: string
    readonly base64: boolean
  }> = {},
): object {
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString: query,
    headers: { host: 'api.example', 'content-length': String(Buffer.byteLength(body ?? '')), ...headers },
    ...(query ? { queryStringParameters: Object.fromEntries(new URLSearchParams(query)) } : {}),
    requestContext: {
      apiId: 'api',
      domainName: 'api.example',
      http: { method, path: rawPath, protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: 'test' },
      requestId: 'request',
      routeKey: '$default',
      stage: '$default',
      timeEpoch: 1_767_225_600_000,
    },
    ...(body === undefined ? {} : { body: base64 ? Buffer.from(body).toString('base64') : body }),
    isBase64Encoded: base64,
  }
}

describe.skipIf(await missingRuntime())('the buffered function behind an HTTP API', () => {
  let upstream: Upstream
  let built: Bundle
  let lambda: Lambda

  beforeAll(async () => {
    upstream = await startUpstream()
    built = await bundle('api', { page: false })
    lambda = await startLambda({
      taskRoot: built.directory,
      env: {
        OPENAI_BASE_URL: upstream.url,
        OPENAI_MODEL: 'model-a',
        CHAT_URL: chatUrl,
        UPSTREAM_RETRIES: '0',
        TOTAL_TIMEOUT_MS: '1500',
      },
    })
    await lambda.ready
  })
  beforeEach(() => {
    upstream.script = stream(answer('Hel', 'lo.'))
  })
  afterAll(async () => {
    await lambda.stop()
    await built.remove()
    await upstream.close()
  })

  const invoke = async (...event: Parameters<typeof httpApiEvent>): Promise<Result> => {
    return (await lambda.invoke(httpApiEvent(...event))) as Result // what an HTTP API expects
  }
  const chat = (body: unknown, base64 = false): Promise<Result> =>
    invoke('POST', '/chat', { headers: json, body: JSON.stringify(body), base64 })
  const parsed = ({ body, isBase64Encoded }: Result): unknown =>
    JSON.parse(Buffer.from(body, isBase64Encoded ? 'base64' : 'utf8').toString())

  test.each([false, true])('gives a whole answer as JSON (base64: %s)', async (base64) => {
    const result = await chat({ prompt: 'Zoë?', stream: false }, base64)

    expect(result.statusCode).toBe(200)
    expect(result.headers['content-type']).toBe('application/json; charset=utf-8')
    expect(parsed(result)).toMatchObject({
      id: result.headers['x-reply-id'],
      text: 'Hello.',
      usage: { inputTokens: 3, outputTokens: 2 },
      finishReason: 'stop',
    })
    expect(upstream.asked.at(-1)).toMatchObject({ messages: [{ role: 'user', content: 'Zoë?' }] })
  })

  test('gives tool calls whole', async () => {
    const call = (args: string, rest = {}) =>
      chunk({
        tool_calls: [
          { index: 0, ...rest, function: { ...('id' in rest ? { name: 'time' } : {}), arguments: args } },
        ],
      })
    upstream.script = stream(role, call('{"city":', { id: 'c1' }), call('"Kyōto"}'), finish('tool_calls'))

    const result = await chat({ prompt: 'Hi', stream: false })

    expect(parsed(result)).toMatchObject({
      toolCalls: [{ id: 'c1', name: 'time', arguments: '{"city":"Kyōto"}' }],
      finishReason: 'tool-calls',
    })
  })

  test.each([
    ['POST', '/chat', { headers: json, body: '{"prompt":"Hi"}' }],
    ['POST', '/chat', { headers: json, body: '{"prompt":"Hi","stream":true}' }],
    ['GET', '/stream', { query: 'prompt=Hi' }],
    ['GET', '/chat/some-reply', {}],
  ] as const)('refuses to stream and says where it can be done: %s %s', async (method, path, rest) => {
    const before = upstream.asked.length

    const result = await invoke(method, path, rest)

    expect(result.statusCode).toBe(501)
    expect(parsed(result)).toEqual({
      error: { code: 'streaming-unavailable', message: expect.stringContaining(chatUrl) },
    })
    expect(upstream.asked.length).toBe(before)
  })

  test('says that it is well, and lists its models', async () => {
    expect(parsed(await invoke('GET', '/healthz'))).toEqual({ status: 'ok' })
    expect(parsed(await invoke('GET', '/v1/models'))).toMatchObject({ data: [{ id: 'model-a' }] })
  })

  test.each([
    ['malformed JSON', '{', json, 400, 'invalid-json'],
    ['an empty body', undefined, json, 400, 'invalid-json'],
    [
      'a form',
      'prompt=Hi',
      { 'content-type': 'application/x-www-form-urlencoded' },
      415,
      'unsupported-media-type',
    ],
    ['a system message', '{"messages":[{"role":"system","content":"x"}]}', json, 422, 'role-not-allowed'],
    ['another model', '{"prompt":"Hi","model":"x","stream":false}', json, 403, 'model-not-allowed'],
    ['a body over 256 KiB', JSON.stringify({ prompt: 'x'.repeat(262_144) }), json, 413, 'body-too-large'],
  ] as const)('refuses %s', async (_, body, headers, status, code) => {
    const result = await invoke('POST', '/chat', { headers, ...(body === undefined ? {} : { body }) })

    expect(result.statusCode).toBe(status)
    expect(parsed(result)).toMatchObject({ error: { code, message: expect.any(String) } })
  })

  test('answers what is not there, and what is not allowed, as JSON', async () => {
    expect((await invoke('GET', '/nowhere')).statusCode).toBe(404)
    expect((await invoke('PUT', '/chat')).statusCode).toBe(405)
    expect((await invoke('HEAD', '/healthz')).statusCode).toBe(200)
  })

  test.each([
    ['HTTP 401', refuse(401, { error: { message: 'no' } }), 502],
    ['HTTP 429', refuse(429, { error: { message: 'no' } }), 429],
    ['a cut', stream(role, chunk({ content: 'The begin' })), 502],
    ['silence beyond the time an answer may take', stall(role, chunk({ content: 'The begin' })), 504],
  ])('an upstream that gives %s is a status: half an answer is none', async (_, script, status) => {
    upstream.script = script

    const result = await chat({ prompt: 'Hi', stream: false })

    expect(result.statusCode).toBe(status)
    expect(parsed(result)).toMatchObject({ error: { code: expect.any(String) } })
  })
})
