import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { createMemoryStore } from '../../../src/stores/memory.ts'
import type { ChatDelta } from '../../../src/types.ts'
import { describeStore } from '../../store-contract.ts'
import { all, soon } from '../kit.ts'

const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 1 }
const finish: ChatDelta = { type: 'finish', reason: 'stop' }

describeStore('in memory', () => ({ store: createMemoryStore() }))

describe('what the store in memory forgets', () => {
  const { signal } = new AbortController()

  function sealed(store: ReturnType<typeof createMemoryStore>, id: string, length = 0): void {
    void store.create(id)
    void store.append(id, [start, { type: 'text', text: 'x'.repeat(length) }, finish])
  }

  /** Memory is freed after the call that took it. */
  const relieved = (): Promise<void> => Promise.resolve()

  test('is a reply that ended as long ago as it is kept', () => {
    let time = 0
    const store = createMemoryStore({ ttlMs: 1000, now: () => time })
    sealed(store, 'a')
    time = 999
    expect(store.state('a')).toBeDefined()

    time = 1000

    expect(store.state('a')).toBeUndefined()
    expect(() => store.read('a', { after: 0, signal })).toThrow(
      expect.objectContaining({ code: 'not-found' }),
    )
    expect(store.append('a', [finish])).toMatchObject({ code: 'gone' })
  })

  test('is never a reply that is still being written', () => {
    let time = 0
    const store = createMemoryStore({ ttlMs: 1000, maxBytes: 100, now: () => time })
    void store.create('a')
    void store.append('a', [{ type: 'text', text: 'x'.repeat(1000) }])

    time = 1e9

    expect(store.state('a')).toMatchObject({ length: 1, sealed: false })
  })

  test('is the oldest first when there is no room', async () => {
    const store = createMemoryStore({ maxBytes: 30_000 })
    for (const id of ['a', 'b', 'c']) sealed(store, id, 10_000)
    await relieved()

    expect(store.state('a')).toBeUndefined()
    expect(store.state('b')).toBeDefined()
    expect(store.state('c')).toBeDefined()
  })

  test.each<[string, (store: ReturnType<typeof createMemoryStore>, later: () => void) => void]>([
    ['its time is over', (_, later) => later()],
    ['there is no room', (store) => sealed(store, 'large', 100_000)],
  ])('is no matter of a reader in the middle of it, when %s', async (_, lose) => {
    let time = 0
    const store = createMemoryStore({ ttlMs: 1000, maxBytes: 50_000, now: () => time })
    void store.create('a')
    void store.append('a', [start])
    const reader = store.read('a', { after: 0, signal })
    await reader.next()
    void store.append('a', [finish])

    lose(store, () => (time = 2000))
    await relieved()

    expect(store.state('a')).toBeUndefined()
    expect(await soon(reader.next())).toEqual({ value: [finish], done: false })
    expect(await soon(reader.next())).toEqual({ value: undefined, done: true })
  })

  test('frees the room it had', async () => {
    let time = 0
    const store = createMemoryStore({ ttlMs: 1000, maxBytes: 30_000, now: () => time })
    sealed(store, 'a', 20_000)
    time = 1500
    sealed(store, 'b', 20_000)
    await relieved()

    expect(store.state('b')).toBeDefined()
    sealed(store, 'a', 1000)
    await relieved()
    expect(store.state('a')).toBeDefined()
  })

  test('is not held by the readers that came and went', async () => {
    const store = createMemoryStore()
    sealed(store, 'a', 10)

    for (let i = 0; i < 100; i++) await all(store.read('a', { after: 0, signal }))

    expect(getEventListeners(signal, 'abort')).toEqual([])
  })
})
