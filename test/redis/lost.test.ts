import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { soon, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import {
  cancelled,
  codeOf,
  finish,
  type Instance,
  keysOf,
  openInstance,
  reading,
  start,
  text,
  texts,
} from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const leaseMs = 2000
const incomplete = { type: 'error', code: 'log-incomplete' }
const producerLost = { type: 'error', code: 'producer-lost', retryable: true }

describeRedis('what Redis has lost', () => {
  let redis: RedisServer
  let here: Instance
  let there: Instance

  beforeEach(async () => {
    redis = await startRedis()
    here = await openInstance(redis.url, { leaseMs })
    there = await openInstance(redis.url, { leaseMs })
  })
  afterEach(async () => {
    await Promise.all([here.close(), there.close()])
    await redis.stop()
  })

  /** Writes a reply, so many deltas of it, and waits until they are in Redis. */
  async function running(length: number): Promise<void> {
    await here.store.create('r', { start })
    await write(length)
  }

  async function write(length: number): Promise<void> {
    const { length: before = 0 } = (await here.store.state('r')) ?? {}
    await here.store.append('r', [start, ...texts(length)].slice(before, length))
    await expect.poll(() => there.store.state('r')).toMatchObject({ length })
  }

  /** Takes a copy of the reply as it is now; what it gives puts that back, as a replica does that was behind. */
  async function copy(): Promise<() => Promise<void>> {
    const keys = keysOf('r')
    const copies = keys.map((key) => `${key}:copy`)
    await redis.command(['EVAL', copying, 4, ...keys, ...copies])
    return async () => void (await redis.command(['EVAL', copying, 4, ...copies, ...keys]))
  }

  describe('of a reply that is being written', () => {
    test('is sent again from the gap: readers elsewhere see each delta once', async () => {
      await running(6)
      const putBack = await copy()
      const early = reading(there.store, 'r', 2)
      await write(12)
      await until(() => early.seen.length === 10)

      await putBack()
      const late = reading(there.store, 'r')
      await here.store.append('r', [text('last')])
      const end = await soon(Promise.resolve(here.store.append('r', [finish])))

      const whole = [start, ...texts(11), text('last'), finish]
      expect(end).toBeUndefined()
      expect(await soon(Promise.all([early.ended, late.ended]))).toEqual(['end', 'end'])
      expect(early.seen).toEqual(whole.slice(2))
      expect(late.seen).toEqual(whole)
    })

    test('is sent again even when the producer has nothing more to say for now', async () => {
      await running(6)
      const putBack = await copy()
      await write(12)

      await putBack()

      await expect.poll(() => there.store.state('r'), { timeout: 3000 }).toMatchObject({ length: 12 })
    })

    test('is told to readers when its producer is lost as well: the end is no end of what they have', async () => {
      await running(6)
      const putBack = await copy()
      const [ahead, late] = [reading(there.store, 'r'), reading(there.store, 'r', 12)]
      await write(12)
      await until(() => ahead.seen.length === 12)
      await here.close()

      await putBack()

      expect(await soon(ahead.ended, leaseMs + 3000)).toBe('gone')
      expect(await soon(late.ended, leaseMs + 3000)).toBe('gone')
      const whole = reading(there.store, 'r')
      expect(await soon(whole.ended)).toBe('end')
      expect(whole.seen).toEqual([start, ...texts(5), expect.objectContaining(producerLost)])
    })

    test('is everything: readers elsewhere are told, and those here that it was not kept', async () => {
      await running(6)
      const [live, remote] = [reading(here.store, 'r'), reading(there.store, 'r')]
      await until(() => remote.seen.length === 6)

      await redis.command(['FLUSHALL'])
      expect(await soon(remote.ended)).toBe('gone')
      await here.store.append('r', texts(5, 5))
      const end = await soon(Promise.resolve(here.store.append('r', [finish])))

      expect(end).toMatchObject(incomplete)
      expect(await soon(live.ended)).toBe('end')
      expect(live.seen).toEqual([start, ...texts(10), expect.objectContaining(incomplete)])
      expect(await there.store.state('r')).toBeUndefined()
      expect(await codeOf(() => soon(reading(there.store, 'r').ended))).toBe('not-found')
    })

    test('is its log alone: it is written again, whole', async () => {
      await running(6)
      const remote = reading(there.store, 'r')
      await until(() => remote.seen.length === 6)

      await redis.command(['DEL', keysOf('r')[0]])
      await here.store.append('r', [text('last')])
      const end = await soon(Promise.resolve(here.store.append('r', [finish])))

      expect(end).toBeUndefined()
      expect(await soon(remote.ended)).toBe('end')
      const whole = reading(there.store, 'r')
      expect(await soon(whole.ended)).toBe('end')
      expect(whole.seen).toEqual([start, ...texts(5), text('last'), finish])
      expect(remote.seen).toEqual(whole.seen)
    })

    test('is all but its log: that is as good as everything', async () => {
      await running(6)
      const remote = reading(there.store, 'r')
      await until(() => remote.seen.length === 6)

      await redis.command(['DEL', keysOf('r')[1]])

      expect(await soon(remote.ended)).toBe('gone')
      expect(await soon(Promise.resolve(here.store.append('r', [finish])))).toMatchObject(incomplete)
      expect(await there.store.state('r')).toBeUndefined()
    })

    test('is no reason to go on for a reply that is stopped', async () => {
      await running(6)
      await redis.command(['FLUSHALL'])

      expect(await soon(there.store.ask('r', 'stop'))).toBeUndefined()
      expect(await soon(Promise.resolve(here.store.append('r', [cancelled])))).toBeUndefined()
    })
  })

  describe('of a reply that is over', () => {
    test('is told to whoever has more than there is, and to whoever comes again', async () => {
      await running(6)
      const putBack = await copy()
      await write(12)
      await here.store.append('r', [finish])

      await putBack()

      const [whole, rest] = [reading(there.store, 'r'), reading(there.store, 'r', 12)]
      expect(await soon(rest.ended, leaseMs + 3000)).toBe('gone')
      expect(await soon(whole.ended, leaseMs + 3000)).toBe('end')
      expect(whole.seen).toEqual([start, ...texts(5), expect.objectContaining(producerLost)])
    })

    test('is told by its state when only its end is known', async () => {
      await running(6)
      await here.store.append('r', [finish])

      await redis.command(['DEL', keysOf('r')[0]])

      expect(await there.store.state('r')).toMatchObject({ lost: true })
      expect(await soon(reading(there.store, 'r').ended)).toBe('gone')
      expect(await soon(reading(there.store, 'r', 3).ended)).toBe('gone')
    })

    test('is everything when only its words are left', async () => {
      await running(6)
      await here.store.append('r', [finish])

      await redis.command(['DEL', keysOf('r')[1]])

      expect(await there.store.state('r')).toBeUndefined()
    })

    test('is a delta in the middle: nobody reads over the hole', async () => {
      await running(6)
      await here.store.append('r', [finish])

      await redis.command(['XDEL', keysOf('r')[0], '4-0'])

      expect(await soon(reading(there.store, 'r').ended)).toBe('gone')
      expect(await soon(reading(there.store, 'r', 3).ended)).toBe('gone')
    })
  })
})

/** Copies the first keys over the last, all at once. */
const copying = `
for i = 1, #KEYS / 2 do redis.call('COPY', KEYS[i], KEYS[i + #KEYS / 2], 'REPLACE') end`
