import { describe, expect, test } from 'vitest'
import { streamChat } from '../../../src/chat.ts'
import { ChatError } from '../../../src/errors.ts'
import type { Upstream } from '../../../src/types.ts'
import { createFailover } from '../../../src/upstreams/failover.ts'
import { all, asking, hel, script, soon, type Step, stop, until } from '../kit.ts'
import { ask, broken, busy, entriesOf, refusal, report, slow, whole } from './failover-kit.ts'

describe('an upstream that keeps failing', () => {
  function failing(...scripts: readonly (readonly Step[])[]) {
    let time = 0
    const [a, b] = [script(...scripts), script(whole)]
    const upstream = createFailover(entriesOf(a, b), { failures: 2, now: () => time })
    return { a, b, upstream, pass: (ms: number) => void (time += ms) }
  }

  test('is left out, tried again after a while, and asked as before when it works', async () => {
    const { a, upstream, pass } = failing([broken], [broken], whole)

    for (let i = 0; i < 5; i++) expect((await ask(upstream)).deltas).toEqual(whole)
    expect(a.asked).toHaveLength(2)
    pass(30_000)
    for (let i = 0; i < 3; i++) await ask(upstream)

    expect(a.asked).toHaveLength(5)
  })

  test.each<[string, readonly Step[]]>([
    ['before the first delta', [broken]],
    ['in the middle', [hel, new ChatError('upstream-truncated', 'Cut.')]],
    ['by ending without a finish', [hel]],
    ['by refusing our key', [refusal(401)]],
    ['by having no money left', [refusal(402)]],
  ])('%s is left out', async (_, steps) => {
    const { a, upstream } = failing(steps)

    for (let i = 0; i < 4; i++) await ask(upstream)

    expect(a.asked).toHaveLength(2)
  })

  test.each<[string, readonly Step[]]>([
    ['a bad request', [refusal(400)]],
    ['an unknown model', [refusal(404)]],
    ['a bad request that it reports in its stream', [report({ message: 'Wrong.', code: 400 })]],
    ['a whole answer', whole],
  ])('is not one that answers %s', async (_, steps) => {
    const { a, upstream } = failing(steps)

    for (let i = 0; i < 4; i++) await ask(upstream)

    expect(a.asked).toHaveLength(4)
  })

  test('is not one that fails every other time, even if its readers leave at the finish', async () => {
    const { a, upstream } = failing([broken], [stop], [broken], [stop], [broken], [stop])
    const { signal } = new AbortController()

    for (let i = 0; i < 6; i++)
      for await (const { type } of upstream(asking(), { signal })) if (type === 'finish') break

    expect(a.asked).toHaveLength(6)
  })

  test('is not one whose readers leave', async () => {
    const { a, upstream } = failing(whole)
    const { signal } = new AbortController()

    for (let i = 0; i < 4; i++) for await (const _ of upstream(asking(), { signal })) break

    expect(a.asked).toHaveLength(4)
  })

  test('is left alone for as long as it asks', async () => {
    const { a, upstream, pass } = failing([busy(5000)], whole)

    await ask(upstream)
    pass(4999)
    await ask(upstream)
    expect(a.asked).toHaveLength(1)
    pass(1)
    await ask(upstream)

    expect(a.asked).toHaveLength(2)
  })

  test('is back with the first word of its trial, and a failure after that counts', async () => {
    const broke = new ChatError('upstream-truncated', 'Cut.')
    const { a, upstream, pass } = failing([broken], [broken], [hel, 'wait', broke], whole, [broken])
    for (let i = 0; i < 2; i++) await ask(upstream)
    pass(30_000)
    const trial = upstream(asking(), { signal: new AbortController().signal })[Symbol.asyncIterator]()
    await trial.next()

    await ask(upstream)
    expect(a.asked).toHaveLength(4)
    const end = trial.next()
    await new Promise(setImmediate)
    a.release()
    await expect(end).rejects.toBe(broke)
    for (let i = 0; i < 2; i++) await ask(upstream)

    expect(a.asked).toHaveLength(5)
  })

  test('has one trial at a time, and a trial that is stopped makes room for another', async () => {
    const { a, b, upstream, pass } = failing([broken], [broken], ['wait', stop])
    for (let i = 0; i < 2; i++) await ask(upstream)
    pass(30_000)
    const controller = new AbortController()
    const trial = ask(upstream, { signal: controller.signal })
    await until(() => a.open() === 1)

    await ask(upstream)
    expect([a.asked.length, b.asked.length]).toEqual([3, 3])
    controller.abort()
    await soon(trial)
    const next = ask(upstream)
    await until(() => a.open() === 1)
    a.release()

    expect((await soon(next)).deltas).toEqual([stop])
  })
})

