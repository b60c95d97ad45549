import { afterAll, beforeAll, expect, test } from 'vitest'
import { checkModel, type Ways } from '../store-model.ts'
import { describeRedis } from './gate.ts'
import { type Fate, isAppend, openInstance } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const fatesByNumber: readonly Fate[] = ['once', 'twice', 'never', 'unanswered']

describeRedis('whatever its users do, the store in Redis keeps what every store promises', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  async function two(): Promise<Ways> {
    let fates: Fate[] = []
    let lost = false
    function fateOf(args: readonly string[]): Fate {
      if (lost) return 'never'
      // What fails here the store itself does again; any other failure is its caller's.
      const fate = fates.shift() ?? 'once'
      return fate === 'twice' || isAppend(args) ? fate : 'once'
    }
    const leaseMs = 2000
    const [here, there] = await Promise.all([
      openInstance(redis.url, { leaseMs, fateOf }),
      openInstance(redis.url, { leaseMs }),
    ])
    return {
      here: here.store,
      there: there.store,
      meddle: (numbers) => void (fates = numbers.map((number) => fatesByNumber[number]!)),
      lose() {
        lost = true
        here.store.close()
      },
      close: async () => void (await Promise.all([here.close(), there.close()])),
    }
  }

  async function one(): Promise<Ways> {
    const { here, close, meddle } = await two()
    return { here, there: here, close, meddle: (fates) => meddle?.(fates.map((fate) => fate % 2)) }
  }

  test('on one instance', { timeout: 60_000 }, async () => {
    await expect(checkModel(one, { numRuns: 40, prefix: 'one' })).resolves.toBeUndefined()
  })

  test('on two instances', { timeout: 120_000 }, async () => {
    await expect(checkModel(two, { numRuns: 60, prefix: 'two' })).resolves.toBeUndefined()
  })
})
