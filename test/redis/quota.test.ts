import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { RedisStoreOptions } from '../../adapters/redis.ts'
import { utf8Length } from '../../src/stores/redis/utf8.ts'
import { describeRedis } from './gate.ts'
import { type Fate, finish, type Instance, keysOf, openInstance, reading, start, text, texts } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

describeRedis('what a caller stores', () => {
  let redis: RedisServer
  const opened: Instance[] = []
  beforeEach(async () => {
    redis = await startRedis()
  })
  afterEach(async () => {
    await Promise.all(opened.splice(0).map(({ close }) => close()))
    await redis.stop()
  })

  async function open(
    options: RedisStoreOptions & { readonly fateOf?: (args: readonly string[]) => Fate } = {},
  ): Promise<Instance> {
    // Nothing of a reply is left to do when its end is appended.
    const instance = await openInstance(redis.url, { writesLate: false, ...options })
    opened.push(instance)
    return instance
  }

  async function write({ store }: Instance, id: string, caller?: string, bytes = 1000): Promise<void> {
    await store.create(id, { start, caller })
    await store.claim(`name of ${id}`, { id })
    await store.append(id, [start, text('x'.repeat(bytes)), finish])
  }

  async function kept(ids: readonly string[]): Promise<readonly string[]> {
    const there = await Promise.all(ids.map((id) => redis.command(['EXISTS', ...keysOf(id)])))
    return ids.filter((_, at) => there[at] === 2)
  }

  async function usage(id: string): Promise<number> {
    const bytes = await Promise.all(
      keysOf(id).map((key) => redis.command(['MEMORY', 'USAGE', key, 'SAMPLES', 0])),
    )
    return bytes.reduce((sum: number, each) => sum + Number(each), 0)
  }

  const names = (prefix: string, count: number) => Array.from({ length: count }, (_, at) => `${prefix}${at}`)

  test('is limited: its oldest replies go, with their names, and those of others stay', async () => {
    const instance = await open({ maxBytesPerCaller: 25_000 })
    await write(instance, 'other', 'principal bob')
    const ids = names('r', 30)

    for (const id of ids) await write(instance, id, 'principal ann')

    const left = await kept(ids)
    expect(left.length).toBeGreaterThan(8)
    expect(left.length).toBeLessThan(13)
    expect(left).toEqual(ids.slice(-left.length))
    expect(await kept(['other'])).toEqual(['other'])
    expect(await instance.store.find('name of r0')).toBeUndefined()
    expect(await instance.store.find('name of r29')).toEqual({ id: 'r29' })
    expect(await redis.command(['KEYS', 'deltarelay:name:*'])).toHaveLength(left.length + 1)
  })

  test('is one account for all instances, and one for all callers who are unknown', async () => {
    const instances = [await open({ maxBytesPerCaller: 25_000 }), await open({ maxBytesPerCaller: 25_000 })]
    const ids = names('r', 30)

    for (const [at, id] of ids.entries()) await write(instances[at % 2]!, id)

    expect((await kept(ids)).length).toBeLessThan(13)
  })

  test('is an eighth of the memory of the server', async () => {
    await redis.command(['CONFIG', 'SET', 'maxmemory', '8mb'])
    const instance = await open()
    const ids = names('r', 30)

    for (const id of ids) await write(instance, id, 'ann', 100_000)

    const left = await kept(ids)
    expect(left.length).toBeGreaterThan(7)
    expect(left.length).toBeLessThan(11)
  })

  test('is not limited by the small part of a server without a limit', async () => {
    const instance = await open()
    const ids = names('r', 30)

    for (const id of ids) await write(instance, id, 'ann', 100_000)

    expect(await kept(ids)).toEqual(ids)
  })

  test('always has its newest reply, however large', async () => {
    const instance = await open({ maxBytesPerCaller: 1000 })

    await write(instance, 'a', 'ann', 50_000)
    await write(instance, 'b', 'ann', 50_000)

    expect(await kept(['a', 'b'])).toEqual(['b'])
  })

  test('makes room for a large reply with any number of small ones', async () => {
    const instance = await open({ maxBytesPerCaller: 500_000 })
    const ids = names('r', 200)
    for (const id of ids) await write(instance, id, 'ann')

    await write(instance, 'large', 'ann', 499_000)

    await expect.poll(() => kept(ids), { timeout: 10_000 }).toHaveLength(0)
    expect(await kept(['large'])).toEqual(['large'])
  })

  test('forgets what has expired', async () => {
    const instance = await open({ maxBytesPerCaller: 30_000, retentionMs: 1000, leaseMs: 1000 })
    const ids = names('r', 8)
    for (const id of ids) await write(instance, id, 'ann')
    await expect.poll(() => kept(ids), { timeout: 10_000 }).toEqual([])

    for (const id of names('s', 8)) await write(instance, id, 'ann')

    expect(await kept(names('s', 8))).toHaveLength(8)
    const [account] = (await redis.command(['KEYS', 'deltarelay:of:*'])) as string[]
    expect(await redis.command(['LLEN', account!])).toBeLessThanOrEqual(9)
  })

  test.each<Fate>(['twice', 'unanswered', 'never'])(
    'is no matter for the reply when its command is repeated or lost: %s',
    async (fate) => {
      let meddle = false
      const instance = await open({
        maxBytesPerCaller: 25_000,
        fateOf: ([name, , keys, key]) =>
          meddle && name === 'EVALSHA' && keys === '1' && key?.includes(':of:') ? fate : 'once',
      })
      await write(instance, 'first', 'ann')
      meddle = true
      for (const id of names('r', 5)) await write(instance, id, 'ann')
      meddle = false
      for (const id of names('s', 12)) await write(instance, id, 'ann')

      expect(await kept(['s11'])).toEqual(['s11'])
      const whole = reading(instance.store, 's11')
      expect(await whole.ended).toBe('end')
      expect((await kept(names('s', 12))).length).toBeLessThan(13)
    },
  )

  test('counts replies that another instance stops', async () => {
    const [here, there] = [await open(), await open()]
    await here.store.create('r', { start, caller: 'ann', onAsk: () => void here.store.append('r', [finish]) })
    await here.store.append('r', [start])

    await there.store.ask('r', 'stop')

    await expect.poll(() => redis.command(['KEYS', 'deltarelay:of:*']), { timeout: 10_000 }).toHaveLength(1)
  })

  test.each<[string, number, string]>([
    ['a word', 1, 'Hello'],
    ['hundred words', 100, 'Hello'],
    ['a thousand words', 1000, 'Hello'],
    ['long pieces', 50, 'x'.repeat(5000)],
    ['other alphabets', 200, '字字字字字字字字'],
    ['what JSON escapes', 100, '\u0001\u0002"\\'],
  ])('is counted about as Redis stores it: %s', async (_, count, word) => {
    const instance = await open()
    const deltas = [start, ...Array.from({ length: count }, () => text(word)), finish]
    await instance.store.create('r', { start, caller: 'ann' })
    await instance.store.append('r', deltas)

    const [account] = (await redis.command(['KEYS', 'deltarelay:of:*'])) as string[]
    const [, total] = JSON.parse(String(await redis.command(['LINDEX', account!, 0]))) as [number, number]

    const used = await usage('r')
    expect(total).toBeGreaterThan(used * 0.75)
    expect(total).toBeLessThan(used * 1.5 + 1000)
  })

  test('is rewritten at its end when it is small: as it was, in a quarter of the memory', async () => {
    const instance = await open()
    await instance.store.create('r', { start })
    await instance.store.append('r', [start, ...texts(3)])
    await expect.poll(() => redis.command(['XLEN', keysOf('r')[0]]), { timeout: 10_000 }).toBe(4)
    const before = await usage('r')

    await instance.store.append('r', [finish])

    expect(await usage('r')).toBeLessThan(before / 4)
    const entries = (await redis.command(['XRANGE', keysOf('r')[0], '-', '+'])) as [string, string[]][]
    expect(entries.map(([id]) => id)).toEqual(['1-0', '2-0', '3-0', '4-0', '5-0'])
    expect(entries.map(([, [, delta]]) => JSON.parse(delta!))).toEqual([start, ...texts(3), finish])
    const lives = await Promise.all(keysOf('r').map((key) => redis.command(['PTTL', key])))
    for (const life of lives) expect(Number(life)).toBeGreaterThan(600_000)
    // The same end again, whose answer was lost.
    expect(await instance.store.append('r', [finish])).toEqual(finish)
  })

  test('is kept by a user who may not do all of this', async () => {
    const rule = 'on >secret ~* &* +@all -info -dump -restore'
    await redis.command(['ACL', 'SETUSER', 'old', ...rule.split(' ')])
    const instance = await openInstance(`redis://old:secret@127.0.0.1:${redis.port}`, { writesLate: false })
    opened.push(instance)

    await write(instance, 'r', 'ann')

    expect(await kept(['r'])).toEqual(['r'])
    expect(await redis.command(['KEYS', 'deltarelay:of:*'])).toHaveLength(1)
    const whole = reading(instance.store, 'r')
    expect(await whole.ended).toBe('end')
    expect(whole.seen).toHaveLength(3)
  })
})

describe('the length of a text as UTF-8', () => {
  test.each([
    '',
    'abc',
    'é',
    '字',
    '😀',
    'a😀b',
    '\ud83d',
    '\ude00x',
    '\ud83d\ud83d\ude00',
    '\u07ff\u0800\uffff',
  ])('of %j is what an encoder gives', (value) => {
    expect(utf8Length(value)).toBe(new TextEncoder().encode(value).length)
  })
})
