import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createLauncher, type Launcher, type ServerProcess } from '../server/process.ts'
import { soon, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { type RedisProxy, startProxy } from './proxy.ts'
import { freePort, type RedisServer, startRedis } from './server.ts'

const canary = 'canary-93fc1d'
const ask = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"prompt":"hi"}' }

describeRedis('a server with a Redis', () => {
  let launcher: Launcher
  let redis: RedisServer | undefined
  let proxy: RedisProxy | undefined

  beforeAll(async () => {
    launcher = await createLauncher()
  })
  afterEach(async () => {
    await launcher.stopAll()
    await proxy?.close()
    await redis?.stop()
    proxy = redis = undefined
  })
  afterAll(() => launcher.remove())

  async function launch(url: string, more: Readonly<Record<string, string>> = {}) {
    const server = launcher.launch({ REDIS_URL: url, SIMULATE: '1', LEASE_MS: '2000', ...more })
    return { server, address: await soon(server.ready, 15_000) }
  }

  function output({ stdout, stderr }: ServerProcess): string {
    return stdout + stderr
  }

  async function statusOf(url: string, init?: RequestInit): Promise<number> {
    const response = await soon(fetch(url, init), 12_000)
    await response.text()
    return response.status
  }

  test('that is not there starts, refuses, and says once what is wrong, without the password', async () => {
    const port = await freePort()
    const { server, address } = await launch(`redis://user:${canary}@127.0.0.1:${port}`)

    expect(await statusOf(`${address}/chat`, ask)).toBe(503)
    expect(await statusOf(`${address}/readyz`)).toBe(503)
    expect(await statusOf(`${address}/healthz`)).toBe(200)
    expect(await statusOf(`${address}/chat/abc`)).toBe(503)
    await until(() => server.stderr.includes(`127.0.0.1:${port}`))

    expect(output(server)).not.toContain(canary)
    expect(server.stderr.match(/cannot be used/g)).toHaveLength(1)
  })

  test('that is not there can be done without: answers stream, and say that they cannot be read again', async () => {
    const port = await freePort()
    const { address } = await launch(`redis://127.0.0.1:${port}`, { REDIS_DOWN: 'degrade' })

    const response = await soon(fetch(`${address}/chat`, ask), 12_000)
    const body = await soon(response.text(), 15_000)

    expect(response.status).toBe(200)
    expect(response.headers.get('x-reply-resumable')).toBe('no')
    expect(body).toContain('"type":"finish"')
    expect(body).not.toMatch(/^id:/m)
    expect(await statusOf(`${address}/readyz`)).toBe(200)
    expect(await statusOf(`${address}/chat/${response.headers.get('x-reply-id')}`)).not.toBe(200)
  })

  test('that takes another password refuses, hangs nowhere, and tells nobody which one was tried', async () => {
    redis = await startRedis({ password: 'right' })
    const { server, address } = await launch(`redis://:${canary}@127.0.0.1:${redis.port}`)

    expect(await statusOf(`${address}/chat`, ask)).toBe(503)
    expect(await statusOf(`${address}/readyz`)).toBe(503)
    await until(() => server.stderr.includes('WRONGPASS'))

    expect(output(server)).not.toContain(canary)
  })

  test('that wants a password and got none refuses as well', async () => {
    redis = await startRedis({ password: 'right' })
    const { server, address } = await launch(`redis://127.0.0.1:${redis.port}`)

    expect(await statusOf(`${address}/chat`, ask)).toBe(503)
    expect(await statusOf(`${address}/readyz`)).toBe(503)
    expect(output(server)).not.toContain('right')
  })

  test('that comes later is used, and that is said too', async () => {
    const port = await freePort()
    const { server, address } = await launch(`redis://:${canary}@127.0.0.1:${port}`)
    expect(await statusOf(`${address}/chat`, ask)).toBe(503)

    redis = await startRedis({ port, password: canary })

    await expect.poll(() => statusOf(`${address}/readyz`), { timeout: 10_000 }).toBe(200)
    expect(await statusOf(`${address}/chat`, ask)).toBe(200)
    await until(() => server.stderr.includes('is back'))
    expect(output(server)).not.toContain(canary)
  })

  test(
    'that falls silent while a connection is being made is left for another connection',
    { timeout: 60_000 },
    async () => {
      redis = await startRedis({ password: canary })
      proxy = await startProxy(redis)
      const { server, address } = await launch(`redis://:${canary}@127.0.0.1:${proxy.port}`)
      await expect.poll(() => statusOf(`${address}/readyz`), { timeout: 10_000 }).toBe(200)
      const before = proxy.accepted
      proxy.hold(true)
      proxy.cut()
      await until(() => proxy!.accepted > before)
      await new Promise((resolve) => setTimeout(resolve, 300))
      const { accepted } = proxy

      // Nobody will ever answer on the connections that are open now.
      expect(await statusOf(`${address}/chat`, ask)).toBe(503)
      await until(() => proxy!.accepted > accepted, 20_000)
      proxy.cut()
      proxy.hold(false)

      await expect.poll(() => statusOf(`${address}/readyz`), { timeout: 20_000 }).toBe(200)
      expect(output(server)).not.toContain(canary)
    },
  )
})