describe('with several callers', () => {
  test('a caller whose calls fail is moved on alone', async () => {
    const [a, b] = [script([broken]), script(whole)]
    const upstream = createFailover(entriesOf(a, b))

    for (let i = 0; i < 7; i++) await ask(upstream, { caller: 'ann' })
    expect(a.asked).toHaveLength(5)
    await ask(upstream, { caller: 'bob' })

    expect(a.asked).toHaveLength(6)
  })

  test('a wait that one was told is not held against the server for another', async () => {
    const [a, b] = [script([busy(60_000)], whole), script(whole)]
    const upstream = createFailover(entriesOf(a, b))

    await ask(upstream, { caller: 'ann' })
    await ask(upstream, { caller: 'ann' })
    await ask(upstream, { caller: 'bob' })

    expect(a.asked).toHaveLength(2)
  })

  test('a server that fails three of them is left alone by all', async () => {
    const [a, b] = [script([broken]), script(whole)]
    const upstream = createFailover(entriesOf(a, b))

    for (const caller of ['ann', 'bob', 'eve', 'ann', 'bob', 'dan', 'eve']) await ask(upstream, { caller })

    expect(a.asked).toHaveLength(5)
  })

  test('each upstream learns on whose behalf it is called', async () => {
    const callers: (string | undefined)[] = []
    const listening = {
      name: 'a',
      upstream: (...[request, options]: Parameters<Upstream>) => {
        callers.push(options.caller)
        return script(whole).upstream(request, options)
      },
    }

    await ask(createFailover([listening]), { caller: 'ann' })

    expect(callers).toEqual(['ann'])
  })

  const full = Object.assign(new Error('connect EMFILE'), { code: 'EMFILE', syscall: 'connect' })
  test.each<[string, Error]>([
    ['no file descriptors', new ChatError('overloaded', 'No more.', { cause: full, retryAfterMs: 1000 })],
    ['no file descriptors, from an upstream of another kind', new TypeError('fetch failed', { cause: full })],
    ['no memory for replies', new ChatError('overloaded', 'No more.')],
    ['a request that cannot be made', new ChatError('internal', 'No.')],
    ['a shutdown', new ChatError('server-shutdown', 'Later.')],
  ])('what fails on our own side is not held against a server: %s', async (_, error) => {
    const [a, b] = [script([error]), script(whole)]
    const upstream = createFailover(entriesOf(a, b), { failures: 2, callers: 1 })

    for (let i = 0; i < 5; i++) await ask(upstream)

    expect(a.asked).toHaveLength(5)
  })
})

test('when all are left alone it fails at once, with the time of the first that may be asked again', async () => {
  let time = 0
  const scripts = [script([broken]), script([busy(20_000)]), script([busy(40_000)])]
  const upstream = createFailover(entriesOf(...scripts), { failures: 1, now: () => time })
  await ask(upstream)
  time = 5000

  const { error } = await ask(upstream)

  expect(error).toMatchObject({ code: 'upstream-unavailable', status: 503, retryAfterMs: 15_000 })
  expect(scripts.map(({ asked }) => asked.length)).toEqual([1, 1, 1])
})

describe('with two retries', () => {
  test.each<[string, readonly (readonly Step[])[], number, readonly number[], string]>([
    ['all fail: three rounds', [[broken], [broken]], 5, [3, 3], 'upstream-unavailable'],
    ['all are refused for good: one round', [[refusal(401)], [refusal(404)]], 5, [1, 1], 'upstream-auth'],
    ['one was waited for: one round', [[slow], [broken]], 5, [1, 1], 'upstream-timeout'],
    ['all ask for too long a wait: one round', [[busy(9000)], [busy(8000)]], 5, [1, 1], 'rate-limited'],
    ['one asks for a wait: the rest in rounds', [[busy(9000)], [broken]], 5, [1, 3], 'upstream-unavailable'],
    ['the breakers open: no more rounds', [[broken], [broken]], 2, [2, 2], 'upstream-unavailable'],
    ['the request is wrong: one call', [[refusal(400)], [broken]], 5, [1, 0], 'upstream-rejected'],
    ['it broke in the middle: one call', [[hel, broken], whole], 5, [1, 0], 'upstream-unavailable'],
  ])('%s', async (_, steps, failures, calls, code) => {
    const scripts = steps.map((each) => script(each))
    const upstream = createFailover(entriesOf(...scripts), { failures })
    const { signal } = new AbortController()

    const deltas = await soon(
      all(streamChat(asking(), { upstream, signal, id: 'r', retries: 2, random: () => 0 })),
    )

    expect(deltas.at(-1)).toMatchObject({ type: 'error', code })
    expect(scripts.map(({ asked }) => asked.length)).toEqual(calls)
  })
})
