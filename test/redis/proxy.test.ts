import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { soon, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { type RedisProxy, startProxy } from './proxy.ts'
import { connectResp } from './resp.ts'
import { type RedisServer, startRedis } from './server.ts'

describeRedis('a proxy in front of Redis', () => {
  let redis: RedisServer
  let proxy: RedisProxy
  beforeAll(async () => {
    redis = await startRedis()
  })
  beforeEach(async () => {
    proxy = await startProxy(redis)
  })
  afterEach(() => proxy.close())
  afterAll(() => redis.stop())

  test('passes bytes on and counts them', async () => {
    const { command, close } = await connectResp(proxy.port)

    expect(await command(['ECHO', 'hello'])).toBe('hello')
    expect(proxy.bytes).toEqual({ toRedis: '*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n'.length, toClient: 11 })
    expect([proxy.connections, proxy.accepted]).toEqual([1, 1])
    close()
    await until(() => proxy.connections === 0)
    expect(proxy.accepted).toBe(1)
  })

  test.each(['toRedis', 'toClient'] as const)('delays %s, and keeps the order', async (way) => {
    const { command, close } = await connectResp(proxy.port)
    proxy.delayMs[way] = 120
    const since = performance.now()

    const first = command(['ECHO', '1'])
    await new Promise((resolve) => setTimeout(resolve, 20)) // a packet of its own
    proxy.delayMs[way] = 0
    const order: unknown[] = []
    await Promise.all([first, command(['ECHO', '2'])].map(async (answer) => order.push(await answer)))

    expect(order).toEqual(['1', '2'])
    expect(performance.now() - since).toBeGreaterThan(100)
    close()
  })

  test('cuts every connection', async () => {
    const { command } = await connectResp(proxy.port)
    const blocked = command(['BLPOP', 'nothing', 0])
    blocked.catch(() => {})
    await until(() => proxy.bytes.toRedis > 0)

    proxy.cut()

    await expect(soon(blocked)).rejects.toThrow(/closed|ECONNRESET/)
    const again = await connectResp(proxy.port)
    expect(await again.command(['PING'])).toBe('PONG')
    again.close()
  })

  test('lets nobody in, and leaves who is there', async () => {
    const { command, close } = await connectResp(proxy.port)

    await proxy.refuse(true)

    await expect(connectResp(proxy.port)).rejects.toThrow('ECONNREFUSED')
    expect(await command(['PING'])).toBe('PONG')
    await proxy.refuse(false)
    const again = await connectResp(proxy.port)
    expect(await again.command(['PING'])).toBe('PONG')
    again.close()
    close()
  })

  test('takes bytes and keeps them', async () => {
    const { command, close } = await connectResp(proxy.port)

    proxy.hold(true)
    const answer = command(['PING'])

    await expect(soon(answer, 150)).rejects.toThrow('nothing came')
    expect(proxy.bytes.toRedis).toBe(0)
    proxy.hold(false)
    expect(await answer).toBe('PONG')
    close()
  })

  test('ends with what it stands for', async () => {
    const gone = await startRedis()
    const front = await startProxy(gone)
    const { command } = await connectResp(front.port)
    const blocked = command(['BLPOP', 'nothing', 0])
    blocked.catch(() => {})
    await until(() => front.bytes.toRedis > 0)

    await gone.stop()

    await expect(soon(blocked)).rejects.toThrow(/closed|ECONNRESET/)
    await front.close()
  })
})
