import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { ChatError } from '../../src/errors.ts'
import type { StandardSchema } from '../../src/schema.ts'
import { createToolbox, defineTool, requireOwnNames, type Tool, type ToolResult } from '../../src/tools.ts'
import { anything, echo } from './tools-kit.ts'

/** A schema of no library: a city of at least two letters, in upper case afterwards. */
const city: StandardSchema<{ city: string }> = {
  '~standard': {
    version: 1,
    vendor: 'by-hand',
    async validate(value) {
      const { city } = value as { city?: unknown }
      if (typeof city === 'string' && city.length > 1) return { value: { city: city.toUpperCase() } }
      return { issues: [{ message: 'Too short.', path: [{ key: 'city' }] }, { message: 'Not a city.' }] }
    },
  },
}

function run(tool: Tool, args: unknown): Promise<ToolResult> {
  const call = { id: 'c0', name: tool.name, arguments: JSON.stringify(args) }
  return createToolbox([tool]).run(call, { signal: new AbortController().signal })
}

function failure(make: () => unknown): ChatError {
  try {
    make()
  } catch (error) {
    if (error instanceof ChatError) return error
    throw error
  }
  return expect.fail('it was accepted')
}

describe('tools are checked at the start', () => {
  const named = (name: string): Tool => ({ ...echo, name })

  test.each<[string, readonly unknown[], string, string]>([
    ['an empty name', [named('')], 'tools[0].name', '1 to 64 letters, digits, "_" or "-"; got "".'],
    ['a name with a space', [named('a b')], 'tools[0].name', 'got "a b".'],
    ['a long name', [named('a'.repeat(65))], 'tools[0].name', 'got "aaaa'],
    ['no name', [{ ...echo, name: undefined }], 'tools[0].name', 'got nothing.'],
    [
      'a name twice',
      [echo, named('x'), echo],
      'tools[2].name',
      'must be unique; there are two tools "echo".',
    ],
    [
      'too many',
      Array.from({ length: 129 }, (_, at) => named(`t${at}`)),
      'tools',
      'at most 128 tools; got 129.',
    ],
    [
      'no schema',
      [{ name: 'a' }],
      'tools[0].schema',
      'must be a Standard Schema or JSON Schema; got nothing.',
    ],
    ['a text as schema', [{ name: 'a', schema: 'x' }], 'tools[0].schema', 'got a string.'],
    [
      'a schema that cannot say itself',
      [{ name: 'a', schema: city }],
      'tools[0].parameters',
      'of "a" must be set: its schema (by-hand) cannot say itself as JSON Schema.',
    ],
    [
      'a schema of its library that has no JSON Schema',
      [{ name: 'a', schema: z.object({ at: z.date() }) }],
      'tools[0].schema',
      'cannot be used: Date cannot be represented in JSON Schema',
    ],
    ['no object', [{ name: 'a', schema: { type: 'string' } }], 'tools[0].schema', '{"type":"object"'],
    [
      'no object in parameters',
      [{ name: 'a', schema: city, parameters: {} }],
      'tools[0].parameters',
      'an object',
    ],
    ['no tool', [echo, null], 'tools[1]', 'must be a tool; got null.'],
    ['an array for a tool', [[echo]], 'tools[0]', 'must be a tool; got an array.'],
    ['an `execute` to be', [{ ...echo, execute: 5 }], 'tools[0].execute', 'of "echo" must be a function'],
    ['an `execute` of null', [{ ...echo, execute: null }], 'tools[0].execute', 'or absent; got null.'],
    [
      'a schema that contradicts itself',
      [{ name: 'a', schema: { ...anything, $defs: { x: { $id: 'x:1' }, y: { $id: 'x:1' } } } }],
      'tools[0].schema',
      'Duplicate schema URI',
    ],
  ])('%s', (_, tools, param, text) => {
    const error = failure(() => createToolbox(tools as readonly Tool[]))

    expect(error).toMatchObject({ code: 'invalid-request', param })
    expect(error.message).toContain(`\`${param}\``)
    expect(error.message).toContain(text)
  })

  test.each([
    [{ a: echo }, 'an object'],
    ['echo', 'a string'],
    [null, 'null'],
  ])('what is no list: %j', (tools, got) => {
    const error = failure(() => createToolbox(tools as unknown as readonly Tool[]))

    expect(error).toMatchObject({ code: 'invalid-request', param: 'tools' })
    expect(error.message).toBe(`\`tools\` must be an array; got ${got}.`)
  })

  test('128 tools with names of 64 characters are not too many', () => {
    const tools = Array.from({ length: 128 }, (_, at) =>
      named(`${'a'.repeat(60)}_${String(at).padStart(3, '-')}`),
    )

    expect(createToolbox(tools).specs).toHaveLength(128)
  })

  test('a schema stays as it was, frozen or not', () => {
    const schema = Object.freeze({
      ...anything,
      properties: Object.freeze({ a: Object.freeze({ type: 'string' }) }),
    })

    expect(createToolbox([{ name: 'a', schema }]).specs[0]?.parameters).toEqual(schema)
    expect(Object.getOwnPropertyNames(schema)).toEqual(['type', 'properties'])
  })

  test('those that run in the client are known by name', () => {
    const toolbox = createToolbox([echo, { name: 'ask', schema: anything }])

    expect([...toolbox.clientNames]).toEqual(['ask'])
    expect(['echo', 'ask', 'other'].map(toolbox.runs)).toEqual([true, false, false])
  })

  test('no list is no toolbox', () => {
    expect(createToolbox(undefined)).toBeUndefined()
  })
})

