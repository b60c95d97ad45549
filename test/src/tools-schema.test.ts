import { describe, expect, test } from 'vitest'
import { cpuwatch } from '../stopwatch.ts'
import { z } from 'zod'
import { ChatError } from '../../src/errors.ts'
import { createToolbox, type ToolResult } from '../../src/tools.ts'
import type { Fields } from '../../src/types.ts'
import { echo } from './tools-kit.ts'

/** JSON Schema of an object with a field `a`. */
function having(a: unknown, more: Fields = {}): Fields {
  return { type: 'object', properties: { a }, ...more }
}

function run(schema: Fields, args: unknown): Promise<ToolResult> {
  const text = typeof args === 'string' ? args : JSON.stringify(args)
  const call = { id: 'c0', name: 'echo', arguments: text }
  return createToolbox([{ ...echo, schema }]).run(call, {
    signal: new AbortController().signal,
    onError: ({ cause }) => expect.fail(`the tool failed: ${String(cause)}`),
  })
}

describe('JSON Schema that is broken is refused at the start, with the place', () => {
  const draft7 = 'http://json-schema.org/draft-07/schema#'

  test.each<[string, Fields, string, string]>([
    ['a pattern', having({ pattern: '(' }), '#/properties/a/pattern', 'Unterminated group'],
    ['a pattern without `u`', having({ pattern: '[\\w-.]' }), '#/properties/a/pattern', 'the flag "u"'],
    ['a pattern that is no text', having({ pattern: 1 }), '#/properties/a/pattern', 'got a number'],
    ['a pattern of keys', having({}, { patternProperties: { '(': {} } }), '#/patternProperties', 'group'],
    ['a `$ref` to nowhere', having({ $ref: '#/$defs/x' }), '#/properties/a/$ref', 'got "#/$defs/x"'],
    [
      'a `$ref` to another server',
      having({ $ref: 'https://x.example/y' }),
      '#/properties/a/$ref',
      'part of this',
    ],
    ['a `$ref` that is no text', having({ $ref: 1 }), '#/properties/a/$ref', 'got a number'],
    ['a `$ref` to itself', having({ $ref: '#/properties/a' }), '#/properties/a', 'back to itself'],
    [
      'two that lead to each other',
      having(
        { $ref: '#/$defs/b' },
        { $defs: { b: { allOf: [{ $ref: '#/$defs/c' }] }, c: { $ref: '#/$defs/b' } } },
      ),
      '#/$defs/',
      'back to itself',
    ],
    [
      'one that leads back through a part of its own',
      having({ $ref: '#' }, { anyOf: [{ $ref: '#/properties/a' }] }),
      '#',
      'back to itself',
    ],
    [
      'one in an old draft',
      having(
        { $ref: '#/definitions/n' },
        { $schema: draft7, definitions: { n: { $ref: '#/definitions/n' } } },
      ),
      '#/definitions/n',
      'back to itself',
    ],
    [
      '`properties` that are null',
      { type: 'object', properties: null },
      '#/properties',
      'an object; got null',
    ],
    ['a field that is null', having(null), '#/properties/a', 'must be a schema'],
    [
      'a name that needs escapes',
      having({ properties: { 'a/~': 1 } }),
      '#/properties/a/properties/a~1~0',
      'schema',
    ],
    ['`anyOf` that is no array', having({ anyOf: {} }), '#/properties/a/anyOf', 'an array; got an object'],
    ['`items` that are a text', having({ items: 'x' }), '#/properties/a/items', 'must be a schema'],
    ['one of several `items`', having({ items: [{}, 1] }), '#/properties/a/items/1', 'must be a schema'],
    ['`required` of old', having({ required: true }), '#/properties/a/required', 'an array of strings'],
    ['`enum` that is no array', having({ enum: 'x' }), '#/properties/a/enum', 'an array; got "x"'],
    ['a type that there is not', having({ type: 'int' }), '#/properties/a/type', 'got "int"'],
    ['one such of several', having({ type: ['string', 'int'] }), '#/properties/a/type', 'integer'],
    ['what needs a number', having({}, { dependentRequired: { a: 1 } }), '#/dependentRequired/a', 'strings'],
    ['`dependentRequired`', having({}, { dependentRequired: [] }), '#/dependentRequired', 'an object'],
    // Such addresses of 40 letters would keep the validator busy for hours.
    ['the format `url`', having({ format: 'url' }), '#/properties/a/format', 'such as "uri"'],
  ])('%s', (_, schema, place, text) => {
    const make = (): unknown => createToolbox([{ ...echo, schema }])

    expect(make).toThrow(ChatError)
    expect(make).toThrow(`\`tools[0].schema\` of "echo" cannot be used: \`${place}`)
    expect(make).toThrow(text)
  })

  test.each<[string, Fields, unknown]>([
    [
      'a tree',
      having({ $ref: '#/$defs/n' }, { $defs: { n: { items: { $ref: '#/$defs/n' } } } }),
      { a: [[], []] },
    ],
    [
      'the schema itself, further in',
      having({ anyOf: [{ $ref: '#' }, { type: 'null' }] }),
      { a: { a: null } },
    ],
    [
      'a part by its name',
      having({ $ref: '#n' }, { $defs: { n: { $anchor: 'n', type: 'string' } } }),
      { a: 'x' },
    ],
    [
      'a part by its address',
      having({ $ref: 'n' }, { $id: 'https://x.example/s', $defs: { n: { $id: 'n', type: 'string' } } }),
      { a: 'x' },
    ],
    [
      'a part that is used twice',
      having({ oneOf: [{ $ref: '#/$defs/s' }, false] }, { $defs: { s: true } }),
      { a: 1 },
    ],
    [
      'fields called like words',
      having({ properties: { $ref: {}, pattern: {}, allOf: {} } }),
      { a: { $ref: 1 } },
    ],
    [
      'words in what is only shown',
      having({ default: { $ref: '#/no' }, enum: [{ pattern: '(' }, 1] }),
      { a: 1 },
    ],
    [
      'what must be there, in both ways',
      having({}, { dependencies: { a: ['b'], b: { required: ['a'] } } }),
      {},
    ],
    ['true and false', having(true, { additionalProperties: false }), { a: 1 }],
  ])('but not %s', async (_, schema, args) => {
    expect(await run(schema, args)).toEqual({ type: 'tool-result', id: 'c0', result: args })
  })

  test('what libraries say of themselves is not broken', () => {
    const node = z.object({
      value: z.string().regex(/^[a-z]/),
      at: z.iso.datetime(),
      to: z.url(),
      tags: z.record(z.string(), z.union([z.string(), z.number()])),
      get next() {
        return node.optional()
      },
    })

    expect(() => createToolbox([{ ...echo, schema: z.toJSONSchema(node) }])).not.toThrow()
  })
})

