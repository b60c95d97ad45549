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
  refuse,
  send,
  toEvents,
} from './service.ts'

const service = createService()
const whole = Buffer.from(toEvents(deltas))
const event = (delta: object, id?: number | string): string =>
  `${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(delta)}\n\n`

describe('a connection that breaks', () => {
  test('at any byte loses nothing, repeats nothing and asks once', async () => {
    const outcomes = []
    for (let bytes = 0; bytes <= whole.length; bytes++) {
      service.answers = [cutAfter(bytes)]
      outcomes.push(await read(eager({ url: service.url, prompt: 'hi', key: `k-${bytes}` })))
    }

    expect(outcomes.filter(({ thrown }) => thrown)).toEqual([])
    for (const { got } of outcomes) expect(got.slice(1)).toEqual(deltas.slice(1))
    expect(service.replies.size).toBe(whole.length + 1)
    // Its head had told the id, so nothing was ever asked a second time.
    expect(service.story.filter((what) => what === 'POST').length).toBe(whole.length + 1)
  })

  test('before its head is asked again under the same key; after it, resumed', async () => {
    service.answers = [hangUp, cutAfter(0), hangUp, endAfter(2), endAfter(0), everything]
    const { seen, onState } = createStates()

    const { got } = await read(eager({ url: service.url, prompt: 'hi', onState }))

    expect(got).toEqual(deltas)
    expect(service.replies.size).toBe(1)
    expect(service.story).toEqual([
      'POST',
      'POST',
      'GET after 0',
      'GET after 0',
      'GET after 2',
      'GET after 2',
    ])
    expect(seen).toEqual([
      'connecting',
      'resuming',
      'live',
      'resuming',
      'live',
      'resuming',
      'live',
      'resuming',
      'live',
      'ended',
    ])
  })

  test.each([
    ['the whole log again', toEvents(deltas)],
    ['each event twice', deltas.map((delta, at) => event(delta, at + 1).repeat(2)).join('')],
    ['lines that end in CR LF', toEvents(deltas).replaceAll('\n', '\r\n')],
    [
      'a byte order mark, comments and fields it does not know',
      `\uFEFF: \n\nretry: 5\nx: y\n\n${toEvents(deltas)}`,
    ],
  ])('and brings %s gives each delta once', async (_, text) => {
    service.answers = [cutAfter(150), send(text)]

    const { got } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(got).toEqual(deltas)
  })

  test('is resumed with what the service says meanwhile: kinds it does not know are passed on', async () => {
    const news = { type: 'mood', value: 3 }
    service.answers = [send(event(deltas[0]!, 1) + event(news, 2)), send(event(deltas[5]!, 3))]

    const { got } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(got).toEqual([deltas[0], news, deltas[5]])
  })

  test.each([
    ['refused by a proxy', refuse(502, '<html>Bad Gateway</html>')],
    ['refused by the service, its store being away', decline(503, 'store-unavailable')],
    ['refused for a while', decline(429, 'rate-limited')],
    [
      'answered by somebody in between',
      refuse(200, '<html>Your room number?</html>', { 'content-type': 'text/html' }),
    ],
    ['answered with less than a head', ({ response }) => response.socket?.end('HTTP/1.1 20')],
    [
      'told that this reader cannot go on',
      send(event({ type: 'error', code: 'store-unavailable', message: '', retryable: true })),
    ],
  ] satisfies [string, ReturnType<typeof send>][])('and is %s tries again', async (_, answer) => {
    service.answers = [endAfter(2), answer, answer]

    const { got, thrown } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(thrown).toBeUndefined()
    expect(got).toEqual(deltas)
    expect(service.story).toEqual(['POST', 'GET after 2', 'GET after 2', 'GET after 2'])
  })

  test.each([
    [404, 'not-found'],
    [409, 'cursor-beyond-tail'],
    [410, 'gone'],
    [401, 'unauthorized'],
    [500, 'internal'],
  ])('and is refused with %i %s is over', async (status, code) => {
    service.answers = [endAfter(2), decline(status, code)]

    const { got, thrown } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(got).toEqual(deltas.slice(0, 2))
    expect(thrown).toBeInstanceOf(ChatClientError)
    expect(thrown).toMatchObject({ code, status })
    expect(service.story).toEqual(['POST', 'GET after 2'])
  })
})

