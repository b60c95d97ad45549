import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createHandler } from '../../src/handler.ts'
import { idOf } from '../sites.ts'
import { hel, http, lo, script, soon, stop, textOf, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { finish, type Instance, keysOf, openInstance, start, text } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const leaseMs = 1200

describeRedis('a name in Redis', () => {
  let redis: RedisServer
  let here: Instance
  let there: Instance

  beforeEach(async () => {
    redis = await startRedis()
    here = await openInstance(redis.url, { leaseMs, retentionMs: 0 })
    there = await openInstance(redis.url, { leaseMs, retentionMs: 0 })
  })
  afterEach(async () => {
    await Promise.all([here.close(), there.close()])
    await redis.stop()
  })

  async function nameKeys(): Promise<string[]> {
    return (await redis.command(['KEYS', 'deltarelay:name:*'])) as string[]
  }

  async function lifeOf(key: string): Promise<number> {
    return Number(await redis.command(['PTTL', key]))
  }

  test('lasts as long as its reply runs, however long that is, and no longer than the log after it', async () => {
    const scripted = script([hel, 'wait', lo, stop])
    const [one, two] = [here, there].map(({ store }) =>
      createHandler({ upstream: scripted.upstream, model: 'm', store, retries: 0 }),
    )
    const asking = { body: { prompt: 'hi' }, headers: { 'idempotency-key': 'k' } }
    const first = await one!(http('/chat', asking))
    const reading = textOf(first)
    // Nearly twice as long as a name lives when it is not renewed.
    await sleep(2 * (leaseMs + 1000) - 400)

    const again = await two!(http('/chat', asking))
    expect(idOf(again)).toBe(idOf(first))
    expect(scripted.asked).toHaveLength(1)
    const [name, ...others] = await nameKeys()
    expect(others).toEqual([])
    scripted.release()
    expect(await soon(textOf(again))).toBe(await soon(reading))
    await first.settled

    const [log] = keysOf(idOf(first))
    await expect.poll(() => lifeOf(name!), { timeout: 10_000 }).toBeLessThanOrEqual(1000)
    expect(await lifeOf(log)).toBeGreaterThan(await lifeOf(name!))
    await expect.poll(nameKeys, { timeout: 10_000 }).toEqual([])
    expect((await two!(http('/chat', asking))).status).toBe(200)
    await until(() => scripted.asked.length === 2)
    scripted.release()
  })

  test('expires when its producer is lost', async () => {
    await here.store.create('r', { start })
    await here.store.claim('name', { id: 'r' })
    here.store.close()
    await here.close()

    await expect.poll(nameKeys, { timeout: 10_000 }).toEqual([])
  })

  test('that another reply has taken over is neither prolonged nor shortened by the one before', async () => {
    await here.store.create('r', { start })
    await here.store.claim('name', { id: 'r' })
    await there.store.create('s', { start })
    await there.store.claim('name', { id: 's' }, { replace: true })
    const [key] = await nameKeys()
    await redis.command(['PEXPIRE', key!, 100_000])

    await here.store.append('r', [start, finish])
    await sleep(300)

    expect(await lifeOf(key!)).toBeGreaterThan(90_000)
    expect(await here.store.find('name')).toEqual({ id: 's' })
  })

  test('that was released is not brought back', async () => {
    await here.store.create('r', { start })
    await here.store.claim('name', { id: 'r' })
    await there.store.release('name', 'r')
    await sleep(900)
    await here.store.append('r', [start, text('a'), finish])
    await sleep(100)

    expect(await nameKeys()).toEqual([])
  })

  test('takes less than 200 bytes', async () => {
    const { upstream } = script([hel, stop])
    const handler = createHandler({ upstream, model: 'm', store: here.store })
    await textOf(
      await handler(
        http('/chat', {
          body: { prompt: 'x'.repeat(9000) },
          headers: { 'idempotency-key': 'k'.repeat(255) },
        }),
      ),
    )

    const [key] = await nameKeys()

    expect(Number(await redis.command(['MEMORY', 'USAGE', key!]))).toBeLessThan(200)
  })
})
