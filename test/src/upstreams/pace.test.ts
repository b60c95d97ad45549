import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createPace } from '../../../src/upstreams/pace.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function paced() {
  let time = 0
  const log: string[] = []
  const pace = createPace(() => time)
  const work = (name: string, ms: number) =>
    pace.run(() => {
      log.push(name)
      time += ms
    })
  return { pace, log, work }
}

test('work within its share is done at once', () => {
  const { log, work } = paced()

  for (let i = 0; i < 10; i++) work(`${i}`, 0.1)

  expect(log).toHaveLength(10)
})

test('what comes after the share was used up waits for later turns, in order', () => {
  const { log, work } = paced()

  for (const name of ['a', 'b', 'c', 'd', 'e']) work(name, 2)
  expect(log).toEqual(['a', 'b'])
  vi.runOnlyPendingTimers()
  expect(log).toEqual(['a', 'b', 'c', 'd'])
  vi.runAllTimers()

  expect(log).toEqual(['a', 'b', 'c', 'd', 'e'])
  expect(vi.getTimerCount()).toBe(0)
})

test('an answer that goes on at once does so behind those that wait', () => {
  const { pace, log } = paced()
  const again = (name: string, left: number): void =>
    pace.run(() => {
      log.push(name)
      if (left > 0) queueMicrotask(() => again(name, left - 1))
    })

  again('a', 2)
  again('b', 2)
  vi.runAllTimers()

  expect(log.slice(0, 2)).toEqual(['a', 'b'])
})

test('a new turn has a new share', () => {
  const { log, work } = paced()

  work('a', 5)
  work('b', 5)
  vi.runAllTimers()
  work('c', 5)
  work('d', 5)

  expect(log).toEqual(['a', 'b', 'c', 'd'])
})
