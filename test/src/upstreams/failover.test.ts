import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { ChatError } from '../../../src/errors.ts'
import type { UpstreamDelta } from '../../../src/types.ts'
import { createFailover, type FailoverEntry, type FailoverMove } from '../../../src/upstreams/failover.ts'
import { asking, hel, type Script, script, soon, type Step, stop, until } from '../kit.ts'
import { ask, broken, busy, entriesOf, refusal, report, slow, whole } from './failover-kit.ts'

interface Run {
  readonly deltas: readonly UpstreamDelta[]
  readonly error: unknown
  readonly accepted: readonly (string | undefined)[]
  readonly moves: readonly FailoverMove[]
  readonly signal: AbortSignal
}

/** Asks two upstreams, of which the second is fine. */
async function askBoth(first: readonly Step[]): Promise<Run & { readonly asked: readonly number[] }> {
  const [a, b] = [script(first), script(whole)]
  const moves: FailoverMove[] = []
  const upstream = createFailover(entriesOf(a, b), { onFailover: (move) => moves.push(move) })

  const run = await soon(ask(upstream))

  expect([a.open(), b.open()]).toEqual([0, 0])
  expect(getEventListeners(run.signal, 'abort')).toEqual([])
  return { ...run, moves, asked: [a.asked.length, b.asked.length] }
}

/** Every kind of failure, and whether the next upstream is asked when it comes before the first delta. */
const kinds: Record<string, [failure: Error | undefined, movesOn: boolean]> = {
  'refuses the connection': [new ChatError('upstream-unreachable', 'Unreachable.'), true],
  'does not answer in time': [slow, true],
  'says 400': [refusal(400), false],
  'says 400, because it does not have the model': [refusal(400, { param: 'model' }), true],
  'says 400, and that the model is unknown': [refusal(400, { message: 'x is not a valid model ID' }), true],
  'says 400, in the words of DeepSeek': [refusal(400, { message: 'Model Not Exist' }), true],
  'says 400, and that a model does not exist': [
    refusal(400, { message: 'The model `m` does not exist' }),
    true,
  ],
  'says 400, with a code for an unknown model': [refusal(400, { code: 'model_not_found' }), true],
  'says 400, with another code for it': [refusal(400, { code: 'invalid_model' }), true],
  'says 400, and that something else does not exist': [
    refusal(400, { message: 'The file does not exist' }),
    false,
  ],
  'says 400, and means our key': [refusal(400, { message: 'API key not valid.' }), true],
  'says 401': [refusal(401), true],
  'says 402': [refusal(402), true],
  'says 403': [refusal(403), true],
  'says 404': [refusal(404), true],
  'says 408': [refusal(408), true],
  'says 409': [refusal(409), true],
  'says 413': [refusal(413), false],
  'says 422': [refusal(422), false],
  'says 429': [refusal(429), true],
  'says 429, because of its quota': [refusal(429, { code: 'insufficient_quota' }), true],
  'says 500': [broken, true],
  'says 503': [refusal(503), true],
  redirects: [refusal(302), true],
  'is cut': [new ChatError('upstream-truncated', 'Cut.'), true],
  'ends without a finish': [undefined, true],
  'is incomplete': [new ChatError('upstream-incomplete', 'Incomplete.'), true],
  'sends what is no JSON': [new ChatError('upstream-malformed', 'Malformed.'), true],
  'sends too much at once': [new ChatError('upstream-too-large', 'Too large.'), true],
  'reports an error': [report({ message: 'Oh.' }), true],
  'reports an error of 400': [report({ message: 'Wrong.', code: 400 }), false],
  'reports an error of 401': [report({ message: 'Wrong.', code: 401 }), true],
  'reports an error of 404': [report({ message: 'No model.', code: 404 }), true],
  'reports that it has no such model': [
    report({ code: 'model_not_found', type: 'invalid_request_error', message: 'No.' }),
    true,
  ],
  'reports an error of 429': [report({ message: 'Slow down.', code: 429 }), true],
  'cannot express the request': [new ChatError('invalid-request', 'No such field.'), true],
  'throws what is no error of ours': [new TypeError('fetch failed'), true],
}

