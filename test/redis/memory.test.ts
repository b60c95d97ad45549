import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBudget } from '../../src/budget.ts'
import { createHandler } from '../../src/handler.ts'
import type { ChatDelta, UpstreamDelta } from '../../src/types.ts'
import { createScript } from '../adapters/script.ts'
import { deltasIn, http, script, stop, textOf, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { codeOf, finish, openInstance, reading, start, text, texts } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const KB = 1024

describeRedis('the memory of a process with replies in Redis', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  /** An instance whose memory is bounded so. */
  async function open(maxBytes: number, options: Parameters<typeof openInstance>[1] = {}) {
    const budget = createBudget({ maxBytes })
    return { budget, ...(await openInstance(redis.url, { budget, ...options })) }
  }

  test('is free again when replies are over and their readers have left, here and elsewhere', async () => {
    const [writing, other] = await Promise.all([open(1e9), open(1e9)])
    for (const [n, end] of [finish, { type: 'finish', reason: 'cancelled' } as ChatDelta].entries()) {
      const id = `free-${n}`
      await writing.store.create(id, { start })
      const readers = [writing, other, other].map(({ store }) => reading(store, id))
      await writing.store.append(id, [start, ...texts(3000)])
      await until(() => readers.every(({ seen }) => seen.length === 3001))
      expect(writing.budget.used).toBeGreaterThan(3000)
      expect(other.budget.used).toBeGreaterThan(3000)

      await writing.store.append(id, [end])
      for (const { ended } of readers) expect(await ended).toBe('end')
    }
    await writing.store.create('discarded', { start })
    await writing.store.append('discarded', [start, ...texts(10)])
    await writing.store.discard('discarded')
    const left = reading(other.store, 'free-0')
    left.leave()
    await left.ended

    await expect.poll(() => [writing.budget.used, other.budget.used]).toEqual([0, 0])
    await Promise.all([writing.close(), other.close()])
  })

  test('is not taken by a copy for which there is none; copies that are there go on', async () => {
    const [writing, other] = await Promise.all([open(1e9), open(100 * KB)])
    for (const id of ['copied', 'not-copied']) {
      await writing.store.create(id, { start })
      await writing.store.append(id, [start, text('漢'.repeat(22 * KB))])
    }
    const there = reading(other.store, 'copied')
    await until(() => there.seen.length === 2)
    const more = other.budget.open()
    more.add(48 * KB)

    expect(
      await codeOf(() => other.store.read('not-copied', { after: 0, signal: new AbortController().signal })),
    ).toBe('overloaded')

    await writing.store.append('copied', [text('on'), finish])
    expect(await there.ended).toBe('end')
    expect(there.seen.slice(2)).toEqual([text('on'), finish])
    more.close()
    await writing.store.append('not-copied', [finish])
    const later = reading(other.store, 'not-copied')
    expect(await later.ended).toBe('end')
    expect(later.seen).toHaveLength(3)
    await Promise.all([writing.close(), other.close()])
  })

  test('is not taken by a copy that grows beyond it: its readers can resume', async () => {
    const [writing, other] = await Promise.all([open(1e9), open(100 * KB)])
    await writing.store.create('grows', { start })
    const reader = reading(other.store, 'grows')
    await writing.store.append('grows', [start, text('a')])
    await until(() => reader.seen.length === 2)

    for (let n = 0; n < 20; n++) await writing.store.append('grows', [text('漢'.repeat(8 * KB))])

    expect(await reader.ended).toBe('overloaded')
    await writing.store.append('grows', [finish])
    await expect.poll(() => other.budget.used).toBe(0)
    const length = 2 + 20 + 1
    const rest = reading(other.store, 'grows', length - 2)
    expect(await rest.ended).toBe('end')
    expect(rest.seen.at(-1)).toEqual(finish)
    await Promise.all([writing.close(), other.close()])
  })

  test('ends the largest reply when it is used up, for readers here and elsewhere', async () => {
    const [writing, other] = await Promise.all([open(1000 * KB), open(1e9)])
    const { upstream, asked } = createScript()
    const handler = createHandler({ upstream, model: 'm', store: writing.store })
    const reply = await Promise.race([handler(http('/chat', { body: { prompt: 'hi' } })), sayFirst(asked)])
    const id = reply.headers['x-reply-id']!
    const elsewhere = reading(other.store, id)

    for (let n = 0; n < 100; n++) {
      asked[0]!.say('b'.repeat(16 * KB))
      await new Promise((resolve) => setImmediate(resolve))
    }

    expect(deltasIn(await textOf(reply)).at(-1)).toMatchObject({ type: 'error', code: 'overloaded' })
    expect(await elsewhere.ended).toBe('end')
    expect(elsewhere.seen.at(-1)).toMatchObject({ type: 'error', code: 'overloaded', retryable: true })
    await handler.close()
    await expect.poll(() => writing.budget.used).toBe(0)
    await Promise.all([writing.close(), other.close()])
  })

  test.each(['fail', 'degrade'] as const)(
    'is bounded and free again while Redis is away (%s)',
    async (down) => {
      let away = false
      const { budget, store, close } = await open(400 * KB, {
        down,
        fateOf: () => (away ? 'never' : 'once'),
        leaseMs: 1000,
      })
      const words = Array.from({ length: 30 }, () => ({ type: 'text', text: '漢'.repeat(10 * KB) }) as const)
      const model = script([text('Hi.') as UpstreamDelta, 'wait', ...words, stop])
      const handler = createHandler({ upstream: model.upstream, model: 'm', store })
      const ask = () => handler(http('/chat', { body: { prompt: 'hi' } }))
      const before = [ask(), ask()]
      await until(() => model.open() === 2)
      away = true
      const after = down === 'fail' ? [] : [ask(), ask(), ask()]
      await until(() => model.open() === 2 + after.length)
      const bodies = Promise.all([...before, ...after].map(async (reply) => textOf(await reply)))
      model.release()

      const texts = await bodies

      expect(texts.join()).toMatch(/overloaded/)
      expect(budget.used).toBeLessThan(1000 * KB)
      away = false
      await handler.close()
      if (down === 'fail') await expect.poll(() => budget.used, { timeout: 10_000 }).toBe(0)
      else await expect.poll(() => budget.used, { timeout: 10_000 }).toBeLessThan(400 * KB)
      await close()
    },
  )
})

/** Lets the first question be answered; never resolves. */
async function sayFirst(asked: ReturnType<typeof createScript>['asked']): Promise<never> {
  await until(() => asked.length === 1)
  asked[0]!.say('Hi.')
  return new Promise(() => {})
}
