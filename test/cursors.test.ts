import { expect, test } from 'vitest'
import { stopwatch } from './stopwatch.ts'
import { codeIn, describeSites, idOf, type OpenSite } from './sites.ts'
import { deltasIn, hel, lo, script, soon, stop, textOf } from './src/kit.ts'

const leaseMs = 1000

/** A reply of four deltas, over; or of two, still running. */
async function replyOf(open: OpenSite, { over }: { readonly over: boolean }) {
  const scripted = script(over ? [hel, lo, stop] : [hel, 'wait', lo, stop])
  const site = await open(scripted, { leaseMs })
  const reply = await site.ask(0, '/chat', { body: { prompt: 'hi' } })
  const reading = textOf(reply)
  const id = idOf(reply)
  await expect.poll(() => site.stores[1]!.state(id)).toMatchObject({ length: over ? 4 : 2, sealed: over })
  return { scripted, site, id, reading }
}

describeSites('a cursor', (open) => {
  test.each<[string, string, number, string | undefined]>([
    ['at the end', '4', 204, undefined],
    ['beyond the end', '5', 409, 'cursor-beyond-tail'],
    ['far beyond the end', '999999999999999', 409, 'cursor-beyond-tail'],
    ['of too many digits', '9'.repeat(16), 400, 'bad-cursor'],
    ['that is negative', '-1', 400, 'bad-cursor'],
    ['that is no whole number', '1.5', 400, 'bad-cursor'],
    ['in words', 'last', 400, 'bad-cursor'],
    ['with a null character', '1\u00002', 400, 'bad-cursor'],
    ['in other digits', '١', 400, 'bad-cursor'],
    ['of another reply', 'other.1', 400, 'bad-cursor'],
  ])('%s of a reply that is over is the same everywhere', async (_, cursor, status, code) => {
    const { scripted, site, id } = await replyOf(open, { over: true })

    for (const at of [0, 1]) {
      const seen = await soon(site.see(at, `/chat/${id}`, { headers: { 'last-event-id': cursor } }))
      expect(seen.status).toBe(status)
      if (code) expect(codeIn(seen)).toBe(code)
      else expect(seen.body).toBe('')
    }
    expect(scripted.asked).toHaveLength(1)
  })

  test('beyond the end of a reply that runs is waited for, a lease at most, then refused', async () => {
    const { site, id } = await replyOf(open, { over: false })

    for (const at of [0, 1]) {
      const since = stopwatch()
      const seen = await soon(site.see(at, `/chat/${id}`, { headers: { 'last-event-id': '3' } }))
      expect([seen.status, codeIn(seen)]).toEqual([409, 'cursor-beyond-tail'])
      expect(since()).toBeLessThan(leaseMs + 1500)
    }
  })

  test('at what a reply that runs has so far gives what comes', async () => {
    const { scripted, site, id, reading } = await replyOf(open, { over: false })
    const replies = await Promise.all(
      [0, 1].map((at) => site.ask(at, `/chat/${id}`, { headers: { 'last-event-id': '2' } })),
    )
    const bodies = Promise.all(replies.map((reply) => textOf(reply)))

    scripted.release()

    const full = await soon(reading)
    for (const body of await soon(bodies)) {
      expect(deltasIn(body)).toEqual([lo, stop])
      expect(full.endsWith(body)).toBe(true)
    }
  })

  test.each<[string, string]>([
    ['that was never given', 'AAAAAAAAAAAAAAAAAAAAAA'],
    ['of one character', 'x'],
    ['of a thousand characters', 'x'.repeat(1000)],
    ['that looks like a key of the store', '__proto__'],
    ['of the object', 'constructor'],
  ])('of a reply %s leads nowhere, with every verb', async (_, id) => {
    const site = await open(script([hel, stop]))

    for (const at of [0, 1]) {
      for (const method of ['GET', 'HEAD', 'DELETE']) {
        expect((await site.see(at, `/chat/${id}`, { method })).status).toBe(404)
      }
      expect((await site.see(at, `/chat/${id}/stop`, { method: 'POST' })).status).toBe(404)
      expect((await site.see(at, `/api/chat/${id}/stream`)).status).toBe(204)
      expect((await site.see(at, `/api/chat/${id}/stop`, { method: 'POST' })).status).toBe(404)
    }
  })

  test.each(['/chat/a%00b', '/chat/..%2fr', '/chat/{x}', '/chat/a:b', '/chat/%E0%A4%A'])(
    'of what is no reply leads nowhere: %s',
    async (url) => {
      const site = await open(script([hel, stop]))

      for (const at of [0, 1]) expect([400, 404]).toContain((await site.see(at, url)).status)
    },
  )
})

describeSites('what becomes of a reply that loses its reader', (open) => {
  test.each(['stop', '', 'CANCEL', 'linger, cancel', 'true', '<b>', 'x'.repeat(5000)])(
    'is none of our words, and refused: %j',
    async (policy) => {
      const scripted = script([hel, stop])
      const site = await open(scripted)

      const seen = [
        await site.see(0, '/chat', { body: { prompt: 'hi' }, headers: { 'x-on-disconnect': policy } }),
        await site.see(1, `/chat?on_disconnect=${encodeURIComponent(policy)}`, { body: { prompt: 'hi' } }),
      ]

      expect(seen.map(({ status }) => status)).toEqual([400, 400])
      expect(seen.map(codeIn)).toEqual(['invalid-request', 'invalid-request'])
      expect(seen.every(({ body }) => body.length < 400)).toBe(true)
      expect(scripted.asked).toHaveLength(0)
    },
  )
})
