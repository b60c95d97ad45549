import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Ask, ChatDelta, StreamStore } from '../src/types.ts'
import { all, soon, until } from './src/kit.ts'

/** A store under test, with what only it knows. */
export interface StoreUnderTest {
  readonly store: StreamStore
  /** Makes the store lose a reply, as time or lack of room would. */
  readonly lose?: (id: string) => void | Promise<void>
  readonly close?: () => void | Promise<void>
}

const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 1 }
const finish: ChatDelta = { type: 'finish', reason: 'stop' }
const cancelled: ChatDelta = { type: 'finish', reason: 'cancelled' }
const failed: ChatDelta = { type: 'error', code: 'internal', message: 'Oh.', retryable: false }

function text(value: string): ChatDelta {
  return { type: 'text', text: value }
}

/** Replies of all stores under test: some of those share one server. */
let number = 0

/** What every store does. A new one is done when this is green. */
export function describeStore(
  name: string,
  create: () => StoreUnderTest | Promise<StoreUnderTest>,
  /** Whether it can lose a reply that is being read; then `create` gives a way to make it. */
  { loses = false } = {},
): void {
  describe(`the store ${name}`, () => {
    let tested: StoreUnderTest
    let store: StreamStore
    let leaving: AbortController
    let id: string

    beforeEach(async () => {
      tested = await create()
      store = tested.store
      leaving = new AbortController()
      id = `reply-${process.pid}-${++number}`
      await store.create(id)
    })

    afterEach(async () => {
      leaving.abort()
      await tested.close?.()
    })

    function read(after = 0, signal = leaving.signal) {
      return store.read(id, { after, signal })
    }

    async function whole(after = 0): Promise<ChatDelta[]> {
      return (await soon(all(read(after)))).flat()
    }

    test('gives back what was appended, in order, up to the terminal delta', async () => {
      expect(await store.append(id, [start, text('Hel')])).toBeUndefined()
      expect(await store.append(id, [text('lo')])).toBeUndefined()
      expect(await store.append(id, [finish])).toBeUndefined()

      expect(await whole()).toEqual([start, text('Hel'), text('lo'), finish])
    })

    test.each<[string, ChatDelta]>([
      ['finish', finish],
      ['error', failed],
    ])('is sealed by a terminal delta (%s): nothing can be added any more', async (_, terminal) => {
      await store.append(id, [start, terminal])

      expect(await store.append(id, [text('late')])).toEqual(terminal)
      expect(await store.append(id, [finish])).toEqual(terminal)
      expect(await whole()).toEqual([start, terminal])
    })

    test('keeps nothing that stands behind a terminal delta', async () => {
      await store.append(id, [start, finish, text('late'), failed])

      expect(await whole()).toEqual([start, finish])
      expect(await store.state(id)).toMatchObject({ length: 2, sealed: true, terminal: finish })
    })

    test('tells how long a reply is and whether it is sealed', async () => {
      const state = async () => store.state(id)
      expect(await state()).toMatchObject({ length: 0, sealed: false })
      await store.append(id, [start, text('x')])
      await expect.poll(state).toMatchObject({ length: 2, sealed: false })
      await store.append(id, [finish])
      expect(await state()).toMatchObject({ length: 3, sealed: true, terminal: finish })
    })

    test('knows nothing of a reply that was never opened', async () => {
      expect(await store.state('reply-nobody-knows')).toBeUndefined()
      expect(await store.append('reply-nobody-knows', [start])).toMatchObject({ code: 'gone' })
      const reading = async () => all(store.read('reply-nobody-knows', { after: 0, signal: leaving.signal }))
      await expect(soon(reading())).rejects.toMatchObject({ code: 'not-found' })
    })

    test('opens a reply once', async () => {
      await expect((async () => store.create(id))()).rejects.toMatchObject({ name: 'ChatError' })
    })

    test('knows whose a reply is', async () => {
      await store.create(`${id}-o`, { owner: 'somebody' })

      expect(await store.state(id)).toMatchObject({ owner: '' })
      expect(await store.state(`${id}-o`)).toMatchObject({ owner: 'somebody' })
    })

    test('forgets a reply that nobody was told of', async () => {
      await store.discard(id)

      expect(await store.state(id)).toBeUndefined()
      expect(await store.append(id, [start])).toMatchObject({ code: 'gone' })
    })

    test('asks the producer of a reply to stop, and tells how it ended', async () => {
      const own = `${id}-a`
      const asked: Ask[] = []
      const onAsk = (ask: Ask): void => {
        asked.push(ask)
        void store.append(own, [cancelled])
      }
      await store.create(own, { onAsk })
      await store.append(own, [start])

      const state = await soon(store.ask(own, 'stop'))

      expect(asked).toContain('stop')
      expect(state).toMatchObject({ length: 2, sealed: true, terminal: cancelled })
      expect(await soon(store.ask(own, 'stop'))).toEqual(state)
    })

    test('ends a reply whose producer does not listen', async () => {
      const own = `${id}-d`
      await store.create(own, { start })

      expect(await soon(store.ask(own, 'stop'))).toMatchObject({ sealed: true, terminal: cancelled })
      await store.append(own, [start, text('late')])
      expect(await store.append(own, [finish])).toEqual(cancelled)
    })

    test('asks nothing of a reply that is over, or that there is not', async () => {
      await store.append(id, [start, finish])

      expect(await soon(store.ask(id, 'stop'))).toMatchObject({ length: 2, terminal: finish })
      expect(await soon(store.ask('reply-nobody-knows', 'stop'))).toBeUndefined()
    })

    test('gives a name to the first who claims it, and to the last when it may be replaced', async () => {
      const name = `name of ${id}`
      await store.create(`${id}-n`)

      expect(await store.find(name)).toBeUndefined()
      expect(await store.claim(name, { id, note: 'first' })).toBeUndefined()
      expect(await store.claim(name, { id: `${id}-n` })).toEqual({ id, note: 'first' })
      expect(await store.find(name)).toEqual({ id, note: 'first' })
      expect(await store.claim(name, { id: `${id}-n` }, { replace: true })).toEqual({ id, note: 'first' })
      expect(await store.find(name)).toEqual({ id: `${id}-n` })
    })

    test('lets a reply claim again what it has', async () => {
      const name = `name of ${id}`
      await store.claim(name, { id })

      expect(await store.claim(name, { id })).toBeUndefined()
      expect(await store.claim(name, { id }, { replace: true })).toBeUndefined()
    })

    test('frees a name only of the reply that has it', async () => {
      const name = `name of ${id}`
      await store.claim(name, { id })

      await store.release(name, 'another')
      expect(await store.find(name)).toEqual({ id })
      await store.release(name, id)
      expect(await store.find(name)).toBeUndefined()
    })

    test('lets one of many who claim a name at once have it', async () => {
      const ids = Array.from({ length: 20 }, (_, i) => `${id}-c${i}`)
      await Promise.all(ids.map(async (each) => store.create(each)))

      const before = await Promise.all(ids.map(async (each) => store.claim(`many of ${id}`, { id: each })))

      const holder = await store.find(`many of ${id}`)
      expect(before.filter((binding) => binding === undefined)).toHaveLength(1)
      expect(before.filter((binding) => binding !== undefined)).toEqual(Array(19).fill(holder))
    })

    test('can keep new replies', async () => {
      expect((await store.ready?.()) ?? true).toBe(true)
    })

    test('keeps replies apart', async () => {
      await store.create(`${id}-b`)
      await store.append(id, [start, text('a'), finish])
      await store.append(`${id}-b`, [start, failed])

      expect(await whole()).toEqual([start, text('a'), finish])
    })

    test('gives a delta to a reader that waits, and to one that comes later', async () => {
      const seen: ChatDelta[] = []
      const reading = (async () => {
        for await (const batch of read()) seen.push(...batch)
      })()
      await store.append(id, [start])
      await until(() => seen.length === 1)
      await store.append(id, [text('a')])
      await until(() => seen.length === 2)
      await store.append(id, [finish])
      await soon(reading)

      expect(seen).toEqual([start, text('a'), finish])
      expect(await whole()).toEqual(seen)
    })

    test('gives every reader everything, whenever it comes and wherever it begins', async () => {
      const deltas = [start, ...Array.from({ length: 20 }, (_, i) => text(String(i))), finish]
      const readers = [0, 1, 5, 20].map((after) => ({ after, reading: all(read(after)) }))

      for (const [at, delta] of deltas.entries()) {
        await store.append(id, [delta])
        if (at % 7 === 0) readers.push({ after: at, reading: all(read(at)) })
      }

      for (const { after, reading } of readers) {
        expect((await soon(reading)).flat()).toEqual(deltas.slice(after))
      }
    })

    test('resumes after any cursor with exactly what follows it', async () => {
      const pieces = fc.array(fc.array(fc.string().map(text), { maxLength: 4 }), { maxLength: 8 })
      let run = 0
      await fc.assert(
        fc.asyncProperty(pieces, fc.nat(40), async (batches, cursor) => {
          const own = `${id}-p${run++}`
          await store.create(own)
          const deltas = [start, ...batches.flat(), finish]
          const after = Math.min(cursor, deltas.length)
          const reading = all(store.read(own, { after, signal: leaving.signal }))
          await store.append(own, [start])
          for (const batch of batches) await store.append(own, batch)
          await store.append(own, [finish])
          const late = all(store.read(own, { after, signal: leaving.signal }))

          expect((await soon(reading)).flat()).toEqual(deltas.slice(after))
          expect((await soon(late)).flat()).toEqual(deltas.slice(after))
        }),
        { numRuns: 50 },
      )
    })

    test('tells a reader that has more than the whole reply, instead of an end', async () => {
      const waiting = all(read(5))
      await store.append(id, [start, finish])

      await expect(soon(waiting)).rejects.toMatchObject({ code: 'gone' })
      await expect(whole(3)).rejects.toMatchObject({ code: 'gone' })
      expect(await whole(2)).toEqual([])
    })

    test('gives a reader that fell behind all it missed at once, and never an empty batch', async () => {
      const reader = read()
      await store.append(id, [start])
      await soon(reader.next())
      for (let i = 0; i < 50; i++) await store.append(id, [text(String(i))])
      await expect.poll(async () => (await store.state(id))?.length).toBe(51)

      const { value } = await soon(reader.next())

      expect(value).toHaveLength(50)
      await store.append(id, [])
      await store.append(id, [finish])
      expect((await soon(all(reader))).every((batch) => batch.length > 0)).toBe(true)
    })

    test('keeps the deltas it was given, also when the caller goes on with its array', async () => {
      const mine = [start]
      await store.append(id, mine)
      mine.push(text('not yet'))
      await store.append(id, [finish])

      expect(await whole()).toEqual([start, finish])
    })

    test('lets a reader go at once, without a word, when its signal aborts', async () => {
      const mine = new AbortController()
      const reader = read(0, mine.signal)
      const other = all(read())
      const waiting = reader.next()

      mine.abort()

      expect(await soon(waiting, 500)).toEqual({ value: undefined, done: true })
      expect(await soon(reader.next(), 500)).toEqual({ value: undefined, done: true })
      await store.append(id, [start, finish])
      expect((await soon(other)).flat()).toEqual([start, finish])
    })

    test('gives nothing to a reader whose signal has aborted before', async () => {
      await store.append(id, [start, finish])

      expect(await soon(all(read(0, AbortSignal.abort())))).toEqual([])
    })

    test('lets a reader go that is left while it waits', async () => {
      const reader = read()
      const waiting = reader.next()

      await soon(Promise.resolve(reader.return?.()), 500)

      expect(await soon(waiting, 500)).toEqual({ value: undefined, done: true })
      expect(await soon(reader.next(), 500)).toEqual({ value: undefined, done: true })
    })

    test.each<[string, (reader: AsyncIterableIterator<readonly ChatDelta[]>) => Promise<unknown>]>([
      ['has read to the end', (reader) => all(reader)],
      ['has left in the middle', async (reader) => [await reader.next(), await reader.return?.()]],
      ['has left before the first delta', async (reader) => reader.return?.()],
    ])('leaves no listener behind on the signal of a reader that %s', async (_, finishReading) => {
      await store.append(id, [start, finish])
      const mine = new AbortController()

      await soon(finishReading(read(0, mine.signal)))

      expect(getEventListeners(mine.signal, 'abort')).toEqual([])
    })

    if (loses) {
      test('tells a reader in the middle when the reply is lost', async () => {
        await store.append(id, [start])
        const readers = [read(), read(1)]
        await soon(readers[0]!.next())

        await tested.lose!(id)

        for (const reader of readers)
          await expect(soon(reader.next())).rejects.toMatchObject({ code: 'gone' })
        expect(await store.state(id)).toBeUndefined()
        expect(await store.append(id, [finish])).toMatchObject({ type: 'error' })
      })
    }
  })
}
