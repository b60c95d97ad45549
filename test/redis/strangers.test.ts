import { afterEach, beforeEach, expect, test } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import { createHandler } from '../../src/handler.ts'
import { deltasIn, hel, http, script, soon, stop, textOf, until } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import { type Instance, openInstance } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const unknown = 'AAAAAAAAAAAAAAAAAAAAAA'

describeRedis('when Redis is in trouble', () => {
  let redis: RedisServer
  let here: Instance
  beforeEach(async () => {
    redis = await startRedis()
    here = await openInstance(redis.url, { leaseMs: 8000 })
  })
  afterEach(async () => {
    await here.close()
    await redis.stop()
  })

  async function running() {
    const scripted = script([hel, 'wait', stop])
    const handler = createHandler({ upstream: scripted.upstream, model: 'm', store: here.store })
    const reply = await handler({ ...http('/chat', { body: { prompt: 'hi' } }), principal: 'ann' })
    return { handler, reply, scripted, id: reply.headers['x-reply-id']! }
  }

  const verbs = ['GET', 'HEAD', 'DELETE'] as const

  test.each(verbs)('a stranger learns nothing from what was lost: %s', async (method) => {
    const { handler, id, reply, scripted } = await running()
    scripted.release()
    await textOf(reply)
    await until(() => scripted.open() === 0)
    await redis.command(['DEL', `deltarelay:{${id}}:log`])

    const ask = async (path: string, principal: string) => {
      const { status, headers, body } = await handler({ ...http(path, { method }), principal })
      return { status, headers, body }
    }

    expect(await ask(`/chat/${id}`, 'bob')).toEqual(await ask(`/chat/${unknown}`, 'bob'))
    expect((await ask(`/chat/${id}`, 'ann')).status).toBe(410)
  })

  test.each(verbs)('a stranger learns nothing while it is away: %s', async (method) => {
    const { handler, id } = await running()
    await redis.kill()

    const ask = async (path: string, principal: string) => {
      const { status, headers, body } = await handler({ ...http(path, { method }), principal })
      return { status, headers, body }
    }

    expect(await ask(`/chat/${id}`, 'bob')).toEqual(await ask(`/chat/${unknown}`, 'bob'))
    expect((await ask(`/chat/${id}`, 'ann')).status).toBe(200)
  })

  test('a server that shuts down tells its readers within its grace', async () => {
    const { handler, reply } = await running()
    await redis.kill()
    const since = stopwatch()

    await soon(handler.close(), 4000)

    const last = deltasIn(await textOf(reply)).at(-1)
    expect(last).toMatchObject({ type: 'error', code: 'server-shutdown' })
    expect(since()).toBeLessThan(2000)
  })

  test('a lease shorter than what a clock can keep is renewed all the same', async () => {
    const short = await openInstance(redis.url, { leaseMs: 300 })
    await short.store.create('r', {})
    await new Promise((resolve) => setTimeout(resolve, 1500))

    expect(await here.store.state('r')).toMatchObject({ sealed: false })
    await short.close()
  })
})
