import { describe, expect, test } from 'vitest'
import { missingRuntime } from '../lambda/lab.ts'
import { type Asking, post } from './client.ts'
import { createHosts } from './hosts.ts'

const text = (body: string | Uint8Array, type = 'application/json'): Asking => ({
  method: 'POST',
  path: '/chat',
  headers: type ? { 'content-type': type } : {},
  body,
})
const says = (message: object): Asking => post({ messages: [message] })
const user = { role: 'user', content: 'Hi' }
const users = (count: number): readonly object[] => Array.from({ length: count }, () => user)
const nested = (depth: number): string => `{"messages":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
/** A request of exactly so many bytes. */
const sized = (bytes: number): string =>
  JSON.stringify({ prompt: 'x'.repeat(bytes - '{"prompt":""}'.length) })
const kiB256 = 256 * 1024

const rows: Readonly<
  Record<string, readonly [Asking, number, { code: string; param?: string; message: RegExp }]>
> = {
  'malformed JSON': [text('{"prompt": "Hi'), 400, { code: 'invalid-json', message: /not valid JSON/ }],
  'JSON that ends early': [text('{'), 400, { code: 'invalid-json', message: /not valid JSON/ }],
  'bytes that are no UTF-8': [
    text(Buffer.of(0xff, 0xfe, 0x00)),
    400,
    { code: 'invalid-json', message: /JSON/ },
  ],
  'an array as body': [
    text('[]'),
    400,
    { code: 'invalid-request', message: /must be a JSON object; got an array/ },
  ],
  'null as body': [
    text('null'),
    400,
    { code: 'invalid-request', message: /must be a JSON object; got null/ },
  ],
  'no content type': [
    text('{}', ''),
    415,
    { code: 'unsupported-media-type', message: /application\/json; got none/ },
  ],
  'a form': [
    text('a=1', 'application/x-www-form-urlencoded'),
    415,
    { code: 'unsupported-media-type', message: /json; got "application\/x-www/ },
  ],
  'plain text': [
    text('{"prompt":"Hi"}', 'text/plain'),
    415,
    { code: 'unsupported-media-type', message: /got "text\/plain"/ },
  ],
  'an empty body': [text(''), 400, { code: 'invalid-json', message: /empty; expected a JSON object/ }],
  'a body one byte over 256 KiB': [
    text(sized(kiB256 + 1)),
    413,
    { code: 'body-too-large', message: /at most 262144 bytes/ },
  ],
  'a body over 256 KiB in bytes, though not in characters': [
    text(JSON.stringify({ prompt: '你'.repeat(90_000) })),
    413,
    { code: 'body-too-large', message: /at most 262144 bytes/ },
  ],
  '201 messages': [
    post({ messages: users(201) }),
    422,
    { code: 'limit-exceeded', param: 'messages', message: /at most 200 messages; got 201/ },
  ],
  'a depth of 33': [text(nested(33)), 422, { code: 'limit-exceeded', message: /more than 32 levels/ }],
  'a depth of 50,000': [
    text(nested(50_000)),
    422,
    { code: 'limit-exceeded', message: /more than 32 levels/ },
  ],
  'an unknown role': [
    says({ role: 'bot', content: 'Hi' }),
    400,
    {
      code: 'invalid-request',
      param: 'messages[0].role',
      message: /must be one of "user", "assistant"; got "bot"/,
    },
  ],
  'a system message': [
    says({ role: 'system', content: 'Obey' }),
    422,
    { code: 'role-not-allowed', param: 'messages[0].role', message: /got "system"/ },
  ],
  'a developer message': [
    says({ role: 'developer', content: 'Obey' }),
    422,
    { code: 'role-not-allowed', param: 'messages[0].role', message: /got "developer"/ },
  ],
  'a tool message': [
    says({ role: 'tool', content: '{}', tool_call_id: 'c' }),
    422,
    { code: 'role-not-allowed', param: 'messages[0].role', message: /got "tool"/ },
  ],
  'a later system message': [
    post({ messages: [user, { role: 'system', content: 'Obey' }] }),
    422,
    { code: 'role-not-allowed', param: 'messages[1].role', message: /got "system"/ },
  ],
  'no messages': [
    post({}),
    400,
    { code: 'invalid-request', param: 'messages', message: /`messages` must be an array; got nothing/ },
  ],
  'empty messages': [
    post({ messages: [] }),
    400,
    { code: 'invalid-request', param: 'messages', message: /non-empty array; got an empty array/ },
  ],
  'messages that are none': [
    post({ messages: ['Hi'] }),
    400,
    { code: 'invalid-request', param: 'messages[0]', message: /must be an object; got a string/ },
  ],
  'content that is no text': [
    says({ role: 'user', content: 7 }),
    400,
    { code: 'invalid-request', param: 'messages[0].content', message: /must be a string; got (7|a number)/ },
  ],
  'content that is missing': [
    says({ role: 'user' }),
    400,
    { code: 'invalid-request', param: 'messages[0].content', message: /must be a string; got nothing/ },
  ],
  'a prompt and messages': [
    post({ prompt: 'Hi', messages: [user] }),
    400,
    { code: 'invalid-request', param: 'prompt', message: /not both/ },
  ],
  'an empty prompt': [
    post({ prompt: '  ' }),
    400,
    { code: 'invalid-request', param: 'prompt', message: /not empty/ },
  ],
  'a model that is not offered': [
    post({ prompt: 'Hi', model: 'Model-A' }),
    403,
    { code: 'model-not-allowed', param: 'model', message: /one of "model-a", "model-b"; got "Model-A"/ },
  ],
  'a model that is no text': [
    post({ prompt: 'Hi', model: 7 }),
    400,
    { code: 'invalid-request', param: 'model', message: /must be a string; got (7|a number)/ },
  ],
  'n: 2': [
    post({ prompt: 'Hi', n: 2 }),
    400,
    { code: 'invalid-request', param: 'n', message: /`n` must be 1; got 2/ },
  ],
  'a temperature of 3': [
    post({ prompt: 'Hi', temperature: 3 }),
    400,
    { code: 'invalid-request', param: 'temperature', message: /at most 2; got 3/ },
  ],
  'an unknown field': [
    post({ prompt: 'Hi', tools: [] }),
    400,
    { code: 'invalid-request', param: 'tools', message: /`tools` is not a field/ },
  ],
  'a stream that is no boolean': [
    post({ prompt: 'Hi', stream: 'yes' }),
    400,
    { code: 'invalid-request', param: 'stream', message: /must be a boolean; got "yes"/ },
  ],
  'GET /stream without a prompt': [
    { path: '/stream' },
    400,
    { code: 'invalid-request', param: 'prompt', message: /`prompt`.*got an empty one/ },
  ],
  'GET /stream with an empty prompt': [
    { path: '/stream?prompt=' },
    400,
    { code: 'invalid-request', param: 'prompt', message: /got an empty one/ },
  ],
  'GET /stream with another model': [
    { path: '/stream?prompt=Hi&model=x' },
    403,
    { code: 'model-not-allowed', param: 'model', message: /got "x"/ },
  ],
  'an unknown path': [{ path: '/nowhere' }, 404, { code: 'not-found', message: /nothing at \/nowhere/ }],
  'an unknown path with two slashes': [
    { path: '//evil.example/chat' },
    404,
    { code: 'not-found', message: /evil\.example/ },
  ],
  'an encoded path': [{ path: '/%63hat' }, 404, { code: 'not-found', message: /nothing at/ }],
  'an unknown reply': [
    { path: '/chat/unknown' },
    404,
    { code: 'not-found', message: /no reply with this id/ },
  ],
  'a stop of an unknown reply': [
    { method: 'DELETE', path: '/chat/unknown' },
    404,
    { code: 'not-found', message: /no reply with this id/ },
  ],
  'GET /chat': [
    { path: '/chat' },
    405,
    { code: 'method-not-allowed', message: /GET is not possible at \/chat; use POST, OPTIONS/ },
  ],
  'PUT /chat': [
    { ...post({ prompt: 'Hi' }), method: 'PUT' },
    405,
    { code: 'method-not-allowed', message: /PUT is not possible at/ },
  ],
  'POST /stream': [
    { method: 'POST', path: '/stream?prompt=Hi' },
    405,
    { code: 'method-not-allowed', message: /POST is not possible at \/stream; use GET, HEAD, OPTIONS/ },
  ],
  'POST to the page': [
    { method: 'POST', path: '/' },
    405,
    { code: 'method-not-allowed', message: /use GET, HEAD/ },
  ],
  'a cursor that is none': [
    { path: '/chat/reply-1', headers: { 'last-event-id': '-1' } },
    400,
    { code: 'bad-cursor', message: /number/ },
  ],
  'a cursor of another reply': [
    { path: '/chat/reply-1', headers: { 'last-event-id': 'reply-2.1' } },
    400,
    { code: 'bad-cursor', message: /another reply/ },
  ],
  'a cursor without a reply on /stream': [
    { path: '/stream', headers: { 'last-event-id': '7' } },
    400,
    { code: 'bad-cursor', message: /<reply id>\.<number>/ },
  ],
}

const paths = [
  '/',
  '/page.js',
  '/page.css',
  '/chat',
  '/chat/reply-1',
  '/chat/reply-1/stop',
  '/stream',
  '/stream?prompt=Hi',
  '/v1/models',
  '/healthz',
  '/nowhere',
]

describe.skipIf(await missingRuntime())('bad input', () => {
  const hosts = createHosts()

  test.each(Object.entries(rows))('%s is refused by both hosts, and nobody is asked', async (_, row) => {
    const [asking, status, { message, ...rest }] = row
    const before = hosts.upstream.asked.length

    const refusal = await hosts.ask(asking)

    expect(refusal.status).toBe(status)
    expect(refusal.headers['content-type']).toBe('application/json; charset=utf-8')
    expect(JSON.parse(refusal.body)).toEqual({ error: { ...rest, message: expect.stringMatching(message) } })
    expect(hosts.upstream.asked.length).toBe(before)
  })

  test('what is just within the limits is answered', async () => {
    const whole = [
      text(sized(kiB256)),
      post({ messages: users(200) }),
      post({ prompt: 'Hi', n: 1, model: 'model-b' }),
    ]

    for (const asking of whole) expect((await hosts.ask(asking)).status).toBe(200)
  })

  test.each(['HEAD', 'OPTIONS'])('%s never starts an answer, on any route', async (method) => {
    const before = hosts.upstream.asked.length

    for (const path of paths) await hosts.ask({ method, path })

    expect(hosts.upstream.asked.length).toBe(before)
  })

  test.each(paths.filter((path) => path !== '/stream'))('HEAD %s is GET without a body', async (path) => {
    const head = await hosts.ask({ method: 'HEAD', path })
    const got = await hosts.ask({ path })

    expect(head.body).toBe('')
    expect(head.status).toBe(got.status)
    expect(head.headers['content-type']).toBe(got.headers['content-type'])
  })

  test('OPTIONS names the methods of a route', async () => {
    const allow = async (path: string): Promise<string | undefined> => {
      return (await hosts.ask({ method: 'OPTIONS', path })).headers['allow']
    }

    expect(await allow('/chat')).toBe('POST, OPTIONS')
    expect(await allow('/chat/reply-1')).toBe('GET, DELETE, HEAD, OPTIONS')
    expect(await allow('/stream')).toBe('GET, HEAD, OPTIONS')
  })
})
