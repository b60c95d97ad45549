import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createWatchdog } from '../../src/watchdog.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function watching(ms: number) {
  const watchdog = createWatchdog()
  const expire = vi.fn<() => void>()
  watchdog.expect(ms, expire)
  return { watchdog, expire }
}

test('it expires once, when the time is over', () => {
  const { expire } = watching(100)

  vi.advanceTimersByTime(99)
  expect(expire).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1000)

  expect(expire).toHaveBeenCalledTimes(1)
  expect(vi.getTimerCount()).toBe(0)
})

test('a sign of life begins the time anew, with one timer however often it comes', () => {
  const { watchdog, expire } = watching(100)

  for (let i = 0; i < 50; i++) {
    vi.advanceTimersByTime(90)
    watchdog.feed()
    expect(vi.getTimerCount()).toBe(1)
  }
  vi.advanceTimersByTime(99)
  expect(expire).not.toHaveBeenCalled()
  vi.advanceTimersByTime(2)

  expect(expire).toHaveBeenCalledTimes(1)
})

test('it rests while it is held', () => {
  const { watchdog, expire } = watching(100)
  watchdog.hold()

  vi.advanceTimersByTime(10_000)
  expect(expire).not.toHaveBeenCalled()
  watchdog.feed()
  vi.advanceTimersByTime(201)

  expect(expire).toHaveBeenCalledTimes(1)
})

test('a new limit replaces the one before', () => {
  const { watchdog, expire } = watching(100)
  const second = vi.fn<() => void>()
  vi.advanceTimersByTime(90)

  watchdog.expect(1000, second)
  vi.advanceTimersByTime(999)
  expect(second).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1)

  expect(second).toHaveBeenCalledTimes(1)
  expect(expire).not.toHaveBeenCalled()
})

test.each([Infinity, 2 ** 31])('a limit of %d ms never expires, and least of all at once', (ms) => {
  const { expire } = watching(ms)

  vi.advanceTimersByTime(100_000)

  expect(expire).not.toHaveBeenCalled()
})

test('once stopped it leaves no timer', () => {
  const { watchdog, expire } = watching(100)

  watchdog.stop()
  watchdog.feed()
  vi.advanceTimersByTime(1000)

  expect(expire).not.toHaveBeenCalled()
  expect(vi.getTimerCount()).toBe(0)
})

test('a pause takes no time, and is no sign of life', () => {
  const { watchdog, expire } = watching(100)

  vi.advanceTimersByTime(60)
  watchdog.pause()
  vi.advanceTimersByTime(1000)
  watchdog.resume()
  vi.advanceTimersByTime(30)
  expect(expire).not.toHaveBeenCalled()
  vi.advanceTimersByTime(100)

  expect(expire).toHaveBeenCalledTimes(1)
})