describe.each(Object.entries(kinds))('an upstream that %s', (_, [failure, movesOn]) => {
  const end = failure ? [failure] : []

  test(`before it says anything is ${movesOn ? 'followed by the next' : 'the last'}`, async () => {
    const { deltas, error, moves, asked } = await askBoth(end)

    expect(deltas).toEqual(movesOn ? whole : [])
    expect(asked).toEqual([1, movesOn ? 1 : 0])
    if (!movesOn) expect(error).toBe(failure)
    else expect(error).toBeUndefined()
    expect(moves.map(({ from, to }) => `${from} ${to}`)).toEqual(movesOn ? ['a b'] : [])
    if (failure instanceof ChatError && movesOn) expect(moves[0]?.error).toBe(failure)
  })

  test.each<[string, UpstreamDelta]>([
    ['a text', hel],
    ['a usage', { type: 'usage', inputTokens: 1, outputTokens: 0 }],
    ['a call', { type: 'tool-call', index: 0, id: 'c', name: 'f', arguments: '' }],
  ])('after %s is the last: nobody else is asked', async (_, said) => {
    const { deltas, error, moves, asked } = await askBoth([said, ...end])

    expect(deltas).toEqual([said])
    if (failure) expect(error).toBe(failure)
    else expect(error).toMatchObject({ code: 'upstream-truncated' })
    expect(asked).toEqual([1, 0])
    expect(moves).toEqual([])
  })
})

test('an answer without a word is an answer', async () => {
  expect(await askBoth([stop])).toMatchObject({ deltas: [stop], error: undefined, asked: [1, 0] })
})

test('what a failing upstream still does after its finish is nothing to the others', async () => {
  const { deltas, asked } = await askBoth([hel, stop, broken])

  expect(deltas).toEqual([hel, stop])
  expect(asked).toEqual([1, 0])
})

test('who listens is told who accepted, and again when another one takes over', async () => {
  const accepting = (steps: readonly Step[]): Pick<Script, 'upstream'> => ({
    async *upstream(request, options) {
      options.onAccept?.('its own word')
      yield* script(steps).upstream(request, options)
    },
  })

  const { accepted } = await ask(
    createFailover(entriesOf(accepting([broken]), script([broken]), accepting(whole))),
  )

  expect(accepted).toEqual(['a', 'c'])
})

test('a failed attempt is closed before the next one begins', async () => {
  const said: string[] = []
  const first = {
    async *upstream(): AsyncGenerator<UpstreamDelta> {
      try {
        await Promise.reject(broken)
        yield hel
      } finally {
        await new Promise((resolve) => setTimeout(resolve, 20))
        said.push('first is closed')
      }
    },
  }
  const second = {
    async *upstream(): AsyncGenerator<UpstreamDelta> {
      said.push('second begins')
      yield stop
    },
  }

  await ask(createFailover(entriesOf(first, second)))

  expect(said).toEqual(['first is closed', 'second begins'])
})

test('a reader that leaves closes the upstream it read from', async () => {
  const [a, b] = [script([broken]), script([hel, 'wait', stop])]
  const { signal } = new AbortController()

  for await (const delta of createFailover(entriesOf(a, b))(asking(), { signal })) {
    expect(delta).toEqual(hel)
    break
  }

  expect([a.open(), b.open()]).toEqual([0, 0])
})

test('a log that fails does not stop the answer', async () => {
  const onFailover = (): void => {
    throw new Error('the disk is full')
  }

  const { deltas } = await ask(createFailover(entriesOf(script([broken]), script(whole)), { onFailover }))

  expect(deltas).toEqual(whole)
})

