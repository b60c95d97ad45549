import { afterEach, beforeEach, expect, test } from 'vitest'
import { createHandler } from '../../src/handler.ts'
import { hel, http, script, soon, stop, textOf, until } from '../src/kit.ts'
import { codeIn } from '../sites.ts'
import { describeRedis } from './gate.ts'
import { codeOf, finish, type Instance, openInstance, reading, start, text, texts } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const leaseMs = 2000

describeRedis('a Redis without room', () => {
  let redis: RedisServer
  let here: Instance
  let there: Instance

  beforeEach(async () => {
    redis = await startRedis({ maxmemory: '4mb', policy: 'noeviction' })
    here = await openInstance(redis.url, { leaseMs })
    there = await openInstance(redis.url, { leaseMs })
    for (const id of ['a', 'b', 'c']) {
      await here.store.create(id, { start })
      await here.store.append(id, [start, ...texts(5)])
      await expect.poll(() => there.store.state(id)).toMatchObject({ length: 6 })
    }
  })
  afterEach(async () => {
    await Promise.all([here.close(), there.close()])
    await redis.stop()
  })

  async function fill(): Promise<void> {
    for (const size of [100_000, 1000, 10]) {
      for (let i = 0; i < 2000; i++) {
        const full = await codeOf(() => redis.command(['SET', `fill:${size}:${i}`, 'x'.repeat(size)]))
        if (full !== 'OK') break
      }
    }
    // Buffers that Redis frees meanwhile make no room.
    await redis.command(['CONFIG', 'SET', 'maxmemory', '3500kb'])
  }

  test('takes no new replies, and says so with 503', async () => {
    await fill()
    const { upstream, asked } = script([hel, stop])
    const handler = createHandler({ upstream, model: 'm', store: here.store })

    const reply = await handler(http('/chat', { body: { prompt: 'hi' } }))
    const body = await textOf(reply)

    expect([reply.status, codeIn({ ...reply, body })]).toEqual([503, 'store-unavailable'])
    expect(reply.headers['retry-after']).toBe('1')
    expect(asked).toHaveLength(0)
    expect(await here.store.ready?.()).toBe(true)
  })

  test.each<[string, readonly string[]]>([
    ['has too few replicas', ['CONFIG', 'SET', 'min-replicas-to-write', '1']],
    ['has become a replica', ['REPLICAOF', '127.0.0.1', '1']],
  ])('or one that %s refuses new replies, serves the others, and is ready', async (_, command) => {
    await here.store.append('a', [finish])
    await redis.command(command)

    expect(await codeOf(() => there.store.create('new'))).toBe('store-unavailable')
    // The connection to a replica is made anew: its address may lead to another server now.
    await expect.poll(() => there.store.ready?.()).toBe(true)
    expect(await there.store.state('a')).toMatchObject({ length: 7, sealed: true, terminal: finish })
    const whole = reading(there.store, 'a')
    await until(() => whole.seen.length >= 7)
    expect(whole.seen).toEqual([start, ...texts(5), finish])
    whole.leave()
  })

  test('ends replies that run with the word that they were not kept, and they can be read as far as they were', async () => {
    await fill()
    const live = reading(here.store, 'a')
    await here.store.append('a', [text('seen'), text('x'.repeat(300_000))])

    const end = await soon(Promise.resolve(here.store.append('a', [finish])), leaseMs + 3000)

    expect(end).toMatchObject({ type: 'error', code: 'log-incomplete' })
    expect(await soon(live.ended)).toBe('end')
    expect(live.seen).toHaveLength(9)
    const whole = reading(there.store, 'a')
    expect(await soon(whole.ended, leaseMs + 3000)).toBe('end')
    expect(whole.seen).toEqual([start, ...texts(5), expect.objectContaining({ code: 'producer-lost' })])
  })

  test('still stops replies, and still ends those whose producer is lost', async () => {
    await fill()

    expect(await soon(there.store.ask('b', 'stop'))).toMatchObject({
      length: 7,
      terminal: { reason: 'cancelled' },
    })
    await here.close()
    await expect
      .poll(() => there.store.state('c'), { timeout: leaseMs + 3000 })
      .toMatchObject({ length: 7, terminal: { code: 'producer-lost' } })
  })

  test('goes on where it left off when there is room again', async () => {
    await fill()
    await here.store.append('a', texts(5, 5))
    await redis.command(['CONFIG', 'SET', 'maxmemory', '100mb'])

    const end = await soon(Promise.resolve(here.store.append('a', [finish])))

    expect(end).toBeUndefined()
    const whole = reading(there.store, 'a')
    expect(await soon(whole.ended)).toBe('end')
    expect(whole.seen).toEqual([start, ...texts(10), finish])
  })

  test.each(['allkeys-lru', 'allkeys-random'])(
    'that makes room by %s tells whoever reads what it forgot',
    async (policy) => {
      await redis.command(['CONFIG', 'SET', 'maxmemory-policy', policy])
      const remote = ['a', 'b', 'c'].map((id) => reading(there.store, id))
      await until(() => remote.every(({ seen }) => seen.length === 6))
      for (let i = 0; i < 400; i++) await redis.command(['SET', `more:${i}`, 'x'.repeat(40_000)])

      const ends = await soon(
        Promise.all(['a', 'b', 'c'].map(async (id) => here.store.append(id, [text('last'), finish]))),
        leaseMs + 3000,
      )
      const told = await soon(Promise.all(remote.map(({ ended }) => ended)), leaseMs + 3000)

      const whole = [start, ...texts(5), text('last'), finish]
      for (const [index, end] of ends.entries()) {
        expect(end === undefined || ('code' in end && end.code === 'log-incomplete')).toBe(true)
        expect(told[index]).toBe(end === undefined ? 'end' : 'gone')
        expect(whole.slice(0, remote[index]!.seen.length)).toEqual(remote[index]!.seen)
        if (end === undefined) expect(remote[index]!.seen).toEqual(whole)
      }
    },
  )
})
