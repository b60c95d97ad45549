import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type RedisClient, toRedisLink } from '../../adapters/redis.ts'

/** A client that answers when it is told to. */
function fakeClient() {
  const answers: ((reply: unknown) => void)[] = []
  const connect = vi.fn<() => Promise<void>>(async () => {})
  const client: RedisClient = {
    sendCommand: () => new Promise((resolve) => answers.push(resolve)),
    duplicate: () => client,
    connect,
    destroy() {},
    on() {},
    subscribe: async () => {},
    unsubscribe: async () => {},
  }
  return { client, answers, connect }
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] }))
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

test('a command that is not answered in time fails, and the connection is made anew', async () => {
  const { client, connect } = fakeClient()
  const failed = expect(toRedisLink(client, { timeoutMs: 2000 }).command(['PING'])).rejects.toThrow(/2000 ms/)

  vi.advanceTimersByTime(2000)
  expect(connect).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1000)

  await failed
  expect(connect).toHaveBeenCalledTimes(1)
})

test('the time in which a process was frozen does not count', async () => {
  const { client, answers, connect } = fakeClient()
  const answering = toRedisLink(client, { timeoutMs: 2000 }).command(['PING'])
  const then = performance.now()

  vi.spyOn(performance, 'now').mockReturnValue(then + 3_600_000)
  // Timers that were due meanwhile run once.
  vi.advanceTimersByTime(500)
  answers[0]?.('PONG')

  expect(await answering).toBe('PONG')
  expect(connect).not.toHaveBeenCalled()
})

test('no clock runs when nothing is waited for', async () => {
  const { client, answers } = fakeClient()
  const { command } = toRedisLink(client)
  const both = Promise.all([command(['GET', 'a']), command(['GET', 'b'])])
  expect(vi.getTimerCount()).toBe(1)

  for (const answer of answers) answer(null)
  await both

  expect(vi.getTimerCount()).toBe(0)
})
