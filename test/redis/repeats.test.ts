import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { createHandler } from '../../src/handler.ts'
import { deltasIn, hel, http, script, soon, stop, textOf } from '../src/kit.ts'
import { describeRedis } from './gate.ts'
import {
  cancelled,
  isAppend,
  type Fate,
  finish,
  type Instance,
  openInstance,
  reading,
  start,
  text,
} from './lab.ts'
import { type RedisServer, startRedis } from './server.ts'

describeRedis('a command that is repeated, or whose answer is lost,', () => {
  let redis: RedisServer
  let fate: Fate
  let fateOf: (args: readonly string[]) => Fate
  let here: Instance
  let there: Instance
  let number = 0
  let id: string

  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())
  beforeEach(async () => {
    fate = 'once'
    fateOf = () => fate
    id = `r${++number}`
    here = await openInstance(redis.url, { fateOf: (args) => fateOf(args) })
    there = await openInstance(redis.url)
  })
  afterEach(async () => void (await Promise.all([here.close(), there.close()])))

  test('names what it named the first time: whoever claims a name has it', async () => {
    await here.store.create(id)
    fate = 'twice'

    expect(await here.store.claim(`name ${id}`, { id, note: 'n' })).toBeUndefined()
    expect(await here.store.claim(`name ${id}`, { id, note: 'n' })).toBeUndefined()
    expect(await there.store.claim(`name ${id}`, { id: 'other' })).toEqual({ id, note: 'n' })
  })

  test('replaces a name by the same: nobody is told that it was theirs before', async () => {
    await here.store.create(id)
    fate = 'twice'

    expect(await here.store.claim(`name ${id}`, { id }, { replace: true })).toBeUndefined()
  })

  test('opens a reply once, for whoever opened it', async () => {
    fate = 'twice'

    expect(await here.store.create(id)).toBe(true)
    await expect(there.store.create(id)).rejects.toMatchObject({ name: 'ChatError' })
  })

  test('frees a name once: what was claimed since is left alone', async () => {
    await here.store.create(id)
    await here.store.claim(`name ${id}`, { id })
    fate = 'twice'
    await here.store.release(`name ${id}`, id)
    fate = 'once'
    await there.store.claim(`name ${id}`, { id: 'other' })

    await here.store.release(`name ${id}`, id)

    expect(await there.store.find(`name ${id}`)).toEqual({ id: 'other' })
  })

  test('ends an answer that another instance has ended in the same words, and all that was unsaid is let go', async () => {
    let ended: Promise<unknown> | undefined
    const onAsk = (): void => void (ended ??= Promise.resolve(here.store.append(id, [cancelled])))
    await here.store.create(id, { onAsk })
    await here.store.append(id, [start])
    await expect.poll(() => there.store.state(id)).toMatchObject({ length: 1 })
    fateOf = (args) => (isAppend(args) ? 'never' : 'once')
    await here.store.append(id, [text('never sent')])
    const mine = reading(here.store, id)

    const state = await soon(there.store.ask(id, 'stop'))
    fateOf = () => 'once'
    await soon(Promise.resolve(ended))

    expect(state).toMatchObject({ length: 2, sealed: true, terminal: cancelled })
    expect(await soon(mine.ended)).toBe('end')
    expect(mine.seen.at(-1)).toEqual(cancelled)
  })

  test.each<Fate>(['twice', 'never', 'unanswered'])(
    'adds deltas once, and the end as well: %s',
    async (bad) => {
      const other = reading(there.store, id)
      await here.store.create(id)
      let left = 8
      fateOf = () => (left-- > 0 && left % 2 === 0 ? bad : 'once')

      for (const word of ['a', 'b', 'c']) await here.store.append(id, [text(word)])
      const end = await soon(Promise.resolve(here.store.append(id, [finish])))

      expect(end).toBeUndefined()
      const whole = reading(there.store, id)
      expect(await soon(whole.ended)).toBe('end')
      expect(whole.seen).toEqual([text('a'), text('b'), text('c'), finish])
      other.leave()
    },
  )

  test.each<[Fate, number]>([
    ['twice', 200],
    ['never', 503],
    ['unanswered', 503],
  ])(
    'leaves the key of a question free for the next try, unless it was answered: %s',
    async (bad, status) => {
      const scripted = script([hel, stop])
      const handler = createHandler({ upstream: scripted.upstream, model: 'm', store: here.store })
      const request = http('/chat', { body: { prompt: 'hi' }, headers: { 'idempotency-key': id } })
      fateOf = ([name]) => (name === 'SET' ? bad : 'once')

      const first = await handler(request)
      await textOf(first)
      fateOf = () => 'once'
      const again = await handler(request)

      expect(first.status).toBe(status)
      expect(again.status).toBe(200)
      expect(deltasIn(await textOf(again)).slice(1)).toEqual([hel, stop])
      expect(scripted.asked).toHaveLength(1)
    },
  )
})
