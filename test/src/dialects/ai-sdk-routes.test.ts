import { describe, expect, test } from 'vitest'
import { ChatError } from '../../../src/errors.ts'
import { createHandler } from '../../../src/handler.ts'
import type { Handler, HttpReply } from '../../../src/types.ts'
import { type Asking, hel, http, lo, script, type Step, stop, textOf, until } from '../kit.ts'

const parts = [{ type: 'text', text: 'Hi?' }]
const body = { id: 'chat 1/2', messages: [{ id: 'u1', role: 'user', parts }], trigger: 'submit-message' }
const chat = '/api/chat/chat%201%2F2'

interface Served {
  readonly handler: Handler
  readonly model: ReturnType<typeof script>
  ask(url: string, asking?: Asking): Promise<HttpReply>
}

function serve(...steps: readonly Step[]): Served {
  const model = script(steps)
  let replies = 0
  const handler = createHandler({
    upstream: model.upstream,
    model: 'm',
    retries: 0,
    createId: () => `reply-${++replies}`,
  })
  // Every request is of the same client.
  function ask(url: string, asking: Asking = {}): Promise<HttpReply> {
    const headers = { 'x-client-secret': 'the-secret-of-the-test-client', ...asking.headers }
    return handler(http(url, { ...asking, headers }))
  }
  return { handler, model, ask }
}

/** The data of the frames of a reply. */
async function dataOf(reply: HttpReply): Promise<readonly string[]> {
  return (await textOf(reply)).split('\n\n').slice(0, -1)
}

test('a question is answered by a stream that names its reply', async () => {
  const { ask } = serve(hel, lo, stop)

  const reply = await ask('/api/chat', { body })

  expect(reply.status).toBe(200)
  expect(reply.headers).toMatchObject({
    'content-type': 'text/event-stream; charset=utf-8',
    'x-vercel-ai-ui-message-stream': 'v1',
    'x-workflow-run-id': 'reply-1',
    'x-reply-id': 'reply-1',
  })
  expect(await dataOf(reply)).toEqual([
    expect.stringContaining('"messageId":"reply-1"') as string,
    'data: {"type":"start-step"}',
    'data: {"type":"text-start","id":"text-1"}',
    'data: {"type":"text-delta","id":"text-1","delta":"Hel"}',
    'data: {"type":"text-delta","id":"text-1","delta":"lo"}',
    'data: {"type":"text-end","id":"text-1"}',
    'data: {"type":"finish-step"}',
    'data: {"type":"finish","finishReason":"stop"}',
    'data: [DONE]',
  ])
})

test('an answer goes on with the page’s own message, and is one of its own for who reads it anew', async () => {
  const { ask } = serve(hel, stop)
  const said = { id: 'msg-2', role: 'assistant', parts: [{ type: 'text', text: 'Well,' }] }

  const asked = await dataOf(await ask('/api/chat', { body: { messages: [...body.messages, said] } }))
  const anew = await dataOf(await ask('/api/chat/reply-1/stream'))
  const from0 = await dataOf(await ask('/api/chat/reply-1/stream?startIndex=0'))

  expect(asked[0]).toContain('"messageId":"msg-2"')
  expect(from0).toEqual(asked)
  expect(anew[0]).toContain('"messageId":"reply-1"')
  expect(anew.slice(1)).toEqual(asked.slice(1))
})

