import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createHandler } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { Handler } from '../../src/types.ts'
import { deltasIn, hel, http, lo, script, type Script, soon, type Step, stop, textOf } from './kit.ts'

const ended: Step[] = [hel, lo, stop]

function handlerOf(scripted: Script): Handler {
  return createHandler({ upstream: scripted.upstream, model: 'm', createId: () => 'r1', now: () => 5 })
}

/** A service with one reply of four events, over or still running after three of them. */
async function serviceWith(steps: readonly Step[] = ended) {
  const scripted = script(steps)
  const handler = handlerOf(scripted)
  const reply = await handler(http('/chat', { body: { prompt: 'hi' } }))
  return { scripted, handler, reply }
}

function resume(handler: Handler, url: string, cursor?: string) {
  return handler(http(url, cursor === undefined ? {} : { headers: { 'last-event-id': cursor } }))
}

describe('a reader that comes back', () => {
  test.each([0, 1, 2, 3])('after event %i receives exactly what it missed', async (after) => {
    const { handler, reply } = await serviceWith()
    const full = await textOf(reply)

    const byHeader = await resume(handler, '/chat/r1', String(after))
    const byQuery = await resume(handler, `/chat/r1?last_event_id=${after}`)
    const withId = await resume(handler, '/chat/r1', `r1.${after}`)

    const rest = await textOf(byHeader)
    expect(rest).toBe(
      full
        .split(/(?<=\n\n)/)
        .slice(after)
        .join(''),
    )
    expect(await textOf(byQuery)).toBe(rest)
    expect(await textOf(withId)).toBe(rest)
    expect(byHeader.headers).toEqual(reply.headers)
  })

  test('receives everything when it names no event', async () => {
    const { handler, reply } = await serviceWith()
    const full = await textOf(reply)

    expect(await textOf(await resume(handler, '/chat/r1'))).toBe(full)
    expect(await textOf(await resume(handler, '/chat/r1', ''))).toBe(full)
  })

  test('while the answer goes on receives the rest of it, together with the first', async () => {
    const { handler, reply, scripted } = await serviceWith([hel, 'wait', lo, stop])
    const second = await resume(handler, '/chat/r1', '2')
    const bodies = [textOf(reply), textOf(second)]

    scripted.release()

    const [full, rest] = await soon(Promise.all(bodies))
    expect(deltasIn(full ?? '').slice(1)).toEqual([hel, lo, stop])
    expect(full?.endsWith(rest ?? '')).toBe(true)
    expect(deltasIn(rest ?? '')).toEqual([lo, stop])
    expect(scripted.asked).toHaveLength(1)
  })

  test('anywhere in any answer receives a suffix of the same bytes, in both kinds of ids', async () => {
    const words = fc.array(fc.string({ unit: 'binary', minLength: 1 }), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(words, fc.nat(15), async (texts, cursor) => {
        const steps = [...texts.map((text): Step => ({ type: 'text', text })), stop]
        const { handler, reply } = await serviceWith(steps)
        const full = await textOf(reply)
        const after = Math.min(cursor, steps.length)

        const rest = await textOf(await resume(handler, '/chat/r1', String(after)))
        const native = await textOf(await resume(handler, '/stream', `r1.${after}`))

        expect(full.endsWith(rest)).toBe(true)
        expect(deltasIn(rest)).toEqual(deltasIn(full).slice(after))
        expect(native.replaceAll(/^id: r1\./gm, 'id: ')).toBe(rest)
      }),
    )
  })
})

test('an answer that is kept for no time at all is read to its end, whatever else is asked meanwhile', async () => {
  const scripted = script([hel, 'wait', lo, stop], ended)
  const store = createMemoryStore({ ttlMs: 0 })
  let number = 0
  const createId = (): string => `r${++number}`
  const handler = createHandler({ upstream: scripted.upstream, model: 'm', store, createId })
  const reply = await handler(http('/chat', { body: { prompt: 'hi' } }))
  const frames = reply.body as AsyncIterableIterator<string> // it is streamed
  const first = await frames.next()
  scripted.release()
  await reply.settled

  const other = await handler(http('/chat', { body: { prompt: 'hi' } }))
  const gone = await handler(http('/chat/r1'))
  const rest = await textOf({ body: frames })

  expect(deltasIn(String(first.value) + rest).slice(1)).toEqual([hel, lo, stop])
  expect(deltasIn(await textOf(other)).slice(1)).toEqual(ended)
  expect(gone.status).toBe(404)
})

