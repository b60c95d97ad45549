import { afterEach, beforeEach, expect, test } from 'vitest'
import { soon, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { finish, type Instance, openInstance, reading, start, text, texts } from './lab.ts'
import { type RedisProxy, startProxy } from './proxy.ts'
import { type RedisServer, startRedis } from './server.ts'

describeRedis('one instance with many readers', () => {
  let redis: RedisServer
  let proxy: RedisProxy
  let here: Instance
  let there: Instance

  beforeEach(async () => {
    redis = await startRedis()
    proxy = await startProxy(redis)
    here = await openInstance(redis.url)
    there = await openInstance(proxy.url)
  })
  afterEach(async () => {
    await Promise.all([here.close(), there.close()])
    await proxy.close()
    await redis.stop()
  })

  async function clients(): Promise<number> {
    return String(await redis.command(['CLIENT', 'LIST']))
      .trim()
      .split('\n').length
  }

  test('of many replies holds two connections', async () => {
    const before = await clients()
    const ids = Array.from({ length: 100 }, (_, index) => `r${index}`)
    await Promise.all(ids.map(async (id) => here.store.create(id)))
    for (const id of ids) await here.store.append(id, [start])

    const readers = ids.flatMap((id) => Array.from({ length: 5 }, () => reading(there.store, id)))
    await until(() => readers.every(({ seen }) => seen.length === 1))
    const [connections, all] = [proxy.connections, await clients()]
    await Promise.all(ids.map(async (id) => here.store.append(id, [text(id), finish])))
    const ends = await soon(Promise.all(readers.map(({ ended }) => ended)))

    expect(readers).toHaveLength(500)
    expect(connections).toBe(2)
    expect(proxy.accepted).toBe(2)
    // The writer hears what is asked of it on a second one, too.
    expect(all).toBeLessThanOrEqual(before + 2)
    expect(new Set(ends)).toEqual(new Set(['end']))
    expect(
      readers.every(
        ({ seen }, index) =>
          seen.length === 3 && 'text' in seen[1]! && seen[1].text === ids[Math.floor(index / 5)],
      ),
    ).toBe(true)
  })

  test('of one reply fetches it once', async () => {
    await here.store.create('r')
    const words = Array.from({ length: 100 }, (_, index) => text(String(index).padEnd(1000, '.')))
    await here.store.append('r', [start])
    const readers = Array.from({ length: 500 }, () => reading(there.store, 'r'))
    await until(() => readers.every(({ seen }) => seen.length === 1))
    const before = proxy.bytes.toClient

    await here.store.append('r', [...words, finish])
    await soon(Promise.all(readers.map(({ ended }) => ended)))

    expect(readers.every(({ seen }) => seen.length === 102)).toBe(true)
    expect(proxy.bytes.toClient - before).toBeLessThan(2 * 100_000)
  })

  test('who left follows nothing any more, and hears nothing', async () => {
    const ids = Array.from({ length: 20 }, (_, index) => `r${index}`)
    await Promise.all(ids.map(async (id) => here.store.create(id)))
    for (const id of ids) await here.store.append(id, [start])
    const readers = ids.map((id) => reading(there.store, id))
    await until(() => readers.every(({ seen }) => seen.length === 1))
    const numbers = async () =>
      redis.command(['PUBSUB', 'NUMPAT']).then(() => redis.command(['PUBSUB', 'CHANNELS', '*{r*']))
    await expect.poll(numbers).toHaveLength(20)

    for (const { leave } of readers) leave()

    expect(await soon(Promise.all(readers.map(({ ended }) => ended)))).toEqual(Array(20).fill('end'))
    await expect.poll(numbers).toEqual([])
    const before = proxy.bytes.toRedis
    await here.store.append('r1', texts(10))
    await new Promise((resolve) => setTimeout(resolve, 1500))
    expect(proxy.bytes.toRedis).toBe(before)
  })
})
