import { afterEach, beforeEach, expect, test } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import type { ChatDelta } from '../../src/types.ts'
import { soon, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { type Fate, finish, type Instance, openInstance, reading, start, text, texts } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const leaseMs = 1500
const lost = expect.objectContaining({ type: 'error', code: 'producer-lost', retryable: true })

describeRedis('a producer that is gone', () => {
  let redis: RedisServer
  let here: Instance
  let there: Instance
  let fate: Fate
  let asked: string[]
  const fateOf = (): Fate => fate

  beforeEach(async () => {
    redis = await startRedis()
    fate = 'once'
    asked = []
    here = await openInstance(redis.url, { leaseMs, fateOf })
    there = await openInstance(redis.url, { leaseMs })
  })
  afterEach(async () => {
    await Promise.all([here.close(), there.close()])
    await redis.stop()
  })

  async function running(deltas: readonly ChatDelta[]): Promise<void> {
    await here.store.create('r', { start, owner: 'o', onAsk: (ask) => void asked.push(ask) })
    await here.store.append('r', deltas)
    await expect.poll(() => there.store.state('r')).toMatchObject({ length: Math.max(1, deltas.length) })
  }

  test.each<[string, () => Promise<void> | void]>([
    ['its process ended', () => here.close()],
    ['it hears and says nothing', () => void (fate = 'never')],
  ])('is found by whoever reads, and the reply ended with the word: %s', async (_, end) => {
    await running([start, ...texts(5)])
    const readers = [reading(there.store, 'r'), reading(there.store, 'r', 3), reading(there.store, 'r', 6)]
    await until(() => readers[0]!.seen.length === 6)
    await end()
    const since = stopwatch()

    const ends = await soon(Promise.all(readers.map(({ ended }) => ended)), leaseMs + 4000)

    expect(since()).toBeLessThan(leaseMs + 1000 + 1500)
    expect(ends).toEqual(['end', 'end', 'end'])
    const whole = [start, ...texts(5), lost]
    expect(readers.map(({ seen }) => seen)).toEqual([whole, whole.slice(3), whole.slice(6)])
  })

  test('before its first word leaves a reply that begins and ends', async () => {
    await running([])
    const early = reading(there.store, 'r')
    await here.close()

    expect(await soon(early.ended, leaseMs + 4000)).toBe('end')
    const late = reading(there.store, 'r')

    expect(await soon(late.ended)).toBe('end')
    expect([early.seen, late.seen]).toEqual([
      [start, lost],
      [start, lost],
    ])
  })

  test('is found by looking alone, without any reader', async () => {
    await running([start, text('a')])
    await here.close()
    await expect
      .poll(() => there.store.state('r'), { timeout: leaseMs + 3000 })
      .toMatchObject({ sealed: true })

    expect(await there.store.state('r')).toMatchObject({ length: 3, terminal: lost, owner: 'o' })
  })

  test('does not keep a stop waiting: the reply is ended without it', async () => {
    await running([start])
    await here.close()
    const since = stopwatch()

    const state = await soon(there.store.ask('r', 'stop'))

    expect(state).toMatchObject({ length: 2, terminal: { type: 'finish', reason: 'cancelled' } })
    expect(since()).toBeLessThan(leaseMs + 500)
  })

  test('and comes back is refused, told of the end, and asked to stop: nothing follows the end', async () => {
    await running([start])
    const live = reading(here.store, 'r')
    fate = 'never'
    await here.store.append('r', [text('never kept')])
    await expect
      .poll(() => there.store.state('r'), { timeout: leaseMs + 3000 })
      .toMatchObject({ sealed: true })

    fate = 'once'
    const end = await soon(Promise.resolve(here.store.append('r', [finish])))

    expect(end).toEqual(lost)
    expect(asked).toContain('stop')
    expect(await here.store.append('r', [text('late')])).toEqual(lost)
    expect(await soon(live.ended)).toBe('end')
    expect(live.seen).toEqual([start, text('never kept'), lost])
    const whole = reading(there.store, 'r')
    expect(await soon(whole.ended)).toBe('end')
    expect(whole.seen).toEqual([start, lost])
  })

  test('and comes back in silence is told so too, without a word of its own', async () => {
    await running([start])
    const live = reading(here.store, 'r')
    fate = 'never'
    await expect
      .poll(() => there.store.state('r'), { timeout: leaseMs + 3000 })
      .toMatchObject({ sealed: true })

    fate = 'once'

    expect(await soon(live.ended)).toBe('end')
    expect(live.seen).toEqual([start, lost])
    expect(asked).toContain('stop')
  })

  test('is not one whose clock is wrong: only the clock of Redis counts', async () => {
    await running([start])
    const real = Date.now
    try {
      Date.now = () => real() + 3_600_000
      await new Promise((resolve) => setTimeout(resolve, leaseMs + 500))
      expect(await there.store.state('r')).toMatchObject({ length: 1, sealed: false })
    } finally {
      Date.now = real
    }

    expect(await soon(Promise.resolve(here.store.append('r', [finish])))).toBeUndefined()
  })
})