describe('an abort', () => {
  test.each<[string, readonly Step[]]>([
    ['while the first is asked', ['wait', stop]],
    ['while the first speaks', [hel, 'wait', stop]],
  ])('%s ends it there: the second is never asked', async (_, steps) => {
    const [a, b] = [script(steps), script(whole)]
    const controller = new AbortController()
    const moves: FailoverMove[] = []
    const upstream = createFailover(entriesOf(a, b), { onFailover: (move) => moves.push(move) })

    const running = ask(upstream, { signal: controller.signal })
    await until(() => a.open() === 1)
    await new Promise(setImmediate)
    controller.abort(new ChatError('cancelled', 'Enough.'))
    const { error } = await soon(running)

    expect(error).toBe(controller.signal.reason)
    expect([a.asked.length, b.asked.length, a.open()]).toEqual([1, 0, 0])
    expect(moves).toEqual([])
  })

  test('while the last is asked says why it ended, not how the others failed', async () => {
    const [a, b] = [script([broken]), script(['wait', stop])]
    const controller = new AbortController()

    const running = ask(createFailover(entriesOf(a, b)), { signal: controller.signal })
    await until(() => b.open() === 1)
    controller.abort(new ChatError('cancelled', 'Enough.'))

    expect((await soon(running)).error).toBe(controller.signal.reason)
  })

  test('before anything asks nobody', async () => {
    const a = script(whole)

    const { error } = await ask(createFailover(entriesOf(a)), { signal: AbortSignal.abort('gone') })

    expect(error).toBe('gone')
    expect(a.asked).toEqual([])
  })

  test('is not held against the upstream', async () => {
    const a = script(['wait', stop])
    const upstream = createFailover(entriesOf(a, script(whole)), { failures: 1 })

    for (let i = 1; i <= 3; i++) {
      const controller = new AbortController()
      const running = ask(upstream, { signal: controller.signal })
      await until(() => a.open() === 1)
      controller.abort()
      await soon(running)

      expect(a.asked).toHaveLength(i)
    }
  })
})

describe('of several upstreams', () => {
  const named = (name: string, models?: FailoverEntry['models'], steps = whole) => ({
    ...script(steps),
    name,
    models,
  })

  test('those that do not serve the model are left out, and each gets its own name for it', async () => {
    const entries = [
      named('list', ['x', 'y'], [broken]),
      named('record', { m: 'vendor/m' }, [broken]),
      named('other', { n: 'm' }),
      named('star', ['x', '*'], [broken]),
      named('any', undefined, [broken]),
      named('last', ['m']),
    ]

    const { deltas } = await ask(createFailover(entries))

    expect(deltas).toEqual(whole)
    expect(entries.map(({ name, asked }) => [name, ...asked.map(({ model }) => model)])).toEqual([
      ['list'],
      ['record', 'vendor/m'],
      ['other'],
      ['star', 'm'],
      ['any', 'm'],
      ['last', 'm'],
    ])
  })

  test.each(['m', 'toString', '__proto__'])(
    'none that serves %j is an error that names the field',
    async (model) => {
      const upstream = createFailover([named('a', ['x']), named('b', { y: 'z' })])

      const { error } = await ask(upstream, { model })

      expect(error).toMatchObject({ code: 'model-not-allowed', param: 'model' })
      expect(String(error)).toContain(JSON.stringify(model))
    },
  )
})

test.each<[string, readonly Error[], number]>([
  ['the first timeout', [broken, slow, busy(0), new ChatError('upstream-timeout', 'Later.')], 1],
  ['else the one with the shortest wait', [refusal(401), busy(2000), busy(500), busy(900)], 2],
  ['no time counting as a second', [busy(2000), broken, busy(900)], 2],
  ['no time counting as a second', [busy(2000), broken, busy(1100)], 1],
  ['the first of equals', [refusal(404), broken, refusal(503)], 1],
  ['else the first', [refusal(404), refusal(401)], 0],
  ['with its own word', [refusal(404, { code: 'model_not_found' }), refusal(401)], 0],
])('when all failed it throws %s, with all as its cause', async (_, failures, best) => {
  const { error } = await ask(createFailover(entriesOf(...failures.map((failure) => script([failure])))))

  const { code, message, status, retryable, retryAfterMs, upstreamCode } = failures[best] as ChatError
  expect(error).toMatchObject({ code, message, status, retryable, retryAfterMs, upstreamCode })
  expect((error as ChatError).cause).toMatchObject({ errors: failures, cause: failures[best] })
})
