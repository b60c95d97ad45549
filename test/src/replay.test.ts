import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { terminalFor } from '../../src/chat.ts'
import { events, eventSource } from '../../src/dialects/events.ts'
import { ChatError } from '../../src/errors.ts'
import { toUnkept } from '../../src/log.ts'
import { peek } from '../../src/peek.ts'
import { replay } from '../../src/replay.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { ChatDelta } from '../../src/types.ts'
import { all, deltasIn, soon } from './kit.ts'

const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 1 }
const finish: ChatDelta = { type: 'finish', reason: 'stop' }
const { signal } = new AbortController()
const encode = events.createEncoder({ replyId: 'r' })

function text(value: string): ChatDelta {
  return { type: 'text', text: value }
}

/** A log that holds these deltas already. */
function logOf(...deltas: ChatDelta[]) {
  const store = createMemoryStore()
  void store.create('r')
  void store.append('r', deltas)
  return { store, read: (after = 0) => store.read('r', { after, signal }) }
}

async function* batchesOf(
  ...batches: (readonly ChatDelta[] | Error)[]
): AsyncGenerator<readonly ChatDelta[]> {
  for (const batch of batches) {
    if (batch instanceof Error) throw batch
    yield batch
  }
}

function firstId(bytes: string): number | undefined {
  const id = /^id: (\d+)$/m.exec(bytes)?.[1]
  return id === undefined ? undefined : Number(id)
}

/** Where a reader stands: the last event id it was told. */
function lastId(bytes: string): number | undefined {
  const id = [...bytes.matchAll(/^id: (?:r\.)?(\d+)$/gm)].at(-1)?.[1]
  return id === undefined ? undefined : Number(id)
}

