import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import type { ChatError } from '../../src/errors.ts'
import { type Tool, ToolError } from '../../src/tools.ts'
import { lo, stop } from './kit.ts'
import { call, calls, of, reply, tool } from './tools-kit.ts'

class Row {
  readonly n = 1
}

describe('what a tool gives', () => {
  test.each<[string, unknown, unknown, string]>([
    ['a text as it is', 'It’s “12:00”.', 'It’s “12:00”.', 'It’s “12:00”.'],
    ['an object as JSON', { a: [1, { b: null }] }, { a: [1, { b: null }] }, '{"a":[1,{"b":null}]}'],
    ['nothing as null', undefined, null, 'null'],
    ['null', null, null, 'null'],
    ['a number', 0, 0, '0'],
    ['an empty text', '', '', ''],
    ['a date as JSON has it', new Date(0), '1970-01-01T00:00:00.000Z', '1970-01-01T00:00:00.000Z'],
    ['a field that is absent as none', { a: undefined, b: [undefined] }, { b: [null] }, '{"b":[null]}'],
    ['an object of a class by its fields', new Row(), { n: 1 }, '{"n":1}'],
    ['an object without a prototype', Object.assign(Object.create(null), { n: 1 }), { n: 1 }, '{"n":1}'],
    ['an empty object of another realm', runInNewContext('({})'), {}, '{}'],
    ['what says itself as JSON', new URL('https://x.example'), 'https://x.example/', 'https://x.example/'],
    ['something later', Promise.resolve(true), true, 'true'],
  ])('goes to the model: %s', async (_, given, result, content) => {
    const { deltas, asked } = await reply([[call(0, 'give'), calls], [stop]], {
      tools: [tool('give', () => given)],
    })

    expect(of('tool-result', deltas)).toEqual([{ type: 'tool-result', id: 'c0', result }])
    expect(asked[1]?.messages[2]).toEqual({ role: 'tool', toolCallId: 'c0', content })
  })

  test('does not change when the tool changes it later', async () => {
    const kept: string[] = []
    const keep = tool('keep', () => {
      kept.push('x')
      return kept
    })
    const { deltas } = await reply([[call(0, 'keep'), calls], [call(0, 'keep'), calls], [stop]], {
      tools: [keep],
    })

    expect(of('tool-result', deltas).map(({ result }) => result)).toEqual([['x'], ['x', 'x']])
  })

  const cycle: unknown[] = []
  cycle.push(cycle)

  test.each<[string, () => unknown]>([
    ['a cycle', () => cycle],
    ['a BigInt', () => ({ n: 1n })],
    ['a function', () => () => {}],
    ['a function further in', () => ({ rows: [{ save() {} }] })],
    ['a symbol', () => ({ kind: Symbol('x') })],
    ['a generator', () => (function* () {})()],
    ['a generator of later', () => ({ rows: (async function* () {})() })],
    ['an iterator', () => [1].values()],
    ['an error it gives', () => Object.assign(new Error('password is hunter2'), { code: 'x' })],
    ['a Map', () => new Map([['a', 1]])],
    ['a Set further in', () => Promise.resolve({ ids: new Set([1]) })],
    ['a stream', () => new ReadableStream()],
    ['a response', () => new Response('{}')],
    ['a promise further in', () => ({ later: Promise.resolve(1) })],
    ['a pattern', () => /x/],
    ['an error of its own', () => Promise.reject(new Error('password is hunter2'))],
    [
      'an error at once',
      () => {
        throw new Error('password is hunter2')
      },
    ],
  ])('is no secret when it fails: %s', async (_, execute) => {
    const errors: ChatError[] = []
    const { deltas } = await reply(
      [
        [call(0, 'fail'), calls],
        [lo, stop],
      ],
      {
        tools: [tool('fail', execute)],
        onToolError: (error) => {
          errors.push(error)
          throw new Error('and the report fails')
        },
      },
    )

    const result = { type: 'tool-result', id: 'c0', result: 'The tool failed.', isError: true }
    expect(deltas.slice(2)).toEqual([result, lo, stop])
    expect(JSON.stringify(deltas)).not.toContain('hunter2')
    expect(errors).toEqual([
      expect.objectContaining({ code: 'internal', message: 'The tool "fail" failed.' }),
    ])
    expect(errors[0]?.cause).toBeInstanceOf(Error)
  })

  test('is its own sentence when it throws a `ToolError`, and nobody else is told', async () => {
    const errors: ChatError[] = []
    const closed = tool('closed', () => {
      throw new ToolError('The shop is closed on Sundays.')
    })
    const { deltas, asked } = await reply([[call(0, 'closed'), calls], [stop]], {
      tools: [closed],
      onToolError: (error) => errors.push(error),
    })

    const result = 'The shop is closed on Sundays.'
    expect(of('tool-result', deltas)).toEqual([{ type: 'tool-result', id: 'c0', result, isError: true }])
    expect(asked[1]?.messages[2]).toMatchObject({ content: result })
    expect(errors).toEqual([])
  })
})

describe('arguments', () => {
  const ran: unknown[] = []
  const strict: Tool = {
    name: 'strict',
    schema: {
      type: 'object',
      properties: { n: { type: 'integer' } },
      required: ['n'],
      additionalProperties: false,
    },
    execute: (args) => void ran.push(args),
  }

  test.each([
    ['not JSON', '{"n":', 'not valid JSON', '{}'],
    ['not an object', '[1]', 'must be one JSON object; got an array', '{}'],
    [
      'of the wrong type',
      '{"n":"x"}',
      '`n`: Instance type "string" is invalid. Expected "integer".',
      '{"n":"x"}',
    ],
    ['missing', '{}', 'required property "n"', '{}'],
    ['missing altogether', '', 'required property "n"', '{}'],
    ['too many', '{"n":1,"m":2}', '`m`: This field must not be there.', '{"n":1,"m":2}'],
  ])('that are wrong (%s) do not run the tool: the model is told', async (_, args, problem, sent) => {
    ran.length = 0
    const { deltas, asked } = await reply([[call(0, 'strict', args), calls], [stop]], { tools: [strict] })

    const [result] = of('tool-result', deltas)
    expect(result).toMatchObject({ isError: true, result: expect.stringContaining(problem) as string })
    expect(ran).toEqual([])
    // The next request must be one that servers accept which read the arguments of earlier calls.
    expect(asked[1]?.messages[1]).toMatchObject({ toolCalls: [{ arguments: sent }] })
  })

  test('may be none at all, where the tool needs none', async () => {
    const { deltas, asked } = await reply([[call(0, 'echo', ' '), calls], [stop]])

    expect(of('tool-result', deltas)[0]).toEqual({ type: 'tool-result', id: 'c0', result: {} })
    expect(asked[1]?.messages[1]).toMatchObject({ toolCalls: [{ arguments: '{}' }] })
  })

  test('cannot set a prototype', async () => {
    const merged = tool('merge', (args) => {
      const target = Object.assign({}, args) as Record<string, unknown>
      return { polluted: target['polluted'] ?? null, own: Object.keys(args as object) }
    })
    const args = '{"__proto__":{"polluted":1},"a":{"__proto__":{"polluted":1}}}'
    const { deltas } = await reply([[call(0, 'merge', args), calls], [stop]], { tools: [merged] })

    expect(of('tool-result', deltas)[0]?.result).toEqual({ polluted: null, own: ['a'] })
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })
})
