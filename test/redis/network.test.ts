import { afterEach, beforeEach, expect, test } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import { soon, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import {
  codeOf,
  type Fate,
  finish,
  type Instance,
  isAppend,
  openInstance,
  reading,
  start,
  text,
  texts,
} from './lab.ts'
import { type RedisProxy, startProxy } from './proxy.ts'
import { type RedisServer, startRedis } from './server.ts'

const leaseMs = 12_000

describeRedis('a network that is bad', () => {
  let redis: RedisServer
  let proxy: RedisProxy
  let here: Instance
  let there: Instance
  let appends: number

  beforeEach(async () => {
    redis = await startRedis()
    proxy = await startProxy(redis)
    appends = 0
    function fateOf(args: readonly string[]): Fate {
      if (isAppend(args)) appends++
      return 'once'
    }
    here = await openInstance(proxy.url, { leaseMs, fateOf })
    there = await openInstance(redis.url, { leaseMs })
  })
  afterEach(async () => {
    await Promise.all([here.close(), there.close()])
    await proxy.close()
    await redis.stop()
  })

  async function running(): Promise<void> {
    await here.store.create('r', { start })
    await here.store.append('r', [start])
    await expect.poll(() => there.store.state('r')).toMatchObject({ length: 1 })
  }

  test('and slow makes groups grow: nothing waits for each delta, and who reads here for nothing', async () => {
    await running()
    const [live, remote] = [reading(here.store, 'r'), reading(there.store, 'r')]
    proxy.delayMs.toRedis = 700
    proxy.delayMs.toClient = 700
    const before = appends
    const since = stopwatch()

    for (const delta of texts(200)) {
      await here.store.append('r', [delta])
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const said = since()
    await until(() => live.seen.length === 201, 200)
    const end = await soon(Promise.resolve(here.store.append('r', [finish])), 10_000)

    expect(said).toBeLessThan(200 * 100)
    expect(end).toBeUndefined()
    expect(since() - said).toBeLessThan(2 * 1400 + 1500)
    expect(appends - before).toBeLessThan(2 + (said + 3000) / 1400)
    expect(await soon(remote.ended)).toBe('end')
    expect(remote.seen).toEqual([start, ...texts(200), finish])
  })

  test('is no matter of who it is cut off from, again and again', async () => {
    await running()
    const [live, remote] = [reading(here.store, 'r'), reading(there.store, 'r')]
    for (let round = 0; round < 10; round++) {
      await here.store.append('r', texts(20, round * 20))
      proxy.cut()
      await new Promise((resolve) => setTimeout(resolve, 30))
    }

    const end = await soon(Promise.resolve(here.store.append('r', [finish])), 10_000)

    const whole = [start, ...texts(200), finish]
    expect(end).toBeUndefined()
    expect(await soon(Promise.all([live.ended, remote.ended]))).toEqual(['end', 'end'])
    expect([live.seen, remote.seen]).toEqual([whole, whole])
  })

  test(
    'and takes without giving is left for a new connection: all is told in the end',
    { timeout: 60_000 },
    async () => {
      await running()
      const live = reading(here.store, 'r')
      const far = await openInstance(proxy.url, { leaseMs })
      const remote = reading(far.store, 'r')
      await until(() => remote.seen.length === 1)
      const accepted = proxy.accepted
      proxy.hold(true)
      await here.store.append('r', texts(20))
      await until(() => live.seen.length === 21)

      await until(() => proxy.accepted > accepted, 9000)
      proxy.cut()
      proxy.hold(false)
      const end = await soon(Promise.resolve(here.store.append('r', [finish])), 15_000)

      expect(end).toBeUndefined()
      expect(await soon(remote.ended, 10_000)).toBe('end')
      expect(remote.seen).toEqual([start, ...texts(20), finish])
      await far.close()
    },
  )

  test('and silent for good is told of, by whatever was asked of it, within a few seconds', async () => {
    proxy.hold(true)
    const { store } = here

    const codes = await soon(
      Promise.all([
        codeOf(() => store.create('r')),
        codeOf(() => store.state('s')),
        codeOf(() => store.find('n')),
        codeOf(() => store.ask('s', 'stop')),
      ]),
      8000,
    )

    expect(codes).toEqual(Array(4).fill('store-unavailable'))
    expect(await soon(Promise.resolve(store.ready?.()), 8000)).toBe(false)
    proxy.hold(false)
    await expect.poll(() => codeOf(() => store.create('r')), { timeout: 15_000 }).toBe(true)
    expect(await store.append('r', [text('a')])).toBeUndefined()
  })

  test('hides nothing that was published while nobody heard it', async () => {
    const far = await openInstance(proxy.url, { leaseMs })
    await running()
    const remote = reading(far.store, 'r')
    await until(() => remote.seen.length === 1)
    await proxy.refuse(true)
    proxy.cut()

    await here.store.append('r', [text('unheard')])
    await proxy.refuse(false)
    await soon(Promise.resolve(here.store.append('r', [finish])), 10_000)

    expect(await soon(remote.ended, 10_000)).toBe('end')
    expect(remote.seen).toEqual([start, text('unheard'), finish])
    await far.close()
  })

  test('and has moved on: a server that became a replica is left for the one at its address', async () => {
    await running()
    const [live, remote] = [reading(here.store, 'r'), reading(there.store, 'r')]
    const newest = async () => {
      const list = String(await redis.command(['CLIENT', 'LIST', 'TYPE', 'normal']))
      return Math.max(...[...list.matchAll(/^id=(\d+)/gm)].map(([, id]) => Number(id)))
    }
    const before = await newest()
    await redis.command(['REPLICAOF', '127.0.0.1', '1'])
    await here.store.append('r', texts(20))
    await until(() => live.seen.length === 21)
    await expect.poll(newest).toBeGreaterThan(before)

    await redis.command(['REPLICAOF', 'NO', 'ONE'])
    expect(await soon(Promise.resolve(here.store.append('r', [finish])), 10_000)).toBeUndefined()

    expect(await soon(remote.ended)).toBe('end')
    expect(remote.seen).toEqual([start, ...texts(20), finish])
  })
})
