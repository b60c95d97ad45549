import { expect, test } from 'vitest'
import { batchesOf, inBatches } from '../../src/batches.ts'
import { streamChat } from '../../src/chat.ts'
import { createHandler } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { ChatDelta, StreamStore, Upstream, UpstreamDelta } from '../../src/types.ts'
import { createFailover } from '../../src/upstreams/failover.ts'
import { all, asking, deltasIn, hel, http, lo, stop, textOf } from './kit.ts'

/** An upstream that says these batches. */
function saying(...batches: readonly (readonly UpstreamDelta[])[]): Upstream {
  return () =>
    inBatches(async function* () {
      yield* batches
    })
}

/** A store that notes how many deltas each append had. */
function counting(): { readonly store: StreamStore; readonly sizes: number[] } {
  const store = createMemoryStore()
  const sizes: number[] = []
  const append: StreamStore['append'] = (id, deltas) => {
    sizes.push(deltas.length)
    return store.append(id, deltas)
  }
  return { store: { ...store, append }, sizes }
}

const said = (deltas: readonly ChatDelta[]): string[] => deltas.map(({ type }) => type)

test.each([
  ['in one piece', saying([hel, lo, stop]), [4]],
  ['in two', saying([hel], [lo, stop]), [2, 2]],
  [
    'one by one',
    async function* () {
      yield* [hel, lo, stop] as const
    },
    [2, 1, 1],
  ],
  [
    'in one piece, through a failover',
    createFailover([{ name: 'a', upstream: saying([hel, lo, stop]) }]),
    [4],
  ],
] satisfies [string, Upstream, number[]][])(
  'what arrives %s goes into the log so',
  async (_, upstream, expected) => {
    const { store, sizes } = counting()
    const handler = createHandler({ upstream, model: 'm', store })

    const reply = await handler(http('/chat', { body: { prompt: 'hi' } }))

    expect(said(deltasIn(await textOf(reply)))).toEqual(['start', 'text', 'text', 'finish'])
    expect(sizes).toEqual(expected)
  },
)

test('a failover sees the end of an answer wherever it stands in a batch', async () => {
  const upstream = createFailover([{ name: 'a', upstream: saying([hel, lo, stop]) }])
  const { signal } = new AbortController()

  expect(await all(upstream(asking(), { signal }))).toEqual([hel, lo, stop])
})

test('nothing behind the finish of a batch counts', async () => {
  const { signal } = new AbortController()

  const deltas = await all(streamChat(asking(), { upstream: saying([hel, stop, lo]), signal, id: 'r' }))

  expect(said(deltas)).toEqual(['start', 'text', 'finish'])
})

test('whoever reads one by one gets the same, and may leave in the middle of a batch', async () => {
  let left = false
  const deltas = inBatches(async function* () {
    try {
      yield [1, 2]
      yield [3]
    } finally {
      left = true
    }
  })

  expect(await all(deltas)).toEqual([1, 2, 3])
  expect(await all(batchesOf(deltas))).toEqual([[1, 2], [3]])
  left = false
  for await (const delta of deltas) if (delta === 1) break
  expect(left).toBe(true)
})
