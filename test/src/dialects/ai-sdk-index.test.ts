import { getEventListeners, setMaxListeners } from 'node:events'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { aiSdk, aiSdkFrom } from '../../../src/dialects/ai-sdk.ts'
import { createChunkIndex } from '../../../src/dialects/ai-sdk-index.ts'
import { createMemoryStore } from '../../../src/stores/memory.ts'
import type { ChatDelta } from '../../../src/types.ts'

const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 1 }
const finish: ChatDelta = { type: 'finish', reason: 'stop' }
const { signal } = new AbortController()
setMaxListeners(0, signal) // one signal for all requests

function words(count: number, text = 'a'): ChatDelta[] {
  return Array.from({ length: count }, () => ({ type: 'text', text }))
}

/** A store, and how much was read from it. */
function opened() {
  const store = createMemoryStore()
  void store.create('r')
  let read = 0
  const counting = {
    ...store,
    read: vi.fn((id: string, options: Parameters<typeof store.read>[1]) => {
      const batches = store.read(id, options)
      return {
        async next() {
          const result = await batches.next()
          if (!result.done) read += result.value.length
          return result
        },
        return: () => batches.return!(),
        [Symbol.asyncIterator]() {
          return this
        },
      }
    }),
  }
  return { store, counting, index: createChunkIndex(counting), taken: () => read }
}

/** The frames of a reply, one chunk each. */
function framesOf(deltas: readonly ChatDelta[], dialect = aiSdk, from = 0): string[] {
  const encode = dialect.createEncoder({ replyId: 'r' })
  const text = deltas
    .slice(from)
    .map((delta, at) => encode(delta, from + at + 1))
    .join('')
  return text.split('\n\n').filter((frame) => frame !== '')
}

const word = fc.string({ maxLength: 3 })
const piece: fc.Arbitrary<ChatDelta> = fc.oneof(
  fc.record({ type: fc.constantFrom('text', 'reasoning', 'refusal'), text: word }),
  fc.record({
    type: fc.constant('tool-call' as const),
    index: fc.nat(3),
    id: fc.constantFrom('', 'c1', 'c2'),
    name: fc.constantFrom('', 'tool'),
    arguments: fc.constantFrom('', '{', '}', '{}', '"__proto__":1'),
    server: fc.boolean(),
  }),
  fc.record({
    type: fc.constant('tool-result' as const),
    id: fc.constantFrom('c1', 'c2', 'r-0', 'r-1'),
    result: fc.constantFrom('it is', { a: 1 }),
    isError: fc.boolean(),
  }),
  fc.record({ type: fc.constant('source' as const), url: fc.constant('https://e.org/') }),
  fc.record({ type: fc.constant('usage' as const), inputTokens: fc.nat(9), outputTokens: fc.nat(9) }),
) as fc.Arbitrary<ChatDelta>

