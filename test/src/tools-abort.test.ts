import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import { createHandler, type HandlerOptions } from '../../src/handler.ts'
import type { Tool } from '../../src/tools.ts'
import type { ChatDelta } from '../../src/types.ts'
import { deltasIn, hel, http, script, soon, stop, textOf, until } from './kit.ts'
import { begin, call, calls, of, tool } from './tools-kit.ts'

const unhandled: unknown[] = []
const catchIt = (reason: unknown): void => void unhandled.push(reason)

beforeEach(() => void process.on('unhandledRejection', catchIt))
afterEach(async () => {
  // A rejection without a handler is reported after the microtasks of this turn.
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', catchIt)
  expect(unhandled.splice(0)).toEqual([])
})

/** Tools that wait, in every way a tool can take an abort; each tells when it runs and what its signal says. */
const manners: readonly [string, (signal: AbortSignal) => Promise<unknown>][] = [
  ['ignores it for ever', () => new Promise(() => {})],
  [
    'rejects with its reason',
    (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  ],
  [
    'rejects later, with an error of its own',
    (signal) =>
      new Promise((_, reject) =>
        signal.addEventListener('abort', () => setImmediate(reject, new Error('late'))),
      ),
  ],
  [
    'gives a result all the same',
    (signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve('too late'))),
  ],
]

const reasons: readonly [string, unknown, Partial<ChatDelta>][] = [
  ['a stop', new ChatError('cancelled', 'Stopped.'), { type: 'finish', reason: 'cancelled' }],
  ['a deadline', new ChatError('deadline', 'Too long.'), { type: 'error', code: 'deadline' }],
  ['a client that leaves', undefined, { type: 'finish', reason: 'cancelled' }],
]

const matrix = manners.flatMap(([manner, wait]) => {
  return reasons.map(([why, reason, terminal]) => [manner, why, wait, reason, terminal] as const)
})

test.each(matrix)('a tool that %s does not hold up %s', async (_, __, wait, reason, terminal) => {
  const controller = new AbortController()
  const told: AbortSignal[] = []
  const failures: ChatError[] = []
  const waiting = tool('wait', (_, { signal }) => {
    told.push(signal)
    return wait(signal)
  })
  const scripted = script([
    call(0, 'wait'),
    call(1, 'wait'),
    { type: 'usage', inputTokens: 1, outputTokens: 1 },
    calls,
  ])
  const deltas: ChatDelta[] = []
  const reading = (async () => {
    const options = {
      tools: [waiting],
      signal: controller.signal,
      onToolError: (e: ChatError) => failures.push(e),
    }
    for await (const delta of begin(scripted, options)) deltas.push(delta)
  })()
  await until(() => told.length === 2)

  controller.abort(reason)
  await soon(reading, 500)

  expect(told.map((signal) => [signal.aborted, signal.reason])).toEqual(
    Array.from({ length: 2 }, () => [true, controller.signal.reason]),
  )
  expect(deltas.map(({ type }) => type)).toEqual(['start', 'tool-call', 'tool-call', 'usage', terminal.type])
  expect(deltas.at(-1)).toMatchObject(terminal)
  expect(scripted.asked).toHaveLength(1)
  expect(scripted.open()).toBe(0)
  await new Promise((resolve) => setImmediate(resolve))
  expect(failures).toEqual([])
})

test('whoever is told of a failure may fail later: nothing comes of it', async () => {
  const late = async (): Promise<never> => {
    throw new Error('the log is full')
  }
  const options = {
    tools: [tool('broken', () => 1n)],
    onToolError: late,
    onToolRun: late,
    onUsage: late,
    onError: late,
  }
  const failure = new ChatError('upstream-timeout', 'Slow.')
  const deltas: ChatDelta[] = []

  for await (const delta of begin(script([call(0, 'broken'), calls], [failure]), options)) deltas.push(delta)

  expect(deltas.at(-1)).toMatchObject({ type: 'error', code: 'upstream-timeout' })
})