describe('who comes back', () => {
  test('gets a running answer of the chat from its beginning', async () => {
    const { ask, model } = serve(hel, 'wait', lo, stop)
    const first = textOf(await ask('/api/chat', { body }))

    const again = await ask(`${chat}/stream`)

    expect(again.headers).toMatchObject({
      'x-workflow-run-id': 'reply-1',
      'x-vercel-ai-ui-message-stream': 'v1',
    })
    const second = textOf(again)
    model.release()
    expect(await second).toBe(await first)
  })

  test('gets the newest answer of the chat', async () => {
    const { ask } = serve(hel, 'wait')
    await ask('/api/chat', { body })
    await ask('/api/chat', { body })

    expect((await ask(`${chat}/stream`)).headers['x-reply-id']).toBe('reply-2')
  })

  test('is told that nothing is being answered', async () => {
    const { ask } = serve(hel, stop)
    await textOf(await ask('/api/chat', { body }))

    for (const url of [`${chat}/stream`, '/api/chat/unknown/stream', `/api/chat/${'x'.repeat(300)}/stream`]) {
      expect(await ask(url)).toMatchObject({ status: 204, body: '' })
    }
  })

  test('gets an answer that is over by its own id', async () => {
    const { ask } = serve(hel, stop)
    const first = await textOf(await ask('/api/chat', { body }))

    expect(await textOf(await ask('/api/chat/reply-1/stream'))).toBe(first)
    expect(await textOf(await ask('/api/chat/reply-1/stream?startIndex=0'))).toBe(first)
  })

  // Seven chunks: start, start-step, text-start, text-delta, text-end, finish-step, finish.
  test.each([
    ['2', 2],
    ['6', 6],
    ['-1', 6],
    ['-7', 0],
    ['-100', 0],
    ['-0', 0],
  ])('at index %s gets what comes from chunk %i on', async (startIndex, from) => {
    const { ask } = serve(hel, stop)
    const all = await dataOf(await ask('/api/chat', { body }))

    const reply = await ask(`/api/chat/reply-1/stream?startIndex=${startIndex}`)

    expect(reply.headers['x-workflow-stream-tail-index']).toBe('6')
    expect(await dataOf(reply)).toEqual(all.slice(from))
  })

  test.each(['7', '8', '999999999'])('at index %s is told that there is nothing more', async (startIndex) => {
    const { ask } = serve(hel, stop)
    await textOf(await ask('/api/chat', { body }))

    const reply = await ask(`/api/chat/reply-1/stream?startIndex=${startIndex}`)

    expect(reply).toMatchObject({ status: 204, body: '', headers: { 'x-workflow-stream-tail-index': '6' } })
  })

  test('counts from the end of what there is while more comes', async () => {
    const { ask, model } = serve(hel, 'wait', lo, stop)
    const first = textOf(await ask('/api/chat', { body }))

    const reply = await ask(`${chat}/stream?startIndex=-1`)

    expect(reply.headers['x-workflow-stream-tail-index']).toBe('3')
    const rest = textOf(reply)
    model.release()
    expect((await first).endsWith(`\n\n${await rest}`)).toBe(true)
    expect(await rest).toMatch(/^data: \{"type":"text-delta","id":"text-1","delta":"Hel"\}/)
  })

  test('beyond what there is waits for it', async () => {
    const { ask, model } = serve(hel, 'wait', lo, stop)
    void textOf(await ask('/api/chat', { body }))

    const rest = dataOf(await ask(`${chat}/stream?startIndex=5`))
    model.release()

    expect((await rest)[0]).toBe('data: {"type":"text-end","id":"text-1"}')
  })

  test.each(['', 'x', '1.5', '1e3', '0x1', ' ', '--1', '9'.repeat(16)])(
    'at index %j is refused',
    async (text) => {
      const { ask } = serve(hel, stop)
      await textOf(await ask('/api/chat', { body }))

      const reply = await ask(`/api/chat/reply-1/stream?startIndex=${encodeURIComponent(text)}`)

      expect(reply).toMatchObject({ status: 400, headers: { 'x-error-code': 'bad-cursor' } })
      expect(reply.body).toContain('`startIndex` must be a whole number')
    },
  )

  test('to what nobody knows at an index is told so', async () => {
    const reply = await serve().ask('/api/chat/reply-9/stream?startIndex=0')

    expect(reply).toMatchObject({ status: 404, headers: { 'x-error-code': 'not-found' } })
  })

  test('may ask for the head alone, and reads nothing', async () => {
    const { ask, model } = serve(hel, 'wait')
    await ask('/api/chat', { body })

    const reply = await ask(`${chat}/stream`, { method: 'HEAD' })

    expect(reply).toMatchObject({ status: 200, body: '', headers: { 'x-workflow-run-id': 'reply-1' } })
    expect(await ask('/api/chat/unknown/stream', { method: 'HEAD' })).toMatchObject({ status: 204 })
    model.release()
  })
})

