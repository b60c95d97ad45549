import { afterEach, expect, test } from 'vitest'
import { soon } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { type RedisServer, type RedisServerOptions, startRedis } from './server.ts'

let redis: RedisServer | undefined
afterEach(() => redis?.stop())

async function start(options?: RedisServerOptions): Promise<RedisServer> {
  redis = await startRedis(options)
  return redis
}

describeRedis('a Redis of its own', () => {
  test('answers texts, numbers, nothing, lists and errors as what they are', async () => {
    const { command } = await start()

    expect(await command(['SET', 'k', 'häl\r\nlo'])).toBe('OK')
    expect(await command(['GET', 'k'])).toBe('häl\r\nlo')
    expect(await command(['INCRBY', 'n', 41])).toBe(41)
    expect(await command(['GET', 'none'])).toBeNull()
    expect(await command(['MGET', 'k', 'none'])).toEqual(['häl\r\nlo', null])
    await expect(command(['INCR', 'k'])).rejects.toThrow('ERR value is not an integer')
  })

  test('answers what is larger than a packet, and many commands at once', async () => {
    const { command } = await start()
    const large = 'x'.repeat(1_000_000)

    const answers = await Promise.all([
      command(['SET', 'k', large]),
      command(['GET', 'k']),
      command(['PING']),
    ])

    expect(answers).toEqual(['OK', large, 'PONG'])
  })

  test('forgets everything when it is restarted, at the same port', async () => {
    const server = await start()
    await server.command(['SET', 'k', 'v'])
    const { pid, port } = server

    await server.restart()

    expect(await server.command(['GET', 'k'])).toBeNull()
    expect(server.port).toBe(port)
    expect(server.pid).not.toBe(pid)
  })

  test('remembers what it answered with an append-only file, even when it was killed', async () => {
    const server = await start({ appendonly: true })
    await server.command(['SET', 'k', 'v'])

    await server.kill('SIGKILL')
    await expect(server.command(['PING'])).rejects.toThrow()
    await server.restart()

    expect(await server.command(['GET', 'k'])).toBe('v')
  })

  test('answers nothing while it is frozen, and everything afterwards', async () => {
    const server = await start()
    await server.command(['PING'])

    server.pause()
    const answer = server.command(['PING'])
    await expect(soon(answer, 150)).rejects.toThrow('nothing came')
    server.resume()

    expect(await answer).toBe('PONG')
  })

  test('has a password, and a bound of its memory', async () => {
    const { url, port, command } = await start({
      password: 'p@ss',
      maxmemory: '3mb',
      policy: 'allkeys-lru',
      args: ['--databases', '2'],
    })

    expect(url).toBe(`redis://:p%40ss@127.0.0.1:${port}`)
    expect(await command(['CONFIG', 'GET', 'maxmemory'])).toEqual(['maxmemory', String(3 * 1024 * 1024)])
    expect(await command(['CONFIG', 'GET', 'maxmemory-policy'])).toEqual(['maxmemory-policy', 'allkeys-lru'])
    expect(await command(['CONFIG', 'GET', 'databases'])).toEqual(['databases', '2'])
  })

  test('says what it said when it cannot start', async () => {
    const { port } = await start()

    await expect(startRedis({ port })).rejects.toThrow(
      /redis-server ended with 1: [^]*Address already in use/,
    )
  })
})