describe('arguments that a check could not cope with', () => {
  const unique = having({ type: 'array', uniqueItems: true })
  const nested = having(
    { $ref: '#/$defs/n' },
    { $defs: { n: { type: 'array', items: { $ref: '#/$defs/n' } } } },
  )

  test.each<[string, Fields, string, string]>([
    ['a key that is no text', having({}, { additionalProperties: {} }), '{"\\ud800":1}', 'not valid Unicode'],
    ['depth', nested, `{"a":${'['.repeat(2000)}${']'.repeat(2000)}}`, 'nested too deep'],
    ['length', having({}), `{"a":"${'x'.repeat(65_529)}"}`, 'at most 65536 characters; got 65537'],
    ['many different items', unique, `{"a":[${'0,'.repeat(200)}0]}`, 'too many items (201 > 200)'],
    ['the same item twice', unique, '{"a":[1,{"b":1},{"b":1}]}', '`a`: Duplicate items'],
  ])('do not fit: %s', async (_, schema, args, text) => {
    const result = await run(schema, args)

    expect(result).toMatchObject({ isError: true })
    expect(result.result).toContain(text)
  })

  test.each<[string, Fields, unknown]>([
    ['of 65536 characters', having({}), { a: 'x'.repeat(65_528) }],
    ['of 200 different items', unique, { a: Array.from({ length: 200 }, (_, at) => at) }],
    ['where items are no list', unique, undefined],
    ['of all rules at once', having({ uniqueItems: true, allOf: [{ minItems: 1 }] }), { a: [1, 2] }],
  ])('are not those %s', async (_, schema, args = {}) => {
    expect(await run(schema, args)).toEqual({ type: 'tool-result', id: 'c0', result: args })
  })

  test('the rule stays beside others, and the model is told of it', async () => {
    const schema = having({ uniqueItems: true, allOf: [{ minItems: 1 }] })

    expect(await run(schema, { a: [] })).toMatchObject({ isError: true })
    expect(createToolbox([{ ...echo, schema }]).specs[0]?.parameters).toEqual(schema)
  })

  test.each<[string, Fields, string]>([
    ['different items', unique, `{"a":[${Array.from({ length: 13_000 }, (_, at) => at).join(',')}]}`],
    ['wrong items', having({ items: { type: 'string' } }), `{"a":[${'1,'.repeat(32_000)}1]}`],
    [
      'wrong items behind a long name',
      { type: 'object', additionalProperties: { items: { type: 'string' } } },
      `{"${'k'.repeat(32_000)}":[${'1,'.repeat(16_000)}1]}`,
    ],
  ])('hold nobody up: %s', async (_, schema, args) => {
    const began = cpuwatch()
    const result = await run(schema, args)

    expect(result).toMatchObject({ isError: true })
    expect(began()).toBeLessThan(1000)
  })
})