describe('a stop', () => {
  test.each<[method: string, path: string]>([
    ['POST', `${chat}/stop`],
    ['DELETE', chat],
    ['POST', '/api/chat/reply-1/stop'],
    ['DELETE', '/api/chat/reply-1'],
  ])('by %s %s ends the answer for everybody', async (method, path) => {
    const { ask, model } = serve(hel, 'wait', lo, stop)
    const read = textOf(await ask('/api/chat', { body }))

    const reply = await ask(path, { method })

    expect(reply).toMatchObject({ status: 200, body: '{"id":"reply-1","status":"stopped"}' })
    expect((await read).split('\n\n').slice(-5, -1)).toEqual([
      'data: {"type":"finish-step"}',
      'data: {"type":"abort"}',
      'data: {"type":"finish","finishReason":"other"}',
      'data: [DONE]',
    ])
    await until(() => model.open() === 0)
  })

  test('of an answer that is over changes nothing', async () => {
    const { ask } = serve(hel, stop)
    await textOf(await ask('/api/chat', { body }))

    expect(await ask('/api/chat/reply-1/stop', { method: 'POST' })).toMatchObject({
      status: 200,
      body: '{"id":"reply-1","status":"ended"}',
    })
  })

  test('of what nobody knows is told so, in plain text', async () => {
    expect(await serve().ask(`${chat}/stop`, { method: 'POST' })).toMatchObject({
      status: 404,
      headers: { 'content-type': 'text/plain; charset=utf-8', 'x-error-code': 'not-found' },
      body: 'Nothing is being answered in this chat, and there is no reply with this id.',
    })
  })
})