test.each([
  [undefined, undefined],
  [[], undefined],
  [[{ name: 'mine' }], undefined],
  [[{ name: 'mine' }, { name: 'echo' }], 'tools[1].function.name'],
  // Whoever runs it may say what it is.
  [[{ name: 'ask' }], undefined],
])('a request must not bring a tool of a name of ours: %j', (tools, param) => {
  const check = (): void => requireOwnNames(tools, createToolbox([echo, { name: 'ask', schema: anything }]))

  if (param === undefined) expect(check).not.toThrow()
  else expect(failure(check)).toMatchObject({ code: 'invalid-request', param })
  expect(() => requireOwnNames(tools, undefined)).not.toThrow()
})

test.each([
  [126, [], false],
  [127, [], true],
  // Offered once.
  [125, ['ask'], false],
  [126, ['ask'], false],
  [127, ['ask'], true],
])('a request may bring %i tools, and %j, beside two of ours: too many? %s', (count, more, tooMany) => {
  const toolbox = createToolbox([echo, { name: 'ask', schema: anything }])
  const names = [...Array.from({ length: count }, (_, at) => `t${at}`), ...more]
  const check = (): void =>
    requireOwnNames(
      names.map((name) => ({ name })),
      toolbox,
    )

  if (!tooMany) return expect(check).not.toThrow()
  expect(failure(check)).toMatchObject({ code: 'limit-exceeded', param: 'tools' })
  const ours = more.length === 0 ? 2 : 1
  const text = `at most ${128 - ours} tools beside ${ours} of this service; got ${names.length}.`
  expect(check).toThrow(text)
})

describe('a model is told of a tool', () => {
  const zod = z.object({ n: z.coerce.number().default(3), unit: z.enum(['c', 'f']) })
  const told = {
    type: 'object',
    properties: { n: { default: 3, type: 'number' }, unit: { type: 'string', enum: ['c', 'f'] } },
    required: ['unit'],
  }
  const old = Object.assign(() => {}, {
    '~standard': {
      ...city['~standard'],
      jsonSchema: {
        input({ target }: { readonly target: string }) {
          if (target !== 'draft-07') throw new Error('unknown draft')
          return { $schema: 'http://json-schema.org/draft-07/schema#', ...anything }
        },
      },
    },
  })

  test.each<[string, Pick<Tool, 'schema' | 'parameters'>, object]>([
    ['by its schema, which is JSON Schema', { schema: { $schema: 'x', ...told } }, told],
    ['by its schema, which says itself', { schema: zod }, told],
    ['by its schema, a function that knows an old draft only', { schema: old }, anything],
    ['by its own words', { schema: city, parameters: told }, told],
    ['by its own words, which win', { schema: zod, parameters: anything }, anything],
  ])('%s', (_, given, parameters) => {
    const { specs } = createToolbox([{ name: 'a', description: 'Does a.', strict: true, ...given }])

    expect(specs).toEqual([{ name: 'a', description: 'Does a.', parameters, strict: true }])
  })
})

