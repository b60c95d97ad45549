import { afterEach, beforeEach, expect, test } from 'vitest'
import { soon, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { codeOf, finish, type Instance, openInstance, reading, start, text, texts } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const leaseMs = 2000
const incomplete = { type: 'error', code: 'log-incomplete', retryable: false }

describeRedis('a Redis that is away', () => {
  let redis: RedisServer
  let here: Instance
  let there: Instance

  beforeEach(async () => {
    redis = await startRedis({ appendonly: true, args: ['--appendfsync', 'always'] })
    here = await openInstance(redis.url, { leaseMs })
    there = await openInstance(redis.url, { leaseMs })
  })
  afterEach(async () => {
    await Promise.all([here.close(), there.close()])
    await redis.stop()
  })

  /** A reply of `start` and nine words that both instances have. */
  async function running(id = 'r'): Promise<void> {
    await here.store.create(id, { start })
    await here.store.append(id, [start, ...texts(9)])
    await expect.poll(() => there.store.state(id)).toMatchObject({ length: 10 })
  }

  test('at the start refuses new replies, and everything that is asked about others', async () => {
    await redis.kill()
    const { store } = here

    expect(await codeOf(() => soon(Promise.resolve(store.create('r'))))).toBe('store-unavailable')
    expect(await codeOf(() => store.state('r'))).toBe('store-unavailable')
    expect(await codeOf(() => store.ask('r', 'stop'))).toBe('store-unavailable')
    expect(await codeOf(() => store.find('n'))).toBe('store-unavailable')
    expect(await codeOf(() => store.claim('n', { id: 'r' }))).toBe('store-unavailable')
    expect(await store.ready?.()).toBe(false)
  })

  test('is found again, without anybody doing anything', async () => {
    await redis.kill()
    await codeOf(() => here.store.create('r'))
    await redis.restart()

    await expect.poll(() => codeOf(() => here.store.create('r')), { timeout: 10_000 }).toBe(true)
    expect(await here.store.ready?.()).toBe(true)
  })

  test('can be done without: a reply is kept for its first reader, and nobody else is told of it', async () => {
    await here.close()
    here = await openInstance(redis.url, { leaseMs, down: 'degrade' })
    await redis.kill()
    const { store } = here

    expect(await soon(Promise.resolve(store.create('r', { owner: 'o' })))).toBe(false)
    const reader = reading(store, 'r')
    await store.append('r', [start, text('a')])
    await store.append('r', [finish])

    expect(await soon(reader.ended)).toBe('end')
    expect(reader.seen).toEqual([start, text('a'), finish])
    expect(await store.append('r', [text('late')])).toEqual(finish)
    expect(await store.state('r')).toBeUndefined()
    expect(await store.ready?.()).toBe(true)
  })

  test('in the middle of a reply is no matter of who reads it where it is produced', async () => {
    await running()
    const live = reading(here.store, 'r')
    await until(() => live.seen.length === 10)
    await redis.kill()

    for (let i = 0; i < 100; i++) await here.store.append('r', [text(100 + i)])

    await until(() => live.seen.length === 110, 500)
    expect(live.seen.slice(10)).toEqual(texts(100, 100))
  })

  test('in the middle of a reply, and back: everybody gets everything', async () => {
    await running()
    const [live, remote] = [reading(here.store, 'r'), reading(there.store, 'r', 4)]
    await until(() => remote.seen.length === 6)
    await redis.kill()
    await here.store.append('r', texts(1200, 9))

    await redis.restart()
    const end = await soon(Promise.resolve(here.store.append('r', [finish])), 10_000)

    const whole = [start, ...texts(1209), finish]
    expect(end).toBeUndefined()
    expect(await soon(Promise.all([live.ended, remote.ended]))).toEqual(['end', 'end'])
    expect(live.seen).toEqual(whole)
    expect(remote.seen).toEqual(whole.slice(4))
    expect(await there.store.state('r')).toMatchObject({ length: whole.length, terminal: finish })
  })

  test('for good ends a reply for its readers here with the word that it was not kept', async () => {
    await running()
    const live = reading(here.store, 'r')
    await redis.kill()
    const since = performance.now()

    const end = await soon(Promise.resolve(here.store.append('r', [finish])), leaseMs + 3000)

    expect(end).toMatchObject(incomplete)
    expect(performance.now() - since).toBeLessThan(leaseMs + 2000)
    expect(await soon(live.ended)).toBe('end')
    expect(live.seen).toEqual([start, ...texts(9), expect.objectContaining(incomplete)])
    expect(await here.store.append('r', [text('late')])).toMatchObject({ type: 'error' })
  })

  test('for good leaves an end as it is that never said that all is there', async () => {
    await running()
    const failed = { type: 'error', code: 'deadline', message: 'Late.', retryable: true } as const
    await redis.kill()

    const end = await soon(Promise.resolve(here.store.append('r', [failed])), leaseMs + 3000)

    expect(end).toBeUndefined()
  })

  test('for good is told to readers elsewhere when a lease is over, and not before', async () => {
    await running()
    const remote = reading(there.store, 'r')
    await until(() => remote.seen.length === 10)
    await redis.kill()
    const since = performance.now()

    expect(await soon(remote.ended, leaseMs + 4000)).toBe('store-unavailable')

    expect(performance.now() - since).toBeGreaterThan(leaseMs)
    expect(performance.now() - since).toBeLessThan(leaseMs + 1000 + 2000)
    expect(remote.seen).toEqual([start, ...texts(9)])
  })

  test('is read again by readers who come while it is away, as soon as it is back', async () => {
    await running()
    await redis.kill()
    const remote = reading(there.store, 'r', 1)
    await redis.restart()

    await until(() => remote.seen.length === 9)
    await soon(Promise.resolve(here.store.append('r', [finish])))
    expect(await soon(remote.ended)).toBe('end')
  })

  test('and comes back without its scripts, or is told to forget them, is told them again', async () => {
    await running()
    await redis.command(['SCRIPT', 'FLUSH'])
    await here.store.append('r', [text(9)])
    await expect.poll(() => there.store.state('r')).toMatchObject({ length: 11 })
    await redis.restart()

    const end = await soon(Promise.resolve(here.store.append('r', [finish])))

    expect(end).toBeUndefined()
    // The other instance connects again in its own time.
    const state = async () => Promise.resolve(there.store.state('r')).catch(() => 'away')
    await expect.poll(state).toMatchObject({ length: 12, sealed: true })
  })
})
