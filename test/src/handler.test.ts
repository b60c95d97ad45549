import { describe, expect, test, vi } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import { createHandler, type DialectName, type HandlerOptions } from '../../src/handler.ts'
import type { HttpReply } from '../../src/types.ts'
import {
  type Asking,
  deltasIn,
  hel,
  http,
  lo,
  script,
  type Script,
  type Step,
  stop,
  textOf,
  until,
} from './kit.ts'

const whole: Step[] = [hel, lo, stop]
const started = { type: 'start', id: 'r1', model: 'm', createdAt: 5 }

function handlerOf(scripted: Script = script(whole), options: Partial<HandlerOptions> = {}) {
  let number = 0
  return createHandler({
    upstream: scripted.upstream,
    model: 'm',
    createId: () => `r${++number}`,
    now: () => 5,
    retries: 0,
    ...options,
  })
}

async function answer(url: string, asking?: Asking, options?: Partial<HandlerOptions>) {
  const scripted = script(whole)
  const reply = await handlerOf(scripted, options)(http(url, asking))
  return { reply, body: await textOf(reply), scripted }
}

async function error(reply: HttpReply): Promise<{ code: string; message: string; param?: string }> {
  return (JSON.parse(await textOf(reply)) as { error: { code: string; message: string } }).error
}

