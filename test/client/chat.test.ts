import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { chat, ChatClientError } from '../../client/index.ts'
import { createPlace, createStates, eager, read } from './place.ts'
import {
  createService,
  cutAfter,
  decline,
  deltas,
  endAfter,
  everything,
  hangUp,
  open,
  refuse,
  send,
  stallAfter,
  toEvents,
} from './service.ts'

const service = createService()
const messages = [{ role: 'user', content: 'Tell me a story.' }] as const

describe('a question', () => {
  test('is answered with the deltas of the reply, and then it is over', async () => {
    const { seen, onState } = createStates()
    const ids: string[] = []

    const reply = chat({ url: service.url, messages, onState, onId: (id) => ids.push(id) })
    const before = [reply.id, reply.cursor]
    const { got, thrown } = await read(reply)

    expect(thrown).toBeUndefined()
    expect(got).toEqual(deltas)
    expect(before).toEqual([undefined, 0])
    expect([reply.id, reply.cursor, reply.state]).toEqual(['reply-1', 6, 'ended'])
    expect(ids).toEqual(['reply-1'])
    expect(seen).toEqual(['connecting', 'live', 'ended'])
  })

  test('is one POST with its fields, a key of its own, and what headers the caller adds', async () => {
    const headers = { authorization: 'Bearer t', accept: 'text/html' }
    const fields = { messages, model: 'large', body: { temperature: 0, model: 'small' } }

    await read(chat({ url: `${service.url}/?tenant=1`, headers, ...fields }))
    await read(chat({ url: service.url, prompt: 'hi' }))

    const [first, second] = service.exchanges
    expect(service.story).toEqual(['POST', 'POST'])
    expect(first!.path).toBe('/chat?tenant=1')
    expect(JSON.parse(first!.body)).toEqual({ messages, model: 'large', temperature: 0 })
    expect(JSON.parse(second!.body)).toEqual({ prompt: 'hi' })
    expect(first!.headers).toMatchObject({
      accept: 'text/event-stream',
      authorization: 'Bearer t',
      'content-type': 'application/json',
      'idempotency-key': expect.stringMatching(/^[0-9a-f]{32}$/) as string,
      'x-client-secret': expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    })
    expect(second!.headers['x-client-secret']).toBe(first!.headers['x-client-secret'])
    expect(second!.headers['idempotency-key']).not.toBe(first!.headers['idempotency-key'])
  })

  test('is sent under the secret that the caller gives', async () => {
    await read(chat({ url: service.url, prompt: 'hi', clientSecret: 'a-secret-of-its-own' }))

    expect(service.exchanges[0]?.headers['x-client-secret']).toBe('a-secret-of-its-own')
  })

  test('is not sent before the loop begins, and not again by a second loop', async () => {
    const reply = chat({ url: service.url, prompt: 'hi' })
    const before = service.story.length

    const first = await read(reply)
    const second = await read(reply)

    expect(before).toBe(0)
    expect(first.got).toEqual(deltas)
    expect(second.got).toEqual([])
    expect(service.story).toEqual(['POST'])
  })

  test('that fails on the way is sent again under the same key, and asked once', async () => {
    service.answers = [hangUp, hangUp, refuse(502, '<html>'), decline(503, 'overloaded'), everything]
    const { seen, onState } = createStates()

    const { got } = await read(eager({ url: service.url, prompt: 'hi', key: 'k-1', onState }))

    expect(got).toEqual(deltas)
    expect(service.story).toEqual(['POST', 'POST', 'POST', 'POST', 'POST'])
    expect([...service.replies.keys()]).toEqual(['k-1'])
    expect(new Set(service.exchanges.map(({ body }) => body)).size).toBe(1)
    expect(seen).toEqual(['connecting', 'resuming', 'live', 'ended'])
  })

  test('a reply whose id no header told is known by its first delta', async () => {
    const cut = toEvents(deltas)
      .split(/(?<=\n\n)/)
      .slice(0, 2)
      .join('')
    service.answers = [
      ({ response }) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(cut),
    ]

    const { got } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(got).toEqual(deltas)
    expect(service.story).toEqual(['POST', 'GET after 2'])
  })

  test('headers from a function are asked for at each request', async () => {
    service.answers = [endAfter(2)]
    let asked = 0
    const headers = (): Promise<Record<string, string>> => Promise.resolve({ authorization: `t-${++asked}` })

    await read(eager({ url: service.url, prompt: 'hi', headers }))

    expect(service.exchanges.map((exchange) => exchange.headers.authorization)).toEqual(['t-1', 't-2'])
  })

  test('an address that is none is refused at once', () => {
    expect(() => chat({ url: '/chat', prompt: 'hi' })).toThrow(TypeError)
    expect(service.story).toEqual([])
  })
})

