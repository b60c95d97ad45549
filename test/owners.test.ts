import { expect, test } from 'vitest'
import { describeSites, idOf, type OpenSite, type Seen, type Site } from './sites.ts'
import { type Asking, deltasIn, hel, lo, script, soon, stop, textOf } from './src/kit.ts'

interface Verb {
  readonly url: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Every way to ask for a reply, or something of it, by its id or by the name of its conversation. */
const verbs: readonly (readonly [string, (id: string, chat: string) => Verb])[] = [
  ['GET /chat/{id}', (id) => ({ url: `/chat/${id}` })],
  ['GET /chat/{id} after a cursor', (id) => ({ url: `/chat/${id}`, headers: { 'last-event-id': '2' } })],
  ['GET /chat/{id}?last_event_id=', (id) => ({ url: `/chat/${id}?last_event_id=1` })],
  ['GET /chat/{id} beyond its end', (id) => ({ url: `/chat/${id}`, headers: { 'last-event-id': '99' } })],
  ['GET /chat/{id} at its end', (id) => ({ url: `/chat/${id}`, headers: { 'last-event-id': '4' } })],
  ['GET /stream, come back', (id) => ({ url: '/stream?prompt=hi', headers: { 'last-event-id': `${id}.1` } })],
  ['HEAD /chat/{id}', (id) => ({ url: `/chat/${id}`, method: 'HEAD' })],
  ['DELETE /chat/{id}', (id) => ({ url: `/chat/${id}`, method: 'DELETE' })],
  ['POST /chat/{id}/stop', (id) => ({ url: `/chat/${id}/stop`, method: 'POST' })],
  ['GET /api/chat/{id}/stream', (id) => ({ url: `/api/chat/${id}/stream` })],
  ['GET /api/chat/{id}/stream?startIndex=', (id) => ({ url: `/api/chat/${id}/stream?startIndex=1` })],
  [
    'GET /api/chat/{id}/stream?startIndex= from its end',
    (id) => ({ url: `/api/chat/${id}/stream?startIndex=-1` }),
  ],
  ['HEAD /api/chat/{id}/stream', (id) => ({ url: `/api/chat/${id}/stream`, method: 'HEAD' })],
  ['POST /api/chat/{id}/stop', (id) => ({ url: `/api/chat/${id}/stop`, method: 'POST' })],
  ['DELETE /api/chat/{id}', (id) => ({ url: `/api/chat/${id}`, method: 'DELETE' })],
  ['GET /api/chat/{chat}/stream', (_, chat) => ({ url: `/api/chat/${chat}/stream` })],
  [
    'GET /api/chat/{chat}/stream?startIndex=',
    (_, chat) => ({ url: `/api/chat/${chat}/stream?startIndex=0` }),
  ],
  ['HEAD /api/chat/{chat}/stream', (_, chat) => ({ url: `/api/chat/${chat}/stream`, method: 'HEAD' })],
  ['POST /api/chat/{chat}/stop', (_, chat) => ({ url: `/api/chat/${chat}/stop`, method: 'POST' })],
  ['DELETE /api/chat/{chat}', (_, chat) => ({ url: `/api/chat/${chat}`, method: 'DELETE' })],
]

const unknown = 'AAAAAAAAAAAAAAAAAAAAAA'
const chat = 'the-chat'
const question = { id: chat, messages: [{ id: 'm1', role: 'user', parts: [{ type: 'text', text: 'hi' }] }] }

/** A reply of Ann's that still runs, in a conversation of hers. */
async function ofAnn(open: OpenSite) {
  const scripted = script([hel, 'wait', lo, stop])
  const site = await open(scripted, { leaseMs: 1000 })
  const reply = await site.ask(0, '/api/chat', { body: question, principal: 'ann' })
  const reading = textOf(reply)
  const id = idOf(reply)
  await expect.poll(() => site.stores[1]!.state(id)).toMatchObject({ length: 2, owner: 'ann' })
  return { scripted, site, id, reading }
}

/** What a verb gives, without what names the reply that was asked for. */
async function tell(
  site: Site,
  at: number,
  verb: Verb,
  { id, principal }: { id: string; principal?: string },
) {
  const { url, ...asking } = verb
  const leaving = AbortSignal.timeout(4000)
  const options: Asking = { ...asking, signal: leaving }
  const { status, headers, body } = await site.see(at, url, {
    ...options,
    ...(principal ? { principal } : {}),
  })
  return JSON.stringify({ status, headers, body }).replaceAll(id, '<id>')
}

describeSites('whose a reply is', (open) => {
  test.each(verbs)('is for its owner alone: %s', async (_, verbOf) => {
    const { scripted, site, id, reading } = await ofAnn(open)
    const others: [principal: string | undefined][] = [['bob'], [undefined], ['ann '], ['ANN']]

    for (const [principal] of others) {
      for (const at of [0, 1]) {
        const asking = principal === undefined ? {} : { principal }
        const real = await tell(site, at, verbOf(id, chat), { ...asking, id })
        const none = await tell(site, at, verbOf(unknown, 'no-chat'), { ...asking, id: unknown })
        expect(real).toBe(none)
      }
    }
    scripted.release()

    // Nobody has disturbed it.
    expect(await soon(reading)).toContain('"finishReason":"stop"')
    expect(scripted.asked).toHaveLength(1)
  })

  test.each(verbs.filter(([name]) => !/^(?:DELETE|POST)|beyond|at its end|from its end/.test(name)))(
    'and its owner has it everywhere: %s',
    async (_, verbOf) => {
      const { scripted, site, id, reading } = await ofAnn(open)
      scripted.release()
      const { url, ...asking } = verbOf(id, chat)

      const replies = await Promise.all(
        [0, 1].map((at) => site.ask(at, url, { ...asking, principal: 'ann' })),
      )
      const bodies = await soon(Promise.all(replies.map((reply) => textOf(reply))))
      await soon(reading)

      expect(replies.map(({ status }) => [200, 204].includes(status))).toEqual([true, true])
      expect(replies.map(idOf)).toEqual([id, id])
      expect(bodies[0]).toBe(bodies[1])
    },
  )

  test.each(verbs.filter(([name]) => /^(?:DELETE|POST)/.test(name)))(
    'and its owner ends it from everywhere: %s',
    async (_, verbOf) => {
      for (const at of [0, 1]) {
        const { scripted, site, id, reading } = await ofAnn(open)
        const { url, ...asking } = verbOf(id, chat)

        const first = await soon(site.see(at, url, { ...asking, principal: 'ann' }))
        const again = await soon(site.see(1 - at, `/chat/${id}`, { method: 'DELETE', principal: 'ann' }))
        await soon(reading)

        expect([first.status, JSON.parse(first.body)]).toEqual([200, { id, status: 'stopped' }])
        expect(again.status).toBe(200)
        await expect.poll(() => scripted.open()).toBe(0)
      }
    },
  )

  test('is told by no header of what others ask', async () => {
    const { site, id } = await ofAnn(open)
    const seen: Seen[] = []

    for (const [, verbOf] of verbs) {
      const { url, ...asking } = verbOf(id, chat)
      seen.push(await site.see(1, url, { ...asking, signal: AbortSignal.timeout(4000), principal: 'bob' }))
    }

    expect(seen.filter(({ headers }) => 'x-reply-id' in headers)).toEqual([])
    expect(seen.flatMap(({ body }) => deltasIn(body))).toEqual([])
    expect(new Set(seen.map(({ status }) => status))).toEqual(new Set([404, 204]))
  })
})