describe('an abort', () => {
  const never: Tool = tool('never', () => new Promise(() => {}))

  test('between two results keeps the first and ends the reply', async () => {
    const controller = new AbortController()
    const scripted = script([call(0, 'never'), call(1, 'now'), calls], [stop])
    const deltas: ChatDelta[] = []

    const options = { tools: [never, tool('now', () => 1)], signal: controller.signal }
    for await (const delta of begin(scripted, options)) {
      deltas.push(delta)
      if (delta.type === 'tool-result') controller.abort()
    }

    expect(of('tool-result', deltas).map(({ id }) => id)).toEqual(['c1'])
    expect(deltas.at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
    expect(scripted.asked).toHaveLength(1)
  })

  test('with the last result asks the model no more', async () => {
    const controller = new AbortController()
    const scripted = script([call(0, 'now'), calls], [stop])
    const deltas: ChatDelta[] = []

    const options = { tools: [tool('now', () => 1)], signal: controller.signal }
    for await (const delta of begin(scripted, options)) {
      deltas.push(delta)
      if (delta.type === 'tool-result') controller.abort()
    }

    expect(deltas.at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
    expect(scripted.asked).toHaveLength(1)
  })

  test('while the model says what to call runs nothing', async () => {
    const controller = new AbortController()
    let runs = 0
    const scripted = script([call(0, 'count'), calls], [stop])

    const deltas: ChatDelta[] = []
    const options = { tools: [tool('count', () => ++runs)], signal: controller.signal }
    for await (const delta of begin(scripted, options)) {
      deltas.push(delta)
      if (delta.type === 'tool-call') controller.abort()
    }

    expect(runs).toBe(0)
    expect(deltas.at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
  })

  test('in a later step ends it like the first', async () => {
    const controller = new AbortController()
    const scripted = script([call(0, 'now'), calls], [hel, 'wait', stop])
    const deltas: ChatDelta[] = []

    const options = { tools: [tool('now', () => 1)], signal: controller.signal }
    for await (const delta of begin(scripted, options)) {
      deltas.push(delta)
      if (delta.type === 'text') setImmediate(() => controller.abort())
    }

    expect(deltas.slice(-2)).toEqual([hel, { type: 'finish', reason: 'cancelled' }])
    expect(scripted.open()).toBe(0)
  })
})

test('a reader that leaves between two results aborts the tools that still run', async () => {
  const told: AbortSignal[] = []
  const scripted = script([call(0, 'never'), call(1, 'now'), calls])
  const never = tool('never', (_, { signal }) => {
    told.push(signal)
    return new Promise(() => {})
  })

  for await (const { type } of begin(scripted, { tools: [never, tool('now', () => 1)] })) {
    if (type === 'tool-result') break
  }

  expect(told.map(({ aborted }) => aborted)).toEqual([true])
})

test('a reply leaves nothing at the signal of its caller', async () => {
  const { signal } = new AbortController()
  let listeners = 0
  const counted = Object.assign(signal, {
    addEventListener: () => void listeners++,
    removeEventListener: () => void listeners--,
  })

  const scripted = script([call(0, 'now'), calls], [call(0, 'now'), calls], [stop])
  for await (const _ of begin(scripted, { tools: [tool('now', () => 1)], signal: counted }));

  expect(listeners).toBe(0)
  expect(scripted.asked).toHaveLength(3)
})

describe('a tool that never ends, in a service', () => {
  function service(limits: Partial<HandlerOptions>) {
    const told: AbortSignal[] = []
    const never = tool('never', (_, { signal }) => {
      told.push(signal)
      return new Promise(() => {})
    })
    const { upstream, asked } = script([call(0, 'never'), calls], [stop])
    const options = { upstream, model: 'm', tools: [never], createId: () => 'r1', ...limits }
    return { handler: createHandler(options), told, asked }
  }

  const question = { body: { prompt: 'hi' } }

  test('is over with the deadline', async () => {
    const { handler, told, asked } = service({ totalTimeoutMs: 50 })

    const reply = await handler(http('/chat', question))
    const deltas = deltasIn(await soon(textOf(reply)))
    await soon(reply.settled)

    expect(deltas.at(-1)).toMatchObject({ type: 'error', code: 'deadline' })
    expect(told.map(({ aborted }) => aborted)).toEqual([true])
    expect(asked).toHaveLength(1)
  })

  test('is over with a stop', async () => {
    const { handler, told } = service({})

    const reply = await handler(http('/chat', question))
    const reading = textOf(reply)
    await until(() => told.length === 1)
    await handler(http('/chat/r1', { method: 'DELETE' }))

    expect(deltasIn(await soon(reading)).at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
    await soon(reply.settled)
    expect(told[0]?.aborted).toBe(true)
  })

  test('is over when its only reader left for good', async () => {
    const client = new AbortController()
    const { handler, told, asked } = service({ lingerMs: 0 })

    const reply = await handler(http('/chat', { ...question, signal: client.signal }))
    const reading = textOf(reply)
    await until(() => told.length === 1)
    client.abort()

    await soon(reading)
    await soon(reply.settled)
    expect(told[0]?.aborted).toBe(true)
    expect(asked).toHaveLength(1)
  })
})
