import { describe, expect, test } from 'vitest'
import type { Tool } from '../../src/tools.ts'
import type { ChatDelta, UpstreamDelta } from '../../src/types.ts'
import { all, asking, hel, lo, script, type Step, stop, until } from './kit.ts'
import { anything, begin, call, calls, echo, finish, of, reply, tool, usage } from './tools-kit.ts'

const started: ChatDelta = { type: 'start', id: 'r1', model: 'm', createdAt: 5 }
const clientTool: Tool = { name: 'ask_user', schema: anything }

test('a reply with a tool is one sequence: what the model says, the result, and what it says then', async () => {
  const { deltas, asked } = await reply([
    [hel, call(0, 'echo', '{"a":1}'), calls],
    [lo, stop],
  ])

  expect(deltas).toEqual([
    started,
    hel,
    { type: 'tool-call', index: 0, id: 'c0', name: 'echo', arguments: '{"a":1}', server: true },
    { type: 'tool-result', id: 'c0', result: { a: 1 } },
    lo,
    stop,
  ])
  expect(asked[1]?.messages).toEqual([
    { role: 'user', content: 'hi' },
    {
      role: 'assistant',
      content: 'Hel',
      toolCalls: [{ id: 'c0', name: 'echo', arguments: '{"a":1}' }],
    },
    { role: 'tool', toolCallId: 'c0', content: '{"a":1}' },
  ])
})

test('each step asks with everything that the steps before said', async () => {
  const { asked } = await reply([
    [hel, call(0, 'echo', '{}', 'a'), calls],
    [lo, call(0, 'echo', '{}', 'b'), calls],
    [stop],
  ])

  const said = asked.map(({ messages }) => messages.map(({ role, content }) => `${role}:${String(content)}`))
  expect(said).toEqual([
    ['user:hi'],
    ['user:hi', 'assistant:Hel', 'tool:{}'],
    ['user:hi', 'assistant:Hel', 'tool:{}', 'assistant:lo', 'tool:{}'],
  ])
})

test('what a model thought in a step goes back to it with the results of that step', async () => {
  const thought: UpstreamDelta = { type: 'reasoning', text: 'Hm.' }
  const { asked } = await reply([
    [thought, thought, call(0, 'echo'), calls],
    [call(0, 'echo', '{}', 'b'), calls],
    [stop],
  ])

  const said = asked
    .at(-1)
    ?.messages.flatMap((message) => (message.role === 'assistant' ? [message.reasoning] : []))
  expect(said).toEqual(['Hm.Hm.', undefined])
})

test('a model that says `stop` after its calls gets them answered too', async () => {
  const { deltas, asked } = await reply([
    [call(0, 'echo'), stop],
    [lo, stop],
  ])

  expect(asked).toHaveLength(2)
  expect(of('tool-result', deltas)).toHaveLength(1)
})

test('an upstream that fails while it cleans up after its calls does not stop them', async () => {
  let step = 0
  async function* untidy(): AsyncGenerator<UpstreamDelta> {
    if (step++ > 0) return yield stop
    try {
      yield call(0, 'echo')
      yield calls
    } finally {
      // oxlint-disable-next-line no-unsafe-finally -- what is tested
      throw new Error('cleaning up failed')
    }
  }

  const deltas = await all(begin({ ...script(), upstream: untidy }))

  expect(deltas.slice(2)).toEqual([{ type: 'tool-result', id: 'c0', result: {} }, stop])
})

describe('pieces of calls', () => {
  test('are passed on as they come, joined for the tool', async () => {
    const pieces = ['{"a"', ':', '"b"}'].map((text, at): UpstreamDelta =>
      at === 0 ? call(0, 'echo', text) : { type: 'tool-call', index: 0, arguments: text },
    )
    const { deltas } = await reply([[...pieces, calls], [stop]])

    expect(of('tool-call', deltas).map((piece) => piece.arguments)).toEqual(['{"a"', ':', '"b"}'])
    expect(of('tool-call', deltas).map(({ server }) => server)).toEqual([true, undefined, undefined])
    expect(of('tool-result', deltas)[0]?.result).toEqual({ a: 'b' })
  })

  test('are counted through the whole reply', async () => {
    const { deltas } = await reply([
      [call(0, 'echo', '{}', 'a'), call(1, 'echo', '{}', 'b'), calls],
      [call(0, 'echo', '{', 'c'), { type: 'tool-call', index: 0, arguments: '}' }, calls],
      [stop],
    ])

    expect(of('tool-call', deltas).map(({ index }) => index)).toEqual([0, 1, 2, 2])
  })

  test('get an id of ours where the model gives none, or one it has used', async () => {
    const { deltas, asked } = await reply([
      [{ type: 'tool-call', index: 0, name: 'echo', arguments: '{}' }, call(1, 'echo', '{}', 'a'), calls],
      [call(0, 'echo', '{}', 'a'), calls],
      [stop],
    ])

    const ids = ['call_r1_0', 'a', 'call_r1_2']
    expect(of('tool-call', deltas).map(({ id }) => id)).toEqual(ids)
    expect(of('tool-result', deltas).map(({ id }) => id)).toEqual(ids)
    expect(
      asked[2]?.messages.flatMap((message) => ('toolCallId' in message ? message.toolCallId : [])),
    ).toEqual(ids)
  })

  test('get an id of ours where the model’s own is longer than servers take', async () => {
    const { deltas, asked } = await reply([
      [call(0, 'echo', '{}', 'x'.repeat(64)), call(1, 'echo', '{}', 'y'.repeat(65)), calls],
      [stop],
    ])

    const ids = ['x'.repeat(64), 'call_r1_1']
    expect(of('tool-call', deltas).map(({ id }) => id)).toEqual(ids)
    expect(asked[1]?.messages[1]).toMatchObject({ toolCalls: ids.map((id) => ({ id })) })
  })

  test('go back to the model with names that its server takes', async () => {
    const names = ['functions.echo:0', 'e\u00e9\ud83d\ude00 o', 'n'.repeat(65), 'fine_Name-1']
    const { asked } = await reply([[...names.map((name, at) => call(at, name)), calls], [stop]])

    const sent = ['functions_echo_0', 'e____o', 'n'.repeat(64), 'fine_Name-1']
    expect(asked[1]?.messages[1]).toMatchObject({ toolCalls: sent.map((name) => ({ name })) })
  })

  test('wait for the name, without which nobody could read them', async () => {
    const { deltas } = await reply([
      [
        { type: 'tool-call', index: 0, id: 'late', arguments: '{"a"' },
        { type: 'tool-call', index: 0, name: 'echo', arguments: ':' },
        { type: 'tool-call', index: 0, id: 'later', name: 'echo', arguments: '1}' },
        calls,
      ],
      [stop],
    ])

    expect(of('tool-call', deltas)).toEqual([
      { type: 'tool-call', index: 0, id: 'late', name: 'echo', arguments: '{"a":', server: true },
      { type: 'tool-call', index: 0, arguments: '1}' },
    ])
  })

  test('that never get a name are no call', async () => {
    const nameless: Step = { type: 'tool-call', index: 0, id: 'x', arguments: '{}' }
    const { deltas, asked } = await reply([[nameless, call(1, 'echo'), calls], [stop]])

    expect(of('tool-call', deltas)).toEqual([{ ...call(0, 'echo', '{}', 'c1'), server: true }])
    expect(asked[1]?.messages[1]).toMatchObject({ toolCalls: [{ id: 'c1' }] })
  })

  test.each([[[]], [undefined]])(
    'are the client’s, and get ids too, where there are no tools: %j',
    async (tools) => {
      const unnamed: Step = { type: 'tool-call', index: 0, name: 'echo', arguments: '{}' }
      const { deltas, asked } = await reply([[unnamed, calls]], tools ? { tools } : { tools: [] })

      expect(deltas).toEqual([started, { ...unnamed, id: 'call_r1_0' }, calls])
      expect(asked).toEqual([asking('hi')])
    },
  )
})