describe('a stream that is wrong', () => {
  const ahead = send(toEvents(deltas.slice(0, 2)) + event(deltas[3]!, 4))
  const broken = send(`${toEvents(deltas.slice(0, 2))}id: 3\ndata: {"type":"te\n\n`)
  const nameless = send(`${toEvents(deltas.slice(0, 2))}id: x\ndata: {"type":"text","text":"?"}\n\n`)

  test.each([
    ['with a hole', 'gap', ahead],
    ['with something that is not JSON', 'unreadable', broken],
    ['with an id that is no number', 'unreadable', nameless],
    [
      'with an empty id',
      'unreadable',
      send(`${toEvents(deltas.slice(0, 2))}id:\ndata: {"type":"text","text":"?"}\n\n`),
    ],
    ['with no object', 'unreadable', send(`${toEvents(deltas.slice(0, 2))}id: 3\ndata: null\n\n`)],
  ])('%s is asked again, once; the second time it is an error', async (_, code, wrong) => {
    service.answers = [wrong]
    const healed = await read(eager({ url: service.url, prompt: 'hi' }))
    service.answers = [wrong, wrong]
    const lost = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(healed).toEqual({ got: deltas })
    expect(lost.got).toEqual(deltas.slice(0, 2))
    expect(lost.thrown).toMatchObject({ code, retryable: false })
    expect(service.story).toEqual(['POST', 'GET after 2', 'POST', 'GET after 2'])
  })
})

describe('a reply that is in no log', () => {
  const unnumbered = deltas.map((delta) => event(delta))

  test.each([
    ['as a header says', { 'x-reply-resumable': 'no' }],
    ['as events without ids say', {}],
  ])('%s, is given whole', async (_, headers) => {
    service.answers = [send(unnumbered.join(''), headers)]

    const reply = eager({ url: service.url, prompt: 'hi' })
    const { got } = await read(reply)

    expect(got).toEqual(deltas)
    expect(reply.cursor).toBe(6)
  })

  test.each([
    ['as a header says', { 'x-reply-resumable': 'no' }, 0],
    ['as a header says', { 'x-reply-resumable': 'no' }, 2],
    ['as events without ids say', {}, 2],
  ])('%s, is incomplete when it is cut after %s', async (_, headers, count) => {
    service.answers = [send(unnumbered.slice(0, count).join(''), headers)]

    const { got, thrown } = await read(eager({ url: service.url, prompt: 'hi' }))

    expect(got).toEqual(deltas.slice(0, count))
    expect(thrown).toMatchObject({ code: 'incomplete', retryable: true })
    expect(service.story).toEqual(['POST'])
  })
})

test.each(['gone', 'log-incomplete'])(
  'an error about this reader that will not pass (%s) is the last delta',
  async (code) => {
    const error = { type: 'error', code, message: 'No.', retryable: false }
    service.answers = [send(toEvents(deltas.slice(0, 2)) + event(error))]

    const reply = eager({ url: service.url, prompt: 'hi' })
    const { got, thrown } = await read(reply)

    expect(thrown).toBeUndefined()
    expect(got).toEqual([...deltas.slice(0, 2), error])
    expect(reply.cursor).toBe(2)
  },
)

describe('chat.resume', () => {
  test('gives the whole reply, from another place than it was asked', async () => {
    const { seen, onState } = createStates()

    const reply = chat.resume('reply-1', { url: service.url, onState })
    const { got } = await read(reply)

    expect(got).toEqual(deltas)
    expect([reply.id, reply.cursor]).toEqual(['reply-1', 6])
    expect(service.story).toEqual(['GET after 0'])
    expect(service.exchanges[0]!.headers['last-event-id']).toBeUndefined()
    expect(seen).toEqual(['connecting', 'live', 'ended'])
  })

  test('goes on after the cursor that is there', async () => {
    service.answers = [endAfter(1)]

    const { got } = await read(eager.resume('reply-1', { url: service.url, after: 2 }))

    expect(got).toEqual(deltas.slice(2))
    expect(service.story).toEqual(['GET after 2', 'GET after 3'])
  })

  test('at the end gives nothing more', async () => {
    service.answers = [refuse(204, '')]

    const reply = chat.resume('reply-1', { url: service.url, after: 6 })

    expect(await read(reply)).toEqual({ got: [] })
    expect(reply.state).toBe('ended')
  })

  test('escapes the id it is given', async () => {
    await read(chat.resume('a/../b?c', { url: `${service.url}?d=1` }))

    expect(service.exchanges[0]!.path).toBe('/chat/a%2F..%2Fb%3Fc?d=1')
  })

  test('of a reply that nobody knows is an error at once, and so is a page in its place', async () => {
    service.answers = [decline(404, 'not-found'), refuse(200, '<html>', { 'content-type': 'text/html' })]

    const first = await read(eager.resume('reply-1', { url: service.url }))
    const second = await read(eager.resume('reply-1', { url: service.url }))

    expect(first.thrown).toMatchObject({ code: 'not-found', status: 404, retryable: false })
    expect(second.thrown).toMatchObject({ code: 'http-200' })
    expect(service.exchanges.length).toBe(2)
  })

  test('takes its address from the page', async () => {
    const place = createPlace()
    const urls: string[] = []
    const fetch = ((url: string) => {
      urls.push(url)
      return Promise.resolve(new Response(null, { status: 204 }))
    }) as typeof globalThis.fetch

    await read(place.chat.resume('reply-1', { fetch }))
    await read(place.chat.resume('reply-1', { fetch, url: 'ai/chat/' }))

    expect(urls).toEqual(['http://127.0.0.1/chat/reply-1', 'http://127.0.0.1/ai/chat/reply-1'])
  })
})
