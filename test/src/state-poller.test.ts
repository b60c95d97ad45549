import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createStatePoller, type StatePoller } from '../../src/state-poller.ts'
import type { ReplyState } from '../../src/types.ts'

let length: number
let fails: Error | undefined
let gone: boolean
const state = vi.fn(async (_id: string): Promise<ReplyState | undefined> => {
  if (fails) throw fails
  return gone ? undefined : { length, sealed: false, owner: '' }
})
let poller: StatePoller

beforeEach(() => {
  vi.useFakeTimers()
  state.mockClear()
  length = 1
  fails = undefined
  gone = false
  poller = createStatePoller({ state })
})
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

function wait(id = 'r', { atLeast = 5, signal = new AbortController().signal, withinMs = 60_000 } = {}) {
  return poller.wait(id, { signal, withinMs, isEnough: (known) => known.length >= atLeast })
}

test('looks once for all who wait for one reply', async () => {
  const waits = Promise.all(Array.from({ length: 500 }, () => wait()))
  await vi.advanceTimersByTimeAsync(1000)
  expect(state).toHaveBeenCalledTimes(4)

  length = 5
  await vi.advanceTimersByTimeAsync(250)

  expect((await waits).every((known) => known?.length === 5)).toBe(true)
})

test('looks for each reply by itself, and answers each request as it needs', async () => {
  const [soon, later, other] = [
    wait('r', { atLeast: 2 }),
    wait('r', { atLeast: 3 }),
    wait('s', { atLeast: 2 }),
  ]
  length = 2
  await vi.advanceTimersByTimeAsync(250)
  expect(await Promise.all([soon, other])).toEqual([
    expect.objectContaining({ length: 2 }),
    expect.objectContaining({ length: 2 }),
  ])
  expect(state.mock.calls.map(([id]) => id).toSorted()).toEqual(['r', 's'])

  length = 3
  await vi.advanceTimersByTimeAsync(250)

  expect(await later).toMatchObject({ length: 3 })
})

test('gives the state as it is when time is up', async () => {
  const waiting = wait('r', { withinMs: 600 })

  await vi.advanceTimersByTimeAsync(750)

  expect(await waiting).toMatchObject({ length: 1 })
})

test('lets a request go at once when it is aborted, and ends with the last one', async () => {
  const [one, two] = [new AbortController(), new AbortController()]
  const waits = [wait('r', one), wait('r', two)]
  one.abort()
  expect(await waits[0]).toBeUndefined()
  expect(vi.getTimerCount()).toBe(1)

  two.abort()

  expect(await waits[1]).toBeUndefined()
  expect(vi.getTimerCount()).toBe(0)
  expect([one, two].flatMap(({ signal }) => getEventListeners(signal, 'abort'))).toEqual([])
  expect(await wait('r', { signal: AbortSignal.abort() })).toBeUndefined()
  expect(state).not.toHaveBeenCalled()
})

test('begins again for who comes while the last look is on its way', async () => {
  const leaving = new AbortController()
  const first = wait('r', leaving)
  vi.advanceTimersByTime(250) // the look has begun
  leaving.abort()
  const second = wait('r', { atLeast: 1 })
  await first
  await vi.advanceTimersByTimeAsync(250)

  expect(await second).toMatchObject({ length: 1 })
})

test('says that the reply is gone', async () => {
  const waiting = wait()
  gone = true
  await vi.advanceTimersByTimeAsync(250)

  expect(await waiting).toBeUndefined()
})

test('fails for all when the store fails', async () => {
  const { signal } = new AbortController()
  const waits = Promise.allSettled([wait('r', { signal }), wait('r', { signal })])
  fails = new Error('away')
  await vi.advanceTimersByTimeAsync(250)

  expect((await waits).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(getEventListeners(signal, 'abort')).toEqual([])
})