describe('who answers a call', () => {
  const own = { tools: [{ name: 'look_up', parameters: anything }] }

  test('the model is offered the tools of the service and those of the request', async () => {
    const { asked } = await reply([[stop]], { tools: [echo, clientTool], request: own })

    expect(asked[0]?.tools?.map(({ name }) => name)).toEqual(['echo', 'ask_user', 'look_up'])
  })

  test('a tool that a request brings under a name of the service is offered once', async () => {
    const { asked } = await reply([[stop]], { request: { tools: [{ name: 'echo' }] } })

    expect(asked[0]?.tools).toEqual([{ name: 'echo' }])
  })

  test.each(['look_up', 'ask_user'])('the client, when the tool is its own: %s', async (name) => {
    const { deltas, asked } = await reply([[call(0, name), calls]], {
      tools: [echo, clientTool],
      request: own,
    })

    expect(deltas).toEqual([started, call(0, name), calls])
    expect(asked).toHaveLength(1)
  })

  test.each(['tool-calls', 'stop'] as const)(
    'the client, when there are calls for both: those of the service are not run (%s)',
    async (reason) => {
      let runs = 0
      const { deltas, asked } = await reply(
        [[call(0, 'look_up'), call(1, 'count'), call(2, 'nobody'), usage(1, 2), finish(reason)], [stop]],
        { request: own, tools: [tool('count', () => ++runs)] },
      )

      const why =
        'The tool was not run in the same step as calls of the client. Call it again if it is still needed.'
      const unknown = 'There is no tool "nobody". The tools are: count, look_up.'
      expect(deltas.slice(4)).toEqual([
        { type: 'tool-result', id: 'c1', result: why, isError: true },
        { type: 'tool-result', id: 'c2', result: unknown, isError: true },
        usage(1, 2),
        calls,
      ])
      expect(runs).toBe(0)
      expect(asked).toHaveLength(1)
    },
  )

  test('a call of a tool that does not exist is answered with those that do', async () => {
    const { deltas, asked } = await reply([[call(0, 'ekko'), calls], [stop]], { request: own })

    expect(of('tool-call', deltas)[0]?.server).toBe(true)
    expect(of('tool-result', deltas)).toEqual([
      {
        type: 'tool-result',
        id: 'c0',
        result: 'There is no tool "ekko". The tools are: echo, look_up.',
        isError: true,
      },
    ])
    expect(asked).toHaveLength(2)
  })
})

describe('several calls in one step', () => {
  test('run side by side; results come as they are there, and go to the model in the order of the calls', async () => {
    let free = (): void => {}
    const slow = tool('slow', () => new Promise<string>((resolve) => (free = () => resolve('late'))))
    const quick = tool('quick', () => {
      setImmediate(() => free())
      return 'early'
    })

    const { deltas, asked } = await reply([[call(0, 'slow'), call(1, 'quick'), calls], [stop]], {
      tools: [slow, quick],
    })

    expect(of('tool-result', deltas).map(({ result }) => result)).toEqual(['early', 'late'])
    expect(asked[1]?.messages.slice(2).map(({ content }) => content)).toEqual(['late', 'early'])
  })

  test('begin before the first one has ended', async () => {
    let running = 0
    let most = 0
    const busy = tool('busy', async () => {
      most = Math.max(most, ++running)
      await until(() => most === 3)
      running--
    })

    await reply([[call(0, 'busy'), call(1, 'busy'), call(2, 'busy'), calls], [stop]], { tools: [busy] })

    expect(most).toBe(3)
  })
})