describe('a refusal', () => {
  test.each([
    [400, 'invalid-request', false],
    [401, 'unauthorized', false],
    [403, 'model-not-allowed', false],
    [404, 'not-found', false],
    [410, 'gone', false],
    [413, 'body-too-large', false],
    [422, 'idempotency-mismatch', false],
    [429, 'rate-limited', true],
    [502, 'upstream-unreachable', true],
    [504, 'upstream-timeout', true],
  ])('%i %s is thrown, and not asked again', async (status, code, retryable) => {
    service.answers = [decline(status, code, { 'retry-after': '7' })]

    const { got, thrown } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(got).toEqual([])
    expect(thrown).toBeInstanceOf(ChatClientError)
    expect(thrown).toMatchObject({ code, status, retryable, message: `It is ${code}.`, retryAfterMs: 7000 })
    expect(service.story).toEqual(['POST'])
  })

  test('names the field that is wrong', async () => {
    service.answers = [refuse(400, '{"error":{"code":"invalid-request","message":"No.","param":"messages"}}')]

    const { thrown } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(thrown).toMatchObject({ code: 'invalid-request', message: 'No.', param: 'messages' })
  })

  test('that is how a reply ended is not asked again under its key, whatever its code', async () => {
    service.answers = [decline(503, 'server-shutdown', { 'x-reply-id': 'reply-1' })]

    const { thrown } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(thrown).toMatchObject({ code: 'server-shutdown', retryable: true })
    expect(service.story).toEqual(['POST'])
  })

  test.each([
    [200, '<html>Hello</html>', 'http-200'],
    [404, '<html>Not here</html>', 'http-404'],
    [500, '{"error":"text"}', 'http-500'],
    [500, '{"error":{"message":"no code"}}', 'http-500'],
  ])("%i that is not the service's own is named by its status", async (status, body, code) => {
    service.answers = [refuse(status, body, { 'content-type': 'text/html' })]

    const { thrown } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(thrown).toMatchObject({
      code,
      status,
      message: expect.stringContaining(`answered ${status}`) as string,
    })
    expect(service.story).toEqual(['POST'])
  })

  test('of the reply itself is a delta, not something thrown', async () => {
    const error = { type: 'error', code: 'upstream-truncated', message: 'It broke off.', retryable: true }
    service.answers = [send(toEvents([deltas[0]!, error]))]

    const { got, thrown } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(thrown).toBeUndefined()
    expect(got).toEqual([deltas[0], error])
    expect(service.story).toEqual(['POST'])
  })
})