describe('replay', () => {
  test('gives a reader that resumes after n exactly the bytes that follow n', async () => {
    const words = fc.array(fc.string({ unit: 'binary' }), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(words, fc.nat(40), fc.array(fc.nat(5)), async (said, cursor, sizes) => {
        const deltas = [start, ...said.map(text), finish]
        const after = Math.min(cursor, deltas.length)
        const { store, read } = logOf()
        const live = all(replay(read(), { after: 0, encode }))
        for (let at = 0, i = 0; at < deltas.length; i++) {
          const size = 1 + (sizes[i % sizes.length] ?? 0)
          void store.append('r', deltas.slice(at, at + size))
          if (i % 2 === 0) await Promise.resolve()
          at += size
        }

        const full = (await live).join('')
        const rest = (await all(replay(read(after), { after, encode }))).join('')

        expect(full).toBe(deltas.map((delta, i) => encode(delta, i + 1)).join(''))
        expect(rest).toBe(full.slice(full.length - rest.length))
        expect(firstId(rest)).toBe(after === deltas.length ? undefined : after + 1)
      }),
    )
  })

  test('tells of a log that fails without moving the cursor: after the last id comes the rest', async () => {
    const words = fc.array(fc.string({ unit: 'binary' }), { maxLength: 20 })
    const encoders = fc.constantFrom(encode, eventSource.createEncoder({ replyId: 'r' }))
    await fc.assert(
      fc.asyncProperty(words, fc.nat(25), fc.nat(25), encoders, async (said, from, length, encoder) => {
        const deltas = [start, ...said.map(text), finish]
        const after = Math.min(from, deltas.length)
        const read = deltas.slice(after, after + length)
        const { read: readAgain } = logOf(...deltas)
        const full = deltas.map((delta, i) => encoder(delta, i + 1)).join('')

        const failing = batchesOf(read, new ChatError('gone', 'Lost.'))
        const first = (await all(replay(failing, { after, encode: encoder }))).join('')
        const last = lastId(first) ?? after
        const rest = (await all(replay(readAgain(last), { after: last, encode: encoder }))).join('')

        expect(last).toBe(after + read.length)
        expect(deltasIn(first).at(-1)).toMatchObject({ type: 'error', code: 'gone' })
        const saidBefore = first.slice(0, first.lastIndexOf('data: {"type":"error"'))
        expect(full.endsWith(saidBefore + rest)).toBe(true)
      }),
    )
  })

  test('gives no number to an end that is in no log', async () => {
    const incomplete = terminalFor(new ChatError('log-incomplete', 'Not kept.'))
    const { read } = logOf(start, text('hi'), toUnkept(incomplete))

    const bytes = (await all(replay(read(), { after: 0, encode }))).join('')

    expect(bytes).toMatch(/^id: 1\n.+\n\nid: 2\n.+\n\ndata: \{"type":"error","code":"log-incomplete".+\n\n$/)
  })

  test.each([
    ['ASCII', 'x'.repeat(30)],
    ['three bytes a character', '漢字'.repeat(20)],
    ['pairs', '😀'.repeat(33)],
    ['one delta larger than all', '😀漢x'.repeat(100_000)],
  ])('writes what arrived together in pieces of at most 64 KiB: %s', async (name, word) => {
    const count = name.startsWith('one') ? 1 : 5000
    const { read } = logOf(start, ...Array.from({ length: count }, () => text(word)), finish)

    const pieces = await all(replay(read(), { after: 0, encode }))

    const sizes = pieces.map((piece) => new TextEncoder().encode(piece).length)
    expect(Math.max(...sizes)).toBeLessThanOrEqual(64 * 1024)
    // Each as it would be on the wire: no character is cut in two.
    expect(new TextDecoder().decode(Buffer.concat(pieces.map((piece) => Buffer.from(piece))))).toBe(
      pieces.join(''),
    )
    expect(deltasIn(pieces.join(''))).toEqual([
      start,
      ...Array.from({ length: count }, () => text(word)),
      finish,
    ])
    expect(pieces.length).toBeLessThan(sizes.reduce((a, b) => a + b) / 20_000 + 2)
  })

  test('keeps the fault of an encoder to its reader', async () => {
    const { store, read } = logOf(start)
    const broken = (delta: ChatDelta): string => {
      if (delta.type === 'text') throw new Error('broken')
      return encode(delta, 1)
    }
    const mine = all(replay(read(), { after: 0, encode: broken }))
    const other = all(replay(read(), { after: 0, encode }))
    await Promise.resolve()

    expect(store.append('r', [text('a'), finish])).toBeUndefined()

    expect((await mine).join('')).toMatch(/"code":"internal"/)
    expect(deltasIn((await other).join(''))).toEqual([start, text('a'), finish])
  })

  test('sends its preamble at once, before anything is in the log', async () => {
    const frames = replay(logOf().read(), { after: 0, encode, preamble: 'retry: 1000\n\n' })

    expect(await soon(frames.next(), 500)).toEqual({ value: 'retry: 1000\n\n', done: false })
    await frames.return?.()
  })

  test('leaves out what the encoder has nothing to say about', async () => {
    const frames = replay(logOf(start, text('a'), finish).read(), {
      after: 0,
      encode: (delta) => (delta.type === 'text' ? delta.text : ''),
    })

    expect(await all(frames)).toEqual(['a'])
  })

  test.each<[string, Error, Partial<ChatDelta>]>([
    ['is lost', new ChatError('gone', 'Forgotten.'), { type: 'error', code: 'gone' }],
    ['is not there any more', new ChatError('not-found', 'Unknown.'), { type: 'error', code: 'gone' }],
    ['breaks', new Error('secret'), { type: 'error', code: 'internal' }],
    ['gives up by itself', new DOMException('x', 'AbortError'), { type: 'error', code: 'internal' }],
  ])('says so in its last frame when the log %s', async (_, failure, last) => {
    const onEnd = vi.fn<(toTheEnd: boolean) => void>()

    const bytes = (
      await all(replay(batchesOf([start, text('a')], failure), { after: 0, encode, onEnd }))
    ).join('')

    expect(deltasIn(bytes)).toEqual([start, text('a'), expect.objectContaining(last)])
    expect(bytes).not.toContain('id: 3\n')
    expect(bytes).not.toContain('secret')
    expect(onEnd).toHaveBeenCalledTimes(1)
  })

  test('tells once that its reader has ended', async () => {
    const onEnd = vi.fn<(toTheEnd: boolean) => void>()
    const frames = replay(logOf(start, finish).read(), { after: 0, encode, onEnd })

    await all(frames)
    await frames.next()
    await frames.return?.()

    expect(onEnd.mock.calls).toEqual([[true]])
  })

  test('does not take for read what was only handed out', async () => {
    const onEnd = vi.fn<(toTheEnd: boolean) => void>()
    const frames = replay(logOf(start, finish).read(), { after: 0, encode, onEnd })

    await frames.next()
    await frames.return?.()

    expect(onEnd.mock.calls).toEqual([[false]])
  })

  test('tells that its reader has left, also while it waits', async () => {
    const onEnd = vi.fn<(toTheEnd: boolean) => void>()
    const frames = replay(logOf().read(), { after: 0, encode, onEnd })
    const waiting = frames.next()

    await soon(Promise.resolve(frames.return?.()), 500)

    expect(await soon(waiting, 500)).toEqual({ value: undefined, done: true })
    expect(onEnd.mock.calls).toEqual([[false]])
  })
})

describe('a look at the beginning', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  test.each<[string, ChatDelta[][], number, ChatDelta[]]>([
    ['that is there at once', [[start, text('a')], [finish]], 2, [start, text('a')]],
    ['that comes in pieces', [[start], [text('a')], [finish]], 2, [start, text('a')]],
    ['that comes with more than was asked for', [[start, text('a'), finish]], 2, [start, text('a'), finish]],
    ['of a log that ends before', [[start]], 2, [start]],
    ['of an empty log', [], 2, []],
  ])('sees a beginning %s, and loses nothing of it', async (_, batches, count, expected) => {
    const opening = await peek(batchesOf(...batches), { count, waitMs: 1000 })

    expect(opening.deltas).toEqual(expected)
    expect((await all(opening.batches)).flat()).toEqual(batches.flat())
    expect(vi.getTimerCount()).toBe(0)
  })

  test('waits no longer than it may, and what comes later is not lost', async () => {
    const { store, read } = logOf(start)
    const looking = peek(read(), { count: 2, waitMs: 1000 })
    await vi.advanceTimersByTimeAsync(999)
    let seen = false
    void looking.then(() => (seen = true))
    await vi.advanceTimersByTimeAsync(0)
    expect(seen).toBe(false)

    await vi.advanceTimersByTimeAsync(1)
    const { deltas, batches } = await looking
    const reading = all(batches)
    void store.append('r', [text('late')])
    void store.append('r', [finish])

    expect(deltas).toEqual([start])
    expect((await reading).flat()).toEqual([start, text('late'), finish])
  })

  test('frees the log when it is left before it is read', async () => {
    const close = vi.fn<() => void>()
    async function* source(): AsyncGenerator<readonly ChatDelta[]> {
      try {
        yield [start]
        yield [finish]
      } finally {
        close()
      }
    }
    const { batches } = await peek(source(), { count: 1, waitMs: 1000 })

    await batches.return?.()

    expect(close).toHaveBeenCalledTimes(1)
    expect(await batches.next()).toEqual({ value: undefined, done: true })
  })

  test('fails as the log does', async () => {
    const looking = peek(batchesOf(new ChatError('gone', 'Forgotten.')), { count: 2, waitMs: 1000 })

    await expect(looking).rejects.toMatchObject({ code: 'gone' })
    expect(vi.getTimerCount()).toBe(0)
  })
})
