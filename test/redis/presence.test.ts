import { afterEach, beforeEach, expect, test } from 'vitest'
import { createHandler } from '../../src/handler.ts'
import type { HttpReply } from '../../src/types.ts'
import { deltasIn, hel, http, lo, script, soon, stop, textOf, until } from '../src/kit.ts'
import { idOf } from '../sites.ts'
import { describeRedis } from './gate.ts'
import { type Instance, openInstance } from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

const lingerMs = 300
/** How long after its last reader elsewhere a reply ends at the latest, and a bit for a machine that is busy. */
const latestMs = lingerMs + 3500 + 1500

describeRedis('a reader on another instance', () => {
  let redis: RedisServer
  let instances: readonly Instance[]
  let number = 0

  beforeEach(async () => {
    redis = await startRedis()
    instances = await Promise.all([0, 1].map(() => openInstance(redis.url, { leaseMs: 5000 })))
  })
  afterEach(async () => {
    await Promise.all(instances.map(({ close }) => close()))
    await redis.stop()
  })

  /** Somebody asks on one instance, and leaves; somebody else reads on the other one. */
  async function handedOver() {
    const scripted = script([hel, 'wait', lo, stop])
    const [here, there] = instances.map(({ store }) =>
      createHandler({
        upstream: scripted.upstream,
        model: 'm',
        lingerMs,
        store,
        createId: () => `p${++number}`,
      }),
    )
    const reply = await here!(http('/chat', { body: { prompt: 'hi' } }))
    const leaving = new AbortController()
    const other = await there!(http(`/chat/${idOf(reply)}`, { signal: leaving.signal }))
    const frames = other.body as AsyncIterableIterator<string> // it is streamed
    const first = await soon(frames.next())
    await leave(reply)
    return { scripted, there: there!, id: idOf(reply), frames, first: String(first.value), leaving }
  }

  async function leave({ body }: HttpReply): Promise<void> {
    const frames = body as AsyncIterableIterator<string> // it is streamed
    await frames.next()
    await frames.return?.()
  }

  test('keeps a reply going that nobody reads where it is produced', async () => {
    const { scripted, frames, first } = await handedOver()
    const rest = textOf({ body: frames })

    await new Promise((resolve) => setTimeout(resolve, lingerMs + 5000))
    expect(scripted.open()).toBe(1)
    scripted.release()

    expect(deltasIn(first + (await soon(rest))).slice(1)).toEqual([hel, lo, stop])
  })

  test('who leaves lets it end, and whoever comes back sees that it is not whole', async () => {
    const { scripted, there, id, leaving, frames } = await handedOver()
    await new Promise((resolve) => setTimeout(resolve, lingerMs + 500))
    expect(scripted.open()).toBe(1)

    leaving.abort()
    await soon(textOf({ body: frames }))
    await until(() => scripted.open() === 0, latestMs)

    const whole = deltasIn(await soon(textOf(await there(http(`/chat/${id}`)))))
    expect(whole.slice(1)).toEqual([hel, { type: 'finish', reason: 'cancelled', raw: 'abandoned' }])
  })
})