describe('a refusal is plain text:', () => {
  test.each<[what: string, url: string, asking: Asking, status: number, code: string]>([
    ['a field that is wrong', '/api/chat', { body: { messages: [] } }, 400, 'invalid-request'],
    ['no JSON', '/api/chat', { body: '{' }, 400, 'invalid-json'],
    [
      'a model that is not allowed',
      '/api/chat',
      { body: { ...body, model: 'gold' } },
      403,
      'model-not-allowed',
    ],
    ['a method that is not possible', '/api/chat', { method: 'PUT', body }, 405, 'method-not-allowed'],
    ['an address that is none', '/api/chat/%E0%A4%A/stream', {}, 400, 'invalid-request'],
    ['a model that fails at once', '/api/chat', { body }, 502, 'upstream-error'],
  ])('%s', async (_, url, asking, status, code) => {
    const { ask } = serve(new ChatError('upstream-error', 'It broke.'))

    const reply = await ask(url, asking)

    expect(reply).toMatchObject({
      status,
      headers: { 'content-type': 'text/plain; charset=utf-8', 'x-error-code': code },
    })
    expect(reply.body).toMatch(/^[A-Z`][^{}]+\.$/)
  })
})

test('a request that is too large is told what makes it smaller, be it words or images', async () => {
  const url = `data:image/png;base64,${'A'.repeat(2_000_000)}`
  const parts = [{ type: 'file', mediaType: 'image/png', url }]

  const reply = await serve(hel, stop).ask('/api/chat', { body: { messages: [{ role: 'user', parts }] } })

  expect(reply).toMatchObject({ status: 413, headers: { 'x-error-code': 'body-too-large' } })
  expect(reply.body).toMatch(/ bytes\. Send less: fewer or shorter messages, smaller images\.$/)
})

describe('JSON that says it is plain text', () => {
  const asPlain = (headers: Readonly<Record<string, string>>): Asking => ({
    body: JSON.stringify(body),
    headers: { 'content-type': 'text/plain;charset=UTF-8', ...headers },
  })

  test.each<[who: string, headers: Readonly<Record<string, string>>]>([
    ['a program', {}],
    ['a page of this service', { 'sec-fetch-site': 'same-origin' }],
    ['an older browser on this service', { origin: 'https://chat.example', host: 'chat.example' }],
  ])('is taken from %s', async (_, headers) => {
    expect(await serve(hel, stop).ask('/api/chat', asPlain(headers))).toMatchObject({ status: 200 })
  })

  test.each<[who: string, headers: Readonly<Record<string, string>>]>([
    ['a page of another site', { 'sec-fetch-site': 'cross-site' }],
    ['a page of another host of this site', { 'sec-fetch-site': 'same-site' }],
    ['an older browser elsewhere', { origin: 'https://evil.example', host: 'chat.example' }],
  ])('is refused from %s', async (_, headers) => {
    const { ask, model } = serve(hel, stop)

    expect(await ask('/api/chat', asPlain(headers))).toMatchObject({ status: 415 })

    expect(model.asked).toHaveLength(0)
  })
})

describe('the next question of a chat', () => {
  async function leave({ body: frames }: HttpReply): Promise<void> {
    if (typeof frames === 'string') return expect.fail('it is no stream')
    await frames.next()
    await frames.return?.()
  }

  test('ends an answer that everybody has left', async () => {
    const { ask, model } = serve(hel, 'wait', lo, stop)
    await leave(await ask('/api/chat', { body }))
    expect(model.open()).toBe(1)

    const next = await ask('/api/chat', { body })

    const frames = await dataOf(await ask('/api/chat/reply-1/stream'))
    expect(frames.at(-2)).toContain('"errorText":"The answer was ended because nobody was reading it."')
    await until(() => model.open() === 1)
    await leave(next)
  })

  test('leaves an answer alone that somebody still reads, in another tab', async () => {
    const { ask, model } = serve(hel, 'wait', lo, stop)
    const first = textOf(await ask('/api/chat', { body }))

    const second = textOf(await ask('/api/chat', { body }))
    model.release()

    expect(await Promise.all([first, second])).toEqual([
      expect.stringContaining('"finishReason":"stop"'),
      expect.stringContaining('"finishReason":"stop"'),
    ])
  })
})

describe('an answer that ended while its page was away', () => {
  async function leave({ body: frames }: HttpReply): Promise<void> {
    if (typeof frames === 'string') return expect.fail('it is no stream')
    await frames.next()
    await frames.return?.()
  }

  test('is told to the page once, when it comes back', async () => {
    const { ask, model } = serve(hel, 'wait', lo, stop)
    await leave(await ask('/api/chat', { body }))
    model.release()
    await until(() => model.open() === 0)

    const first = await ask(`${chat}/stream`)
    const frames = await dataOf(first)
    const second = await ask(`${chat}/stream`)

    expect(frames[0]).toContain('"messageId":"reply-1"')
    expect(frames).toContain('data: {"type":"text-delta","id":"text-1","delta":"lo"}')
    expect(frames.at(-2)).toContain('"type":"finish"')
    expect(second.status).toBe(204)
  })

  test('is told again when the page was away again before its end', async () => {
    const { ask, model } = serve(hel, 'wait', lo, stop)
    await leave(await ask('/api/chat', { body }))
    model.release()
    await until(() => model.open() === 0)
    const controller = new AbortController()
    controller.abort()
    await textOf(await ask(`${chat}/stream`, { signal: controller.signal }))

    const again = await ask(`${chat}/stream`)

    expect((await dataOf(again)).at(-2)).toContain('"type":"finish"')
  })

  test('is not told when the page itself had it stopped', async () => {
    const { ask } = serve(hel, 'wait', lo, stop)
    const reply = await ask('/api/chat', { body })
    await leave(reply)
    await ask(`${chat}/stop`, { method: 'POST' })
    await reply.settled

    expect((await ask(`${chat}/stream`)).status).toBe(204)
  })

  test.each<[string, readonly Step[], number]>([
    ['was read, while its upstream still cleaned up', [hel, stop], 200],
    ['was refused', [new ChatError('rate-limited', 'Later.')], 429],
  ])('is not told when it %s', async (_, steps, status) => {
    const scripted = script(steps)
    const handler = createHandler({
      model: 'm',
      retries: 0,
      async *upstream(request, options) {
        try {
          yield* scripted.upstream(request, options)
        } finally {
          await new Promise((resolve) => setTimeout(resolve, 30))
        }
      },
    })
    const reply = await handler(http('/api/chat', { body }))
    await textOf(reply)
    await reply.settled

    const again = await handler(http(`${chat}/stream`))

    expect([reply.status, again.status]).toEqual([status, 204])
  })
})