describe('the index of the chunks of a reply', () => {
  test('continues at any chunk with the same frames as the whole stream', async () => {
    // Checkpoints are many deltas apart: the answer is repeated until there are some.
    const answers = fc.tuple(
      fc.array(piece, { minLength: 1, maxLength: 30 }),
      fc.boolean(),
      fc.nat(),
      fc.nat(1200),
    )
    await fc.assert(
      fc.asyncProperty(answers, async ([pieces, over, at, before]) => {
        const some = Array.from({ length: 1200 }, (_, i) => pieces[i % pieces.length]!)
        const deltas = [start, ...some, ...(over ? [finish] : [])]
        const { store, index } = opened()
        const whole = framesOf(deltas).filter((frame) => frame !== 'data: [DONE]')
        // Counted in two steps.
        await store.append('r', deltas.slice(0, before))
        await index.count('r', signal)
        await store.append('r', deltas.slice(before))

        const { count, sealed, near } = (await index.count('r', signal))!

        expect([count, sealed]).toEqual([whole.length, over])
        for (const from of [-1, 0, at % (count + 1), count - 1, count]) {
          const place = near(from)
          expect(place.count).toBeLessThanOrEqual(Math.max(0, from))
          const frames = framesOf(deltas, aiSdkFrom(from, count, place), place.seq)
          expect(frames.filter((frame) => frame !== 'data: [DONE]')).toEqual(whole.slice(Math.max(0, from)))
        }
      }),
      { numRuns: 60 },
    )
  })

  test('reads each delta once, and of a finished reply nothing again', async () => {
    const { store, index, counting, taken } = opened()
    await store.append('r', [start, ...words(3000)])
    await index.count('r', signal)
    expect(taken()).toBe(3001)
    await index.count('r', signal)
    expect(taken()).toBe(3001)
    await store.append('r', [finish])

    const counted = await Promise.all(Array.from({ length: 50 }, () => index.count('r', signal)))

    expect(taken()).toBe(3002)
    expect(counting.read).toHaveBeenCalledTimes(2)
    expect(new Set(counted.map((each) => each?.count)).size).toBe(1)
    expect(counted.every((each) => each?.sealed)).toBe(true)
  })

  test.each([
    ['many small deltas', 100_000, 1],
    ['large deltas', 200, 40_000],
  ])('begins near the last chunks: %s', async (_, number, size) => {
    const { store, index } = opened()
    await store.append('r', [start, ...words(number, 'x'.repeat(size))])

    const { count, near } = (await index.count('r', signal))!

    const place = near(count - 1)
    expect(place.seq).toBeGreaterThan(number - 300)
    expect((number - place.seq) * size).toBeLessThanOrEqual(256 + 2 * 65_536)
    expect(near(count).seq).toBe(number + 1)
    // Older ones are further apart, but not far.
    expect(near(count / 2).seq).toBeGreaterThan(number / 2 - number / 8 - 300)
  })

  test('takes little memory for a reply of many calls', async () => {
    const { store, index } = opened()
    const calls = Array.from({ length: 20_000 }, (_, at): ChatDelta => {
      return { type: 'tool-call', index: at, id: `c${at}`, name: 'tool', arguments: '{}' }
    })
    await store.append('r', [start, ...calls])

    const { count, near } = (await index.count('r', signal))!

    expect(count).toBeGreaterThan(40_000)
    const places = new Set(Array.from({ length: 100 }, (_, at) => near((count * at) / 100).seq))
    expect(places.size).toBeLessThanOrEqual(2)
  })

  test('shares one reading, which ends with the last request', async () => {
    const { store, index, counting } = opened()
    await store.append('r', [start])
    // A log that does not go on: nothing comes after what is said to be there.
    const stuck = createChunkIndex({ ...counting, state: () => ({ length: 9, sealed: false, owner: '' }) })
    const leaving = [new AbortController(), new AbortController()]
    const counts = leaving.map((each) => stuck.count('r', each.signal))
    await vi.waitFor(() => expect(counting.read).toHaveBeenCalledTimes(1))
    const [, { signal: reading }] = counting.read.mock.calls[0]!

    leaving[0]!.abort()
    await counts[0]
    expect(reading.aborted).toBe(false)
    leaving[1]!.abort()
    await counts[1]

    expect(reading.aborted).toBe(true)
    expect(leaving.flatMap((each) => getEventListeners(each.signal, 'abort'))).toEqual([])
    expect((await index.count('r', signal))?.count).toBe(2)
  })

  test('knows nothing of a reply that is not there', async () => {
    expect(await opened().index.count('other', signal)).toBeUndefined()
  })

  test('does not hold others up while it counts', async () => {
    const { store, index } = opened()
    await store.append('r', [start, ...words(200_000)])
    let turns = 0
    const turning = setInterval(() => turns++)

    await index.count('r', signal)
    clearInterval(turning)

    expect(turns).toBeGreaterThan(10)
  })
})