describe('arguments are checked by', () => {
  const nested = {
    type: 'object',
    properties: {
      list: { type: 'array', items: { $ref: '#/$defs/item' } },
      'a/b~c é': { enum: [1] },
      either: { anyOf: [{ type: 'string' }, { type: 'null' }] },
    },
    $defs: { item: { type: 'object', properties: { x: { type: 'number' } }, required: ['x'] } },
  }
  const own = { parameters: anything, schema: city }

  test.each<[string, Pick<Tool, 'schema' | 'parameters'>, unknown, unknown]>([
    [
      'JSON Schema',
      { schema: nested },
      { list: [{ x: 1 }], either: null },
      { list: [{ x: 1 }], either: null },
    ],
    ['zod, with its defaults', { schema: z.object({ n: z.number().default(3) }) }, {}, { n: 3 }],
    ['a schema by hand, that answers later', own, { city: 'Rome' }, { city: 'ROME' }],
  ])('%s: what fits runs the tool', async (_, given, args, result) => {
    expect(await run({ ...echo, ...given }, args)).toEqual({ type: 'tool-result', id: 'c0', result })
  })

  test.each<[string, Pick<Tool, 'schema' | 'parameters'>, unknown, string]>([
    ['JSON Schema, far inside', { schema: nested }, { list: [{ x: 1 }, {}] }, '`list[1]`: Instance does not'],
    [
      'JSON Schema, odd names',
      { schema: nested },
      { 'a/b~c é': 2 },
      '`a/b~c é`: Instance does not match any of [1].',
    ],
    ['JSON Schema, each choice', { schema: nested }, { either: 1 }, 'Expected "string". `either`: Instance'],
    ['JSON Schema, all of it', { schema: nested }, { list: 1, either: 2 }, 'Expected "array". `either`:'],
    [
      'JSON Schema of an old draft',
      {
        schema: {
          $schema: 'http://json-schema.org/draft-04/schema#',
          type: 'object',
          properties: { n: { minimum: 1, exclusiveMinimum: true } },
        },
      },
      { n: 1 },
      '`n`: 1 is less than or equal to',
    ],
    [
      'zod',
      { schema: z.object({ to: z.array(z.object({ n: z.number() })) }) },
      { to: [{ n: 'x' }] },
      '`to[0].n`: Invalid input: expected number, received string',
    ],
    ['a schema by hand', own, { city: 'R' }, 'schema. `city`: Too short. Not a city.'],
  ])('%s: what does not fit is said with its place', async (_, given, args, text) => {
    const result = await run({ ...echo, ...given }, args)

    expect(result).toMatchObject({ id: 'c0', isError: true })
    expect(result.result).toContain(text)
  })

  test('what is wrong is said in a few words, however much it is', async () => {
    const schema = { type: 'object', additionalProperties: false }
    const args = Object.fromEntries(Array.from({ length: 1000 }, (_, at) => [`field${at}`, at]))

    const { result } = await run({ ...echo, schema }, args)

    expect(String(result).match(/must not be there/g)).toHaveLength(5)
  })

  test('a name without end is cut', async () => {
    const schema = { type: 'object', additionalProperties: false }

    const { result } = await run({ ...echo, schema }, { ['a'.repeat(100_000)]: 1 })

    expect(String(result).length).toBeLessThan(1100)
  })

  test('a library that takes its time: after an abort the tool is not run any more', async () => {
    const controller = new AbortController()
    let runs = 0
    const slow: Tool = { ...echo, schema: city, parameters: anything, execute: () => ++runs }

    const call = { id: 'c0', name: 'echo', arguments: '{"city":"Rome"}' }
    const running = createToolbox([slow]).run(call, { signal: controller.signal })
    controller.abort()

    expect(await running).toMatchObject({ isError: true })
    expect(runs).toBe(0)
  })

  test('nobody, where a schema of a library throws: the tool fails and its author is told', async () => {
    const errors: ChatError[] = []
    const broken = (): never => {
      throw new Error('no such rule')
    }
    const schema: StandardSchema = { '~standard': { version: 1, vendor: 'by-hand', validate: broken } }
    const call = { id: 'c0', name: 'echo', arguments: '{"a":1}' }

    const result = await createToolbox([{ ...echo, schema, parameters: anything }]).run(call, {
      signal: new AbortController().signal,
      onError: (error) => errors.push(error),
    })

    expect(result).toEqual({ type: 'tool-result', id: 'c0', result: 'The tool failed.', isError: true })
    expect(String(errors[0]?.cause)).toContain('no such rule')
  })

  test('JSON that is nested without end is an error result', async () => {
    const call = { id: 'c0', name: 'echo', arguments: `${'['.repeat(100_000)}${']'.repeat(100_000)}` }

    const result = await createToolbox([echo]).run(call, { signal: new AbortController().signal })

    expect(result).toMatchObject({ isError: true })
  })
})

test('a tool is told its call, and a signal', async () => {
  const told: unknown[] = []
  await run(
    { ...echo, execute: (args, { callId, signal }) => void told.push(args, callId, signal.aborted) },
    {},
  )

  expect(told).toEqual([{}, 'c0', false])
})

test('a call of a tool that is not run here is an error result', async () => {
  const call = { id: 'c0', name: 'other', arguments: '{}' }
  const options = { signal: new AbortController().signal }

  expect(await createToolbox([echo]).run(call, options)).toMatchObject({ isError: true })
})

test('the arguments of a tool have the type that its schema makes', () => {
  defineTool({
    name: 'typed',
    schema: z.object({ n: z.coerce.number(), unit: z.enum(['c', 'f']) }),
    execute(args) {
      expectTypeOf(args).toEqualTypeOf<{ n: number; unit: 'c' | 'f' }>()
    },
  })
  defineTool({
    name: 'by-hand',
    schema: city,
    parameters: anything,
    execute: (args) => expectTypeOf(args).toEqualTypeOf<{ city: string }>(),
  })
  defineTool({
    name: 'json',
    schema: { type: 'object', properties: {} },
    execute: (args) => expectTypeOf(args).toEqualTypeOf<Readonly<Record<string, unknown>>>(),
  })
  // With JSON Schema the author says what it makes.
  const own: Tool = { name: 'own', schema: anything, execute: ({ n }: { readonly n: number }) => n }

  expect(createToolbox([own]).specs).toHaveLength(1)
})
