import { expect, test } from 'vitest'
import { describeSites, idOf } from './sites.ts'
import { deltasIn, hel, lo, script, soon, stop, textOf, until } from './src/kit.ts'

const key = { 'idempotency-key': 'k' }

describeSites('a question whose client leaves', (open) => {
  test('before its answer began is still answered under its key', async () => {
    const scripted = script(['wait', hel, lo, stop])
    const site = await open(scripted)
    const leaving = new AbortController()
    const first = site.ask(0, '/chat', { body: { prompt: 'hi' }, headers: key, signal: leaving.signal })
    await until(() => scripted.open() === 1)

    leaving.abort()
    const { body } = await soon(first)
    if (typeof body !== 'string') await body.return?.()
    const again = site.see(1, '/chat', { body: { prompt: 'hi' }, headers: key })
    scripted.release()

    expect(deltasIn((await soon(again)).body).slice(1)).toEqual([hel, lo, stop])
    expect(scripted.asked).toHaveLength(1)
  })

  test('while another waits for the same document is answered to that one', async () => {
    const scripted = script([hel, 'wait', lo, stop])
    const site = await open(scripted, { allowContinue: 'always' })
    const whole = {
      body: { prompt: 'hi', stream: false },
      headers: { ...key, 'x-on-disconnect': 'continue' },
    }
    const leaving = new AbortController()
    const first = site.ask(0, '/chat', { ...whole, signal: leaving.signal })
    await until(() => scripted.open() === 1)
    const second = site.see(1, '/chat', whole)
    await new Promise((resolve) => setTimeout(resolve, 100))

    leaving.abort()
    await soon(first)
    scripted.release()

    const { status, body } = await soon(second)
    expect([status, JSON.parse(body)]).toEqual([
      200,
      expect.objectContaining({ text: 'Hello', finishReason: 'stop' }),
    ])
  })

  test('and has no key, before its answer began, costs nothing', async () => {
    const scripted = script(['wait', hel, stop])
    const site = await open(scripted)
    const leaving = new AbortController()
    const first = site.ask(0, '/chat', { body: { prompt: 'hi' }, signal: leaving.signal })
    await until(() => scripted.open() === 1)

    leaving.abort()
    await soon(first)

    await until(() => scripted.open() === 0)
  })

  test('and wanted it to be cancelled is not missed by who reads it elsewhere', async () => {
    const scripted = script([hel, 'wait', lo, stop])
    const site = await open(scripted)
    const first = await site.ask(0, '/chat', {
      body: { prompt: 'hi' },
      headers: { 'x-on-disconnect': 'cancel' },
    })
    const other = await site.ask(1, `/chat/${idOf(first)}`)
    if (typeof other.body === 'string') return expect.fail('it is no stream')
    const begin = (await soon(other.body.next())).value ?? ''

    // In one process the other server does not know of it: there the reader that asked is the last one.
    const shared = site.stores[0] === site.stores[1]
    if (!shared && typeof first.body !== 'string') await first.body.return?.()
    await new Promise((resolve) => setTimeout(resolve, 300))
    scripted.release()

    expect(deltasIn(begin + (await textOf(other))).slice(1)).toEqual([hel, lo, stop])
    if (shared && typeof first.body !== 'string') await first.body.return?.()
  })

  test('and asks for the document again is told to come back when it takes too long', async () => {
    const scripted = script([hel, 'wait', stop])
    const site = await open(scripted, { followMs: 200 })
    const whole = { body: { prompt: 'hi', stream: false }, headers: key }
    const first = site.see(0, '/chat', whole)
    await until(() => scripted.open() === 1)

    const second = await soon(site.see(1, '/chat', whole))

    expect([second.status, second.headers['retry-after']]).toEqual([504, '1'])
    scripted.release()
    expect((await soon(first)).status).toBe(200)
  })
})
