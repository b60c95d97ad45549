import { expect, test } from 'vitest'
import { ChatError } from '../src/errors.ts'
import { codeIn, describeSites, idOf, type Site } from './sites.ts'
import { deltasIn, hel, lo, script, soon, stop, textOf, until } from './src/kit.ts'

const body = { prompt: 'hi' }
const messages = [{ role: 'user', content: 'hi' }]

function named(key: string, more: object = {}) {
  return { body, headers: { 'idempotency-key': key }, ...more }
}

describeSites('a question with a key', (open) => {
  test('that is asked 50 times at once, on all servers, is asked once of the model', async () => {
    const scripted = script([hel, 'wait', lo, stop])
    const site = await open(scripted, { count: 3 })

    const asking = Array.from({ length: 50 }, (_, index) => site.ask(index % 3, '/chat', named('k')))
    const replies = await soon(Promise.all(asking), 15_000)
    const reading = Promise.all(replies.map((reply) => textOf(reply)))
    await until(() => scripted.open() === 1)
    scripted.release()
    const bodies = await soon(reading, 15_000)

    expect(scripted.asked).toHaveLength(1)
    expect(new Set(replies.map(idOf)).size).toBe(1)
    expect(replies.map(({ status }) => status)).toEqual(Array(50).fill(200))
    expect(new Set(bodies).size).toBe(1)
    expect(deltasIn(bodies[0]!).slice(1)).toEqual([hel, lo, stop])
  })

  test('that is another question is refused, on every server', async () => {
    const scripted = script([hel, stop])
    const site = await open(scripted)
    await site.see(0, '/chat', named('k'))

    const others = [
      await site.see(0, '/chat', named('k', { body: { prompt: 'hi!' } })),
      await site.see(1, '/chat', named('k', { body: { prompt: 'ho' } })),
      await site.see(1, '/chat', named('k', { body: { prompt: 'hi', stream: false } })),
    ]

    expect(others.map(({ status }) => status)).toEqual([422, 422, 422])
    expect(others.map(codeIn)).toEqual(Array(3).fill('idempotency-mismatch'))
    expect(scripted.asked).toHaveLength(1)
  })

  test('that is asked again after its end has the same answer, byte for byte', async () => {
    const scripted = script([hel, lo, stop])
    const site = await open(scripted)
    const first = await site.see(0, '/chat', named('k'))

    const again = [await site.see(0, '/chat', named('k')), await site.see(1, '/chat', named('k'))]

    expect(again).toEqual([first, first])
    expect(scripted.asked).toHaveLength(1)
  })

  test('that is asked again as a document has the same document', async () => {
    const scripted = script([hel, lo, stop])
    const site = await open(scripted)
    const whole = { body: { model: 'm', messages, stream: false }, headers: { 'idempotency-key': 'k' } }

    const documents = [
      await site.see(0, '/v1/chat/completions', whole),
      await site.see(0, '/v1/chat/completions', whole),
      await site.see(1, '/v1/chat/completions', whole),
    ]

    expect(documents.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(new Set(documents.map((document) => document.body)).size).toBe(1)
    expect(new Set(documents.map(idOf)).size).toBe(1)
    expect(scripted.asked).toHaveLength(1)
  })

  test('that is asked in another dialect is another question', async () => {
    const scripted = script([hel, lo, stop])
    const site = await open(scripted)
    await site.see(0, '/chat', named('k'))
    const request = { body: { messages, stream: true }, headers: { 'idempotency-key': 'k' } }

    const other = await site.see(1, '/v1/chat/completions', request)

    expect(other.status).toBe(422)
    expect(other.body).toContain('Idempotency-Key')
    expect(scripted.asked).toHaveLength(1)
  })

  test('of somebody else is another key', async () => {
    const scripted = script([hel, stop])
    const site = await open(scripted)

    const ids = [
      idOf(await site.see(0, '/chat', named('k', { principal: 'ann' }))),
      idOf(await site.see(1, '/chat', named('k', { principal: 'bob' }))),
      idOf(await site.see(1, '/chat', named('k'))),
      idOf(await site.see(1, '/chat', named('k', { principal: 'ann' }))),
    ]

    expect(new Set(ids.slice(0, 3)).size).toBe(3)
    expect(ids[3]).toBe(ids[0])
    expect(scripted.asked).toHaveLength(3)
  })

  test('whose answer failed before its first word has the same failure', async () => {
    const scripted = script([new ChatError('upstream-auth', 'No.')], [hel, stop])
    const site = await open(scripted)
    const first = await site.see(0, '/chat', named('k'))

    const again = [await site.see(0, '/chat', named('k')), await site.see(1, '/chat', named('k'))]

    expect([first.status, codeIn(first)]).toEqual([502, 'upstream-auth'])
    expect(again.map(({ status }) => status)).toEqual([502, 502])
    expect(again.map((seen) => seen.body)).toEqual([first.body, first.body])
    expect(again.map(idOf)).toEqual([idOf(first), idOf(first)])
    expect(scripted.asked).toHaveLength(1)
  })

  test('is attached to its answer even when there is no room for another one', async () => {
    const scripted = script([hel, 'wait', lo, stop])
    const site = await open(scripted, { maxReplies: 1 })
    const replies = [await site.ask(0, '/chat', named('k')), await site.ask(1, '/chat', named('other'))]

    const attached = [await site.ask(0, '/chat', named('k')), await site.ask(1, '/chat', named('k'))]
    const refused = await site.see(0, '/chat', named('new'))
    const reading = Promise.all([...replies, ...attached].map((reply) => textOf(reply)))
    scripted.release()
    const [first, , ...same] = await soon(reading)

    expect([refused.status, codeIn(refused)]).toEqual([503, 'overloaded'])
    expect(attached.map(idOf)).toEqual([idOf(replies[0]!), idOf(replies[0]!)])
    expect(same).toEqual([first, first])
    expect(scripted.asked).toHaveLength(2)
  })

  test.each<[string, string]>([
    ['nothing', ''],
    ['256 characters', 'x'.repeat(256)],
    ['a space inside', 'a b'],
    ['a control character', 'a\u0007b'],
    ['what is not ASCII', 'schlüssel'],
  ])('of %s is refused, and nothing is asked', async (_, key) => {
    const scripted = script([hel, stop])
    const site = await open(scripted)

    for (const url of ['/chat', '/v1/chat/completions', '/api/chat']) {
      const seen = await site.see(0, url, {
        body:
          url === '/chat' ? body : url.startsWith('/v1') ? { messages } : { messages: [uiMessage], id: 'c' },
        headers: { 'idempotency-key': key },
      })
      expect(seen.status).toBe(400)
      expect(seen.body).toContain('Idempotency-Key')
    }
    expect(scripted.asked).toHaveLength(0)
  })

  test('of 255 characters, of all that can be seen, is a key', async () => {
    const visible = Array.from({ length: 94 }, (_, index) => String.fromCharCode(0x21 + index)).join('')
    const key = visible.repeat(3).slice(0, 255)
    const site = await open(script([hel, stop]))

    const first = await site.see(0, '/chat', named(key))

    expect(first.status).toBe(200)
    expect(idOf(await site.see(1, '/chat', named(key)))).toBe(idOf(first))
  })

  test.each([true, false])(
    'whose answer was lost is told so, and is not asked again: stream %s',
    async (stream) => {
      const scripted = script([hel, stop])
      const site = await open(scripted)
      const [store] = site.stores as [Site['stores'][number]]
      await store.create('lost')
      const lost = named('k', { principal: 'p', body: { model: 'm', messages, stream } })
      await site.see(0, '/v1/chat/completions', lost)
      const key = JSON.stringify(['key', 'p', 'k'])
      const { note } = (await store.find(key))!
      await store.claim(key, { id: 'lost', note }, { replace: true })
      await store.discard('lost')
      const found = await store.find(key)

      const again = await site.see(0, '/v1/chat/completions', lost)

      // A store that keeps names with their replies has forgotten both: then it is a new question.
      expect([again.status, scripted.asked.length]).toEqual(found ? [410, 1] : [200, 2])
    },
  )
})

const uiMessage = { id: 'm1', role: 'user', parts: [{ type: 'text', text: 'hi' }] }