describe('leaving', () => {
  test('the loop closes the connection, and does not stop the reply', async () => {
    service.answers = [stallAfter(3)]
    const place = createPlace()
    const reply = place.chat({ url: service.url, prompt: 'hi' })

    for await (const delta of reply) if (delta.type === 'text') break

    expect([reply.id, reply.cursor, reply.state]).toEqual(['reply-1', 2, 'ended'])
    expect([place.timers, place.listeners]).toEqual([0, 0])
    expect(service.story).toEqual(['POST'])
  })

  test.each([
    ['before it begins', 0],
    ['while it waits for the head', 1],
    ['while it waits for a delta', 2],
    ['while it waits to try again', 3],
  ])('by the signal %s throws its reason and leaves nothing behind', async (_, when) => {
    const place = createPlace()
    const controller = new AbortController()
    const { signal } = controller
    service.answers = [[() => {}, () => {}, stallAfter(1), hangUp][when]!]
    const reply = place.chat({ url: service.url, prompt: 'hi', signal })
    if (when === 0) controller.abort(new Error('enough'))

    const reading = read(reply)
    if (when === 1) await service.asked(1)
    if (when === 2) await expect.poll(() => reply.cursor).toBe(1)
    if (when === 3) await place.waiting()
    controller.abort(new Error('enough'))
    const { thrown } = await reading

    expect(thrown).toEqual(new Error('enough'))
    expect(reply.state).toBe('ended')
    expect([place.timers, place.listeners]).toEqual([0, 0])
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  test('what was there already is not given after the signal', async () => {
    const controller = new AbortController()
    const got: string[] = []

    const loop = (async () => {
      for await (const { type } of chat({ url: service.url, prompt: 'hi', signal: controller.signal })) {
        got.push(type)
        controller.abort(new Error('enough'))
      }
    })()

    await expect(loop).rejects.toThrow('enough')
    expect(got).toEqual(['start'])
  })

  test('by return() does not wait for a delta that may never come', async () => {
    service.answers = [stallAfter(1)]
    const place = createPlace()
    const iterator = place.chat({ url: service.url, prompt: 'hi' })[Symbol.asyncIterator]()
    await iterator.next()

    const pending = iterator.next()
    await iterator.return?.()

    expect(await pending).toEqual({ done: true, value: undefined })
    expect([place.timers, place.listeners]).toEqual([0, 0])
  })

  test('an error of the caller is not taken for one of the network', async () => {
    const onId = (): never => {
      throw new Error('mine')
    }

    const { thrown } = await read(eager({ url: service.url, prompt: 'hi', onId }))

    expect(thrown).toEqual(new Error('mine'))
    expect(service.story).toEqual(['POST'])
  })
})

describe('a stop', () => {
  const cancelled = { type: 'finish', reason: 'cancelled' }

  test('asks the service, and the loop ends with its last word', async () => {
    service.answers = [stallAfter(2)]
    const reply = chat({ url: service.url, prompt: 'hi' })
    const reading = read(reply)
    await expect.poll(() => reply.cursor).toBe(2)

    const outcome = await reply.stop()
    service.exchanges[0]!.response.end(`id: 3\ndata: ${JSON.stringify(cancelled)}\n\n`)

    expect(outcome).toBe('stopped')
    expect((await reading).got).toEqual([...deltas.slice(0, 2), cancelled])
    expect(service.story).toEqual(['POST', 'stop'])
    expect(service.exchanges[1]!.path).toBe('/chat/reply-1/stop')
  })

  test('before the id is known is sent as soon as it is; a second one is the same', async () => {
    service.answers = [() => {}]
    const reply = chat({ url: service.url, prompt: 'hi' })
    const reading = read(reply)
    const exchange = await service.asked(1)

    const outcome = Promise.all([reply.stop(), reply.stop()])
    open(exchange)

    expect(await outcome).toEqual(['stopped', 'stopped'])
    expect(service.story).toEqual(['POST', 'stop'])
    exchange.response.end(toEvents([deltas[0]!, cancelled]))
    expect((await reading).got.at(-1)).toEqual(cancelled)
  })

  test('before the loop begins asks nothing at all', async () => {
    const reply = chat({ url: service.url, prompt: 'hi' })

    expect(await reply.stop()).toBe('ended')
    expect(await read(reply)).toEqual({ got: [] })
    expect(service.story).toEqual([])
  })

  test('of a question that is refused says that there is nothing to stop', async () => {
    service.answers = [() => {}]
    const reply = chat({ url: service.url, prompt: 'hi' })
    const reading = read(reply)
    const exchange = await service.asked(1)

    const outcome = reply.stop()
    await decline(400, 'invalid-request')(exchange)

    expect(await outcome).toBe('ended')
    expect((await reading).thrown).toMatchObject({ code: 'invalid-request' })
    expect(service.story).toEqual(['POST'])
  })

  test('works for a reply that somebody else asked, without following it', async () => {
    service.onStop = ({ response }) => response.end('{"id":"reply-9","status":"ended"}')

    expect(await chat.resume('reply-9', { url: service.url }).stop()).toBe('ended')
    expect(service.exchanges[0]!.path).toBe('/chat/reply-9/stop')
  })

  test('is sent again when it does not get through, and after the loop was left', async () => {
    const answers = [hangUp, decline(503, 'store-unavailable')]
    service.onStop = (exchange) =>
      (answers.shift() ?? (({ response }) => response.end('{"status":"stopped"}')))(exchange)
    service.answers = [stallAfter(2)]
    const reply = eager({ url: service.url, prompt: 'hi' })
    for await (const delta of reply) if (delta.type === 'text') break

    expect(await reply.stop()).toBe('stopped')
    expect(service.story).toEqual(['POST', 'stop', 'stop', 'stop'])
  })

  test('of a reply that the service does not know fails', async () => {
    service.onStop = decline(404, 'not-found')

    const outcome = chat.resume('reply-9', { url: service.url }).stop()

    await expect(outcome).rejects.toMatchObject({ code: 'not-found', status: 404 })
  })

  test('goes on while the connection is cut, and the loop still ends with the last word', async () => {
    service.answers = [cutAfter(120), send(`id: 3\ndata: ${JSON.stringify(cancelled)}\n\n`)]
    const reply = eager({ url: service.url, prompt: 'hi' })
    const got: object[] = []

    for await (const delta of reply) {
      got.push(delta)
      if (delta.type === 'start') await reply.stop()
    }

    expect(got).toEqual([...deltas.slice(0, 2), cancelled])
  })
})