describe('a question', () => {
  test('posted is answered with a stream of events', async () => {
    const { reply, body } = await answer('/chat', { body: { prompt: 'hi' } })

    expect(reply.status).toBe(200)
    expect(reply.headers).toEqual({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      'x-reply-id': 'r1',
    })
    expect(body).toBe(
      'id: 1\ndata: {"type":"start","id":"r1","model":"m","createdAt":5}\n\n' +
        'id: 2\ndata: {"type":"text","text":"Hel"}\n\n' +
        'id: 3\ndata: {"type":"text","text":"lo"}\n\n' +
        'id: 4\ndata: {"type":"finish","reason":"stop"}\n\n',
    )
  })

  test('of an EventSource has ids that name the reply, and one before anything was said', async () => {
    const { reply, body, scripted } = await answer('/stream?prompt=hi&model=m')

    expect(reply.headers['x-reply-id']).toBe('r1')
    expect(body).toMatch(/^retry: 1\d\d\d\nid: r1\.0\n\nid: r1\.1\ndata: \{"type":"start"/)
    expect([...body.matchAll(/^id: (.*)$/gm)].map(([, id]) => id)).toEqual(
      [0, 1, 2, 3, 4].map((seq) => `r1.${seq}`),
    )
    expect(deltasIn(body)).toEqual([started, ...whole])
    expect(scripted.asked).toEqual([expect.objectContaining({ messages: [{ role: 'user', content: 'hi' }] })])
  })

  test('that wants one document gets the whole answer', async () => {
    const usage = { type: 'usage' as const, inputTokens: 1, outputTokens: 2 }
    const call = { type: 'tool-call' as const, index: 0, id: 'c', name: 'f', arguments: '{"a"' }
    const more = { type: 'tool-call' as const, index: 0, arguments: ':1}' }
    const steps: Step[] = [{ type: 'reasoning', text: 'Hm.' }, hel, lo, call, more, usage, stop]
    const handler = handlerOf(script(steps))

    const reply = await handler(http('/chat', { body: { prompt: 'hi', stream: false } }))

    expect(reply.status).toBe(200)
    expect(reply.headers).toMatchObject({
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      'x-reply-id': 'r1',
    })
    expect(JSON.parse(await textOf(reply))).toEqual({
      id: 'r1',
      model: 'm',
      createdAt: 5,
      text: 'Hello',
      reasoning: 'Hm.',
      toolCalls: [{ id: 'c', name: 'f', arguments: '{"a":1}' }],
      usage: { inputTokens: 1, outputTokens: 2 },
      finishReason: 'stop',
    })
  })

  test.each<[string, Step[]]>([
    ['before its first word', [new ChatError('upstream-timeout', 'Slow.')]],
    ['in the middle', [hel, new ChatError('upstream-timeout', 'Slow.')]],
  ])('that wants one document gets a status when the answer fails %s, never half of it', async (_, steps) => {
    const reply = await handlerOf(script(steps))(http('/chat', { body: { prompt: 'hi', stream: false } }))

    expect(reply.status).toBe(504)
    expect(await error(reply)).toEqual({ code: 'upstream-timeout', message: 'Slow.' })
  })

  test.each<[string, number, ChatError]>([
    ['429', 429, new ChatError('rate-limited', 'Later.', { retryAfterMs: 1500 })],
    ['502', 502, new ChatError('upstream-auth', 'No.')],
    ['404 as the upstream says it', 404, new ChatError('upstream-rejected', 'No model.', { status: 404 })],
    ['500', 500, new Error('secret') as ChatError],
  ])('that fails before its first word is answered with %s', async (_, status, failure) => {
    const errors: unknown[] = []
    const onError = (problem: ChatError, context: object): void => void errors.push([problem.code, context])
    const handler = handlerOf(script([failure]), { onError })

    const reply = await handler(http('/chat', { body: { prompt: 'hi' } }))
    await reply.settled

    const { code, message } = await error(reply)
    expect(reply.status).toBe(status)
    expect(reply.headers['x-reply-id']).toBe('r1')
    expect(reply.headers['retry-after']).toBe(status === 429 ? '2' : undefined)
    expect(message).not.toContain('secret')
    expect(errors).toEqual([[code, { replyId: 'r1' }]])
  })

  test('that fails later has an error as its last event', async () => {
    const handler = handlerOf(script([hel, new ChatError('upstream-truncated', 'Broke off.')]))

    const reply = await handler(http('/chat', { body: { prompt: 'hi' } }))

    expect(reply.status).toBe(200)
    expect(deltasIn(await textOf(reply))).toEqual([
      started,
      hel,
      { type: 'error', code: 'upstream-truncated', message: 'Broke off.', retryable: true },
    ])
  })

  test('where nothing can be streamed is refused with the address that can, a document is not', async () => {
    const options = { streamingElsewhere: 'https://f.example/' }

    const { reply, body, scripted } = await answer('/chat', { body: { prompt: 'hi' } }, options)
    const get = await answer('/stream?prompt=hi', {}, options)
    const document = await answer('/chat', { body: { prompt: 'hi', stream: false } }, options)

    expect([reply.status, get.reply.status, document.reply.status]).toEqual([501, 501, 200])
    expect(body).toContain('https://f.example/')
    expect(scripted.asked.length + get.scripted.asked.length).toBe(0)
  })
})

describe('what the upstream is asked', () => {
  async function asked(options: Partial<HandlerOptions>, body: object) {
    const { scripted, reply } = await answer('/chat', { body: { prompt: 'hi', ...body } }, options)
    return { request: scripted.asked[0], status: reply.status }
  }

  test('begins with the instructions of the service', async () => {
    const { request } = await asked({ systemPrompt: 'Be kind.' }, {})

    expect(request?.messages).toEqual([
      { role: 'system', content: 'Be kind.' },
      { role: 'user', content: 'hi' },
    ])
  })

  test.each([
    [undefined, undefined, 16_384],
    [undefined, 10, 10],
    [undefined, 100_000, 16_384],
    [Infinity, undefined, undefined],
    [Infinity, 100_000, 100_000],
    [100, undefined, 100],
    [100, 10, 10],
    [100, 1000, 100],
  ])(
    'has a limit of tokens: at most %s of the service, %s of the request, makes %s',
    async (max, own, limit) => {
      const { request } = await asked({ maxOutputTokens: max }, own === undefined ? {} : { max_tokens: own })

      expect(request?.maxOutputTokens).toBe(limit)
    },
  )

  test.each<[readonly string[] | '*' | undefined, string | undefined, string | number]>([
    [undefined, undefined, 'm'],
    [undefined, 'm', 'm'],
    [undefined, 'other', 403],
    [['m', 'b'], 'b', 'b'],
    [['b'], 'm', 'm'],
    [['m', 'b'], 'B', 403],
    ['*', 'anything', 'anything'],
    ['*', undefined, 'm'],
  ])('is a model of %j: %s gets %s', async (models, model, result) => {
    const { request, status } = await asked({ models }, model ? { model } : {})

    expect(request?.model ?? status).toBe(result)
  })
})

describe('a bad request is refused before anything is asked', () => {
  const post = (body: unknown, headers = {}): [string, Asking] => ['/chat', { method: 'POST', body, headers }]
  const rows: Record<string, [[string, Asking], number, string]> = {
    'malformed JSON': [post('{"prompt":'), 400, 'invalid-json'],
    'an empty body': [post(''), 400, 'invalid-json'],
    'no content type': [post('{}', { 'content-type': '' }), 415, 'unsupported-media-type'],
    'another content type': [post('{}', { 'content-type': 'text/plain' }), 415, 'unsupported-media-type'],
    'a body that says it is too large': [post('{}', { 'content-length': '262145' }), 413, 'body-too-large'],
    'a body that is too large': [post({ prompt: 'é'.repeat(140_000) }), 413, 'body-too-large'],
    'too many messages': [
      post({ messages: Array.from({ length: 201 }, () => ({ role: 'user', content: '' })) }),
      422,
      'limit-exceeded',
    ],
    'a deep body': [post(`${'['.repeat(33)}${']'.repeat(33)}`), 422, 'limit-exceeded'],
    'an unknown role': [post({ messages: [{ role: 'bot', content: '' }] }), 400, 'invalid-request'],
    'a role of the service': [post({ messages: [{ role: 'system', content: '' }] }), 422, 'role-not-allowed'],
    'no messages': [post({ messages: [] }), 400, 'invalid-request'],
    'content that is no text': [post({ messages: [{ role: 'user', content: 1 }] }), 400, 'invalid-request'],
    'a model that is not offered': [post({ prompt: 'hi', model: 'x' }), 403, 'model-not-allowed'],
    'two answers': [post({ prompt: 'hi', n: 2 }), 400, 'invalid-request'],
    'a prompt that is missing': [['/stream', {}], 400, 'invalid-request'],
    'a model in the address that is not offered': [
      ['/stream?prompt=hi&model=x', {}],
      403,
      'model-not-allowed',
    ],
    'a path of nobody': [['/chats', {}], 404, 'not-found'],
    'a path with a trailing slash': [['/chat/', post({ prompt: 'hi' })[1]], 404, 'not-found'],
    'a method that is not possible': [['/chat', { method: 'GET' }], 405, 'method-not-allowed'],
    'a method nobody knows': [['/stream', { method: 'BREW' }], 405, 'method-not-allowed'],
    'an address that is none': [['http://[', {}], 400, 'invalid-request'],
  }

  test.each(Object.entries(rows))('%s', async (_, [[url, asking], status, code]) => {
    const { reply, body, scripted } = await answer(url, asking)

    expect(reply.status).toBe(status)
    expect(reply.headers['content-type']).toBe('application/json; charset=utf-8')
    expect(JSON.parse(body)).toEqual({
      error: {
        code,
        message: expect.stringMatching(/.{20}/),
        ...(/"param"/.test(body) ? { param: expect.any(String) } : {}),
      },
    })
    expect(scripted.asked).toEqual([])
  })

  test('an upper limit of bytes is one: exactly as many are accepted', async () => {
    const body = JSON.stringify({ prompt: 'hi' })

    const exact = await answer('/chat', { body }, { maxBodyBytes: body.length })
    const less = await answer('/chat', { body }, { maxBodyBytes: body.length - 1 })

    expect([exact.reply.status, less.reply.status]).toEqual([200, 413])
  })

  test.each(['application/json', 'application/json; charset=utf-8', 'Application/JSON ;x=y'])(
    'but %s is JSON',
    async (type) => {
      const { reply } = await answer('/chat', { body: { prompt: 'hi' }, headers: { 'content-type': type } })

      expect(reply.status).toBe(200)
    },
  )
})

describe('asking without wanting', () => {
  test.each(['/chat', '/stream?prompt=hi', '/chat/r1', '/chat/r1/stop', '/v1/models', '/healthz'])(
    'OPTIONS %s tells what is possible and starts nothing',
    async (url) => {
      const { reply, body, scripted } = await answer(url, { method: 'OPTIONS' })

      expect(reply.status).toBe(204)
      expect(reply.headers['allow']).toMatch(/^(GET|POST).*OPTIONS$/)
      expect(body).toBe('')
      expect(scripted.asked).toEqual([])
    },
  )

  test.each<[string, number, string | undefined]>([
    ['/stream?prompt=hi', 200, 'text/event-stream; charset=utf-8'],
    ['/v1/models', 200, 'application/json; charset=utf-8'],
    ['/healthz', 200, 'application/json; charset=utf-8'],
    ['/chat', 405, 'application/json; charset=utf-8'],
    ['/chat/unknown', 404, 'application/json; charset=utf-8'],
  ])('HEAD %s has the status %i and starts nothing', async (url, status, type) => {
    const { reply, scripted } = await answer(url, { method: 'HEAD' })

    expect(reply.status).toBe(status)
    expect(reply.headers['content-type']).toBe(type)
    expect(scripted.asked).toEqual([])
  })
})

test('health and models are told without asking anybody', async () => {
  const options = { models: ['m', 'b'] }

  expect(JSON.parse((await answer('/healthz', {}, options)).body)).toEqual({ status: 'ok' })
  const { data } = JSON.parse((await answer('/v1/models', {}, options)).body) as { data: { id: string }[] }
  expect(data.map(({ id }) => id)).toEqual(['m', 'b'])
})

test('a path that is none of ours is marked, so that an app around us can answer it', async () => {
  expect((await answer('/elsewhere')).reply.unmatched).toBe(true)
  expect((await answer('/chat', { method: 'PUT' })).reply.unmatched).toBeUndefined()
})

test('it never rejects, whatever a request or a store does', async () => {
  const onError = vi.fn<() => void>(() => {
    throw new Error('a logger that fails')
  })
  const broken = () => {
    throw new Error('secret')
  }
  const log = { create: broken, discard: broken, append: broken, read: broken, state: broken, ask: broken }
  const store = { ...log, claim: broken, find: broken, release: broken, ready: broken }
  const handler = handlerOf(script(whole), { onError, store })
  const requests = [
    http('/chat', { body: { prompt: 'hi' } }),
    http('/chat', { body: { prompt: 'hi', stream: false } }),
    http('/chat/r1'),
    http('/chat/r1', { method: 'DELETE' }),
    http('/chat/r1', { method: 'HEAD' }),
    http('/stream', { headers: { 'last-event-id': 'r1.1' } }),
    { ...http('/chat', { body: {} }), text: () => Promise.reject(new Error('secret')) },
  ]

  for (const request of requests) {
    const reply = await handler(request)
    expect([reply.status, (await textOf(reply)).includes('secret')]).toEqual([500, false])
  }
  await until(() => onError.mock.calls.length >= requests.length)
})

test.each<[readonly DialectName[], readonly number[]]>([
  [
    ['events', 'openai', 'ai-sdk'],
    [200, 200, 200],
  ],
  [['events'], [200, 404, 404]],
  [['openai'], [404, 200, 404]],
  [['ai-sdk'], [404, 404, 200]],
  [[], [404, 404, 404]],
])('of the dialects %j are spoken, and models are listed all the same', async (dialects, statuses) => {
  const { upstream } = script([hel, stop])
  const handler = createHandler({ upstream, model: 'm', dialects })
  const parts = [{ type: 'text', text: 'hi' }]
  const asked = [
    http('/chat', { body: { prompt: 'hi' } }),
    http('/v1/chat/completions', { body: { messages: [{ role: 'user', content: 'hi' }] } }),
    http('/api/chat', { body: { messages: [{ id: 'u', role: 'user', parts }] } }),
  ]

  const replies = await Promise.all(asked.map(handler))

  expect(replies.map(({ status }) => status)).toEqual(statuses)
  expect((await handler(http('/v1/models'))).status).toBe(200)
})

test.each([
  [undefined, 'messages[1].content'],
  ['Be kind.', 'messages[0].content'],
])('a place that the upstream names is one of the client (instructions: %j)', async (systemPrompt, param) => {
  const refusal = new ChatError('upstream-rejected', 'No.', { param: 'messages[1].content', status: 400 })
  const { upstream } = script([refusal])
  const handler = createHandler({ upstream, model: 'm', retries: 0, systemPrompt })

  const reply = await handler(http('/chat', { body: { prompt: 'hi' } }))

  expect(JSON.parse(await textOf(reply))).toMatchObject({ error: { param } })
})