describe('a cursor', () => {
  test.each<[string, string, string, number, string | undefined]>([
    ['at the end of an answer that is over', '/chat/r1', '4', 204, undefined],
    ['at the end, of an EventSource', '/stream', 'r1.4', 204, undefined],
    ['beyond the end', '/chat/r1', '5', 409, 'cursor-beyond-tail'],
    ['beyond the end, of an EventSource', '/stream', 'r1.5', 409, 'cursor-beyond-tail'],
    ['that is huge', '/chat/r1', '999999999999999', 409, 'cursor-beyond-tail'],
    ['with too many digits', '/chat/r1', '9'.repeat(400), 400, 'bad-cursor'],
    ['that is negative', '/chat/r1', '-1', 400, 'bad-cursor'],
    ['that is no whole number', '/chat/r1', '1.5', 400, 'bad-cursor'],
    ['in words', '/chat/r1', 'last', 400, 'bad-cursor'],
    ['of another reply', '/chat/r1', 'r2.1', 400, 'bad-cursor'],
    ['without the reply, of an EventSource', '/stream', '3', 400, 'bad-cursor'],
    ['with too many parts', '/stream', 'r1.2.3', 400, 'bad-cursor'],
    ['of a reply that nobody knows', '/chat/r9', '1', 404, 'not-found'],
    ['of a reply that nobody knows, of an EventSource', '/stream', 'r9.1', 204, undefined],
  ])('%s', async (_, url, cursor, status, code) => {
    const { handler, reply, scripted } = await serviceWith()
    await textOf(reply)

    const answer = await resume(handler, url, cursor)
    const body = await textOf(answer)

    expect(answer.status).toBe(status)
    if (code) expect(JSON.parse(body)).toMatchObject({ error: { code } })
    else expect(body).toBe('')
    expect(scripted.asked).toHaveLength(1)
  })

  test('in the header wins over one in the address', async () => {
    const { handler, reply } = await serviceWith()
    await textOf(reply)

    expect(deltasIn(await textOf(await resume(handler, '/chat/r1?last_event_id=1', '3')))).toEqual([stop])
  })

  test('of anything is never a new question, nor a failure of ours', async () => {
    const { handler, reply, scripted } = await serviceWith()
    await textOf(reply)
    const cursor = fc.oneof(
      fc.string({ minLength: 1 }),
      fc.tuple(fc.string(), fc.integer()).map(([id, after]) => `${id}.${after}`),
      fc.integer().map((after) => `r1.${after}`),
    )
    await fc.assert(
      fc.asyncProperty(cursor, fc.constantFrom('/stream?prompt=hi', '/chat/r1'), async (text, url) => {
        const { status } = await resume(handler, url, text)
        expect([200, 204, 400, 404, 409]).toContain(status)
        expect(scripted.asked).toHaveLength(1)
      }),
    )
  })
})

describe('an EventSource', () => {
  test('that was cut before the first delta comes back to the same answer', async () => {
    const scripted = script(['wait', hel, stop])
    const handler = handlerOf(scripted)
    const first = await new Promise<Awaited<ReturnType<Handler>>>((resolve) => {
      void handler(http('/stream?prompt=hi')).then(resolve)
      setImmediate(scripted.release)
    })
    const [, lastId = ''] = /^id: (.*)$/m.exec(await textOf(first)) ?? []

    const again = await resume(handler, '/stream?prompt=hi', lastId)

    expect(lastId).toBe('r1.0')
    expect(deltasIn(await textOf(again)).slice(1)).toEqual([hel, stop])
  })

  test('that comes back after the reply was forgotten is told to stop, and nothing is asked', async () => {
    let time = 0
    const scripted = script(ended)
    const store = createMemoryStore({ ttlMs: 1000, now: () => time })
    const handler = createHandler({ upstream: scripted.upstream, model: 'm', store, createId: () => 'r1' })
    await textOf(await handler(http('/stream?prompt=hi')))
    time = 2000

    const again = await resume(handler, '/stream?prompt=hi', 'r1.4')

    expect(again.status).toBe(204)
    expect(scripted.asked).toHaveLength(1)
  })
})
