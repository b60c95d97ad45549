import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { UpstreamDelta } from '../../../src/types.ts'
import { createChunkReader } from '../../../src/upstreams/chunk.ts'

type CallDelta = Extract<UpstreamDelta, { type: 'tool-call' }>

/** What a reader says of chunks that hold these `tool_calls`; `'stop'` stands for a finish reason. */
function read(...chunks: readonly unknown[]): CallDelta[] {
  const reader = createChunkReader()
  const out: UpstreamDelta[] = []
  for (const chunk of chunks) {
    const choice = chunk === 'stop' ? { delta: {}, finish_reason: 'stop' } : { delta: { tool_calls: chunk } }
    reader.read({ choices: [{ index: 0, ...choice }] }, out)
  }
  reader.flush?.(out)
  return out.filter((delta) => delta.type === 'tool-call')
}

interface Whole {
  readonly id?: string | undefined
  readonly name?: string | undefined
  readonly arguments: string
}

/** Joins pieces, and checks that each call has its identity in its first piece and comes in its turn. */
function join(deltas: readonly CallDelta[]): Whole[] {
  const calls: Whole[] = []
  for (const { index, id, name, arguments: text } of deltas) {
    const call = calls[index]
    if (call) {
      expect([id, name]).toEqual([undefined, undefined])
      calls[index] = { ...call, arguments: call.arguments + text }
    } else {
      expect(index).toBe(calls.length)
      calls.push({ ...(id ? { id } : {}), ...(name ? { name } : {}), arguments: text })
    }
  }
  return calls
}

const a = '{"x":1}'
const b = '{"y":[2]}'
const f = { id: 'a', name: 'f', arguments: a }
const g = { id: 'b', name: 'g', arguments: b }
const nameless = ({ id, arguments: text }: Whole): Whole => ({ id, arguments: text })
const anonymous = ({ name, arguments: text }: Whole): Whole => ({ name, arguments: text })

/** A piece: its place, its id, its name, its arguments. */
function piece(index: unknown, id: unknown, name: unknown, text: unknown): object {
  return { index, id, type: 'function', function: { name, arguments: text } }
}
const none = undefined

const rows: Record<string, readonly [pieces: readonly unknown[], calls: readonly Whole[]]> = {
  'as OpenAI sends them': [
    [
      [piece(0, 'a', 'f', '')],
      [piece(0, none, none, '{"x"')],
      [piece(0, none, none, ':1}')],
      [piece(1, 'b', 'g', '')],
      [piece(1, none, none, b)],
    ],
    [f, g],
  ],
  'in parallel, several pieces in one chunk': [
    [
      [piece(0, 'a', 'f', ''), piece(1, 'b', 'g', '')],
      [piece(0, none, none, '{"x"'), piece(1, none, none, '{"y":')],
      [piece(1, none, none, '[2]}'), piece(0, none, none, ':1}')],
    ],
    [f, g],
  ],
  'with indexes from 1': [
    [[piece(1, 'a', 'f', a)], [piece(2, 'b', 'g', '{"y":')], [piece(2, none, none, '[2]}')]],
    [f, g],
  ],
  'with indexes that are texts': [
    [[piece('0', 'a', 'f', '')], [piece('1', 'b', 'g', b)], [piece('0', '', '', a)]],
    [f, g],
  ],
  'with one index for all, told apart by ids': [
    [[piece(0, 'a', 'f', a)], [piece(0, 'b', 'g', b)]],
    [f, g],
  ],
  'with one index for all, ids in every piece, in parallel': [
    [
      [piece(0, 'a', 'f', '{"x"')],
      [piece(0, 'b', 'g', '{"y":')],
      [piece(0, 'a', none, ':1}')],
      [piece(0, 'b', none, '[2]}')],
    ],
    [f, g],
  ],
  'with one index for all and no ids, told apart by names': [
    [[piece(0, '', 'f', '{"x"')], [piece(0, '', none, ':1}')], [piece(0, '', 'g', b)]],
    [anonymous(f), anonymous(g)],
  ],
  'twice the same tool, one index, no ids': [
    [[piece(0, '', 'f', a)], [piece(0, '', 'f', b)]],
    [anonymous(f), { name: 'f', arguments: b }],
  ],
  'with the id and the name in every piece': [
    [
      [piece(0, 'a', 'f', '{"x"')],
      [piece(0, 'a', 'f', ':1}')],
      [piece(1, 'b', 'g', '')],
      [piece(1, 'b', 'g', b)],
    ],
    [f, g],
  ],
  'with the name in every piece and no id': [
    [[piece(0, none, 'f', '')], [piece(0, none, 'f', '{"x"')], [piece(0, none, 'f', ':1}')]],
    [anonymous(f)],
  ],
  'with the name in every piece, neither id nor index': [
    [[piece(none, none, 'f', '{"x"')], [piece(none, none, 'f', ':1}')], [piece(none, none, 'f', b)]],
    [anonymous(f), { name: 'f', arguments: b }],
  ],
  'with an id that every piece makes up': [
    [
      [piece(0, 'a', 'f', '')],
      [piece(0, 'p', none, '{"x"')],
      [piece(0, 'q', none, ':1}')],
      [piece(1, 'b', 'g', b)],
    ],
    [f, g],
  ],
  'with empty ids and names later': [
    [[piece(0, 'a', 'f', '')], [piece(0, '', '', '{"x"')], [piece(0, null, null, ':1}')]],
    [f],
  ],
  'without indexes, ids in the first pieces': [
    [
      [piece(none, 'a', 'f', '')],
      [piece(none, none, none, a)],
      [piece(none, 'b', 'g', '')],
      [piece(none, '', '', b)],
    ],
    [f, g],
  ],
  'without indexes, side by side in each chunk': [
    [
      [piece(none, 'a', 'f', ''), piece(none, 'b', 'g', '')],
      [piece(none, none, none, '{"x"'), piece(none, none, none, '{"y":')],
      [piece(none, none, none, ':1}'), piece(none, none, none, '[2]}')],
    ],
    [f, g],
  ],
  'with an index only after the first piece': [
    [[piece(none, 'a', 'f', '')], [piece(0, none, none, a)], [piece(1, 'b', 'g', b)]],
    [f, g],
  ],
  'whole, without index, in one chunk': [[[piece(none, 'a', 'f', a), piece(none, 'b', 'g', b)]], [f, g]],
  'whole, without index or id, in one chunk': [
    [[piece(none, none, 'f', ''), piece(none, none, 'f', '')]],
    [
      { name: 'f', arguments: '' },
      { name: 'f', arguments: '' },
    ],
  ],
  'whole, without index or id, in a chunk each': [
    [[piece(none, none, 'f', a)], [piece(none, none, 'g', b)], [piece(none, none, 'g', b)]],
    [anonymous(f), anonymous(g), anonymous(g)],
  ],
  'not in an array': [[piece(0, '', 'f', '{"x"'), piece(0, '', null, ':1}')], [anonymous(f)]],
  'with arguments as an object': [
    [[piece(0, 'a', 'f', { x: 1 })], [piece(1, 'b', 'g', { y: [2] })]],
    [f, g],
  ],
  'with arguments null': [[[piece(0, 'a', 'f', null)], [piece(0, none, none, a)]], [f]],
  'with ids that are numbers': [[[piece(0, 7, 'f', a)]], [{ ...f, id: '7' }]],
  'without the object around name and arguments': [[[{ id: 'a', name: 'f', arguments: a }]], [f]],
  'with null and junk between': [
    [null, [null, 1, 'text', []], [], [piece(0, 'a', 'f', a)], [{}], [{ index: 0 }], [{ index: 5 }]],
    [f],
  ],
  'with the id last': [
    [[piece(0, none, 'f', '{"x"')], [piece(0, none, none, ':1}')], [piece(0, 'a', none, '')]],
    [f],
  ],
  'with the ids last, without indexes': [
    [
      [piece(none, none, 'f', a)],
      [piece(none, none, 'g', b)],
      [piece(none, 'a', none, '')],
      [piece(none, 'b', none, '')],
    ],
    [f, g],
  ],
  'with the name last': [
    [[piece(0, 'a', none, '{"x"')], [piece(0, none, none, ':1}')], [piece(0, none, 'f', '')]],
    [f],
  ],
  'with the names last, without indexes': [
    [
      [piece(none, 'a', none, a)],
      [piece(none, 'b', none, b)],
      [piece(none, none, 'f', '')],
      [piece(none, none, 'g', '')],
    ],
    [f, g],
  ],
  'with the identity last': [[[piece(0, none, none, '{"x"')], [piece(0, 'a', 'f', ':1}')]], [f]],
  'the first named after the second': [
    [[piece(0, 'a', none, a)], [piece(1, 'b', 'g', b)], [piece(0, none, 'f', '')]],
    [f, g],
  ],
  'without a name': [
    [[piece(0, 'a', none, a)], [piece(1, 'b', 'g', b)]],
    [nameless(f), g],
  ],
  'without an id': [[[piece(0, none, 'f', '{"x"')], [piece(0, none, none, ':1}')]], [anonymous(f)]],
  'with nothing but arguments': [[[piece(0, none, none, a)]], [{ arguments: a }]],
  'said once more at the end': [
    [[piece(0, 'a', 'f', '{"x"')], [piece(0, 'a', none, ':1}')], [piece(0, 'a', 'f', a)]],
    [f],
  ],
  // Two calls must not share an id: somebody after us makes one up.
  'with one id for two calls': [
    [[piece(0, 'a', 'f', a)], [piece(1, 'a', 'f', b)]],
    [f, { name: 'f', arguments: b }],
  ],
  'of a custom tool': [[[{ index: 0, id: 'a', type: 'custom', custom: { name: 'f', input: a } }]], [f]],
}

describe('calls are told apart', () => {
  test.each(Object.entries(rows))('%s', (_, [chunks, calls]) => {
    expect(join(read(...chunks, 'stop'))).toEqual(calls)
    expect(join(read(...chunks))).toEqual(calls)
  })

  test('a call leaves as soon as its id and its name are known, not earlier', () => {
    const reader = createChunkReader()
    const said = (...pieces: readonly object[]): UpstreamDelta[] => {
      const out: UpstreamDelta[] = []
      reader.read({ choices: [{ delta: { tool_calls: pieces } }] }, out)
      return out
    }

    expect(said(piece(0, none, 'f', '{"x"'))).toEqual([])
    expect(said(piece(1, 'b', 'g', '{"y":'))).toEqual([])
    expect(said(piece(0, 'a', none, ':1'))).toEqual([
      { type: 'tool-call', index: 0, id: 'a', name: 'f', arguments: '{"x":1' },
      { type: 'tool-call', index: 1, id: 'b', name: 'g', arguments: '{"y":' },
    ])
    expect(said(piece(0, none, none, '}'))).toEqual([{ type: 'tool-call', index: 0, arguments: '}' }])
  })

  test('the finish reason gives what is held, and what comes after it is not lost', () => {
    const reader = createChunkReader()
    const out: UpstreamDelta[] = []
    reader.read({ choices: [{ delta: { tool_calls: [piece(0, none, 'f', '{"x"')] } }] }, out)
    expect(out).toEqual([])

    reader.read({ choices: [{ delta: {}, finish_reason: 'tool_calls' }] }, out)
    expect(out).toEqual([{ type: 'tool-call', index: 0, name: 'f', arguments: '{"x"' }])

    reader.read({ choices: [{ delta: { tool_calls: [piece(0, none, none, ':1}')] } }] }, out)
    expect(out.at(-1)).toEqual({ type: 'tool-call', index: 0, arguments: ':1}' })
  })
})

describe('a function_call', () => {
  test('leaves at once, without an id', () => {
    const out: UpstreamDelta[] = []
    const reader = createChunkReader()
    for (const function_call of [
      { name: 'f', arguments: '' },
      { arguments: '{"x"' },
      { arguments: ':1}' },
      null,
    ])
      reader.read({ choices: [{ delta: { function_call } }] }, out)

    expect(out).toEqual([
      { type: 'tool-call', index: 0, name: 'f', arguments: '' },
      { type: 'tool-call', index: 0, arguments: '{"x"' },
      { type: 'tool-call', index: 0, arguments: ':1}' },
    ])
  })

  test('is not counted beside tool_calls', () => {
    const out: UpstreamDelta[] = []
    const delta = { tool_calls: [piece(0, 'a', 'f', a)], function_call: { name: 'f', arguments: a } }
    createChunkReader().read({ choices: [{ delta }] }, out)

    expect(out).toEqual([{ type: 'tool-call', index: 0, ...f }])
  })
})

describe('whatever a vendor does with index and id', () => {
  interface Made {
    readonly id: string
    readonly name: string
    readonly parts: readonly string[]
  }
  /** How a vendor labels part `part` of call `call`, the last of which is `last`. */
  type Label = (
    call: Made,
    at: { readonly call: number; readonly part: number; readonly last: number },
  ) => object

  const first = (part: number, value: string): string | undefined => (part === 0 ? value : undefined)

  // Parts of one call come in their order; where the labels tell them apart, those of several calls come mixed.
  const mixed: Record<string, Label> = {
    'indexes, identity first': (call, at) =>
      piece(at.call, first(at.part, call.id), first(at.part, call.name), call.parts[at.part]),
    'indexes from 1, identity in every piece': (call, at) =>
      piece(at.call + 1, call.id, call.name, call.parts[at.part]),
    'indexes, empty ids and names later': (call, at) =>
      piece(at.call, first(at.part, call.id) ?? '', first(at.part, call.name) ?? '', call.parts[at.part]),
    'indexes, id last': (call, at) =>
      piece(at.call, at.part === at.last ? call.id : none, first(at.part, call.name), call.parts[at.part]),
    'indexes, name last': (call, at) =>
      piece(at.call, first(at.part, call.id), at.part === at.last ? call.name : none, call.parts[at.part]),
    'no indexes, ids in every piece': (call, at) =>
      piece(none, call.id, first(at.part, call.name), call.parts[at.part]),
    'one index for all, ids in every piece': (call, at) =>
      piece(0, call.id, first(at.part, call.name), call.parts[at.part]),
    'one index for all, ids and names in every piece': (call, at) =>
      piece(0, call.id, call.name, call.parts[at.part]),
  }
  const inTurn: Record<string, Label> = {
    ...mixed,
    'no indexes, identity first': (call, at) =>
      piece(none, first(at.part, call.id), first(at.part, call.name), call.parts[at.part]),
    'one index for all, identity first': (call, at) =>
      piece(0, first(at.part, call.id), first(at.part, call.name), call.parts[at.part]),
    'no indexes, empty ids and names later': (call, at) =>
      piece(none, first(at.part, call.id) ?? '', first(at.part, call.name) ?? '', call.parts[at.part]),
  }

  /** Names repeat, ids do not; arguments are JSON in pieces, some of them empty. */
  const made: fc.Arbitrary<Made[]> = fc
    .array(
      fc.record({
        name: fc.constantFrom('f', 'g', 'h'),
        value: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })),
        cuts: fc.array(fc.nat(60), { maxLength: 6 }),
      }),
      { minLength: 1, maxLength: 5 },
    )
    .map((calls) =>
      calls.map(({ name, value, cuts }, at) => {
        const text = JSON.stringify(value)
        const places = [
          0,
          ...cuts.map((cut) => Math.min(cut, text.length)).sort((x, y) => x - y),
          text.length,
        ]
        const parts = places.slice(1).map((to, part) => text.slice(places[part], to))
        return { id: `call_${at}`, name, parts }
      }),
    )

  const whole = (calls: readonly Made[]): Whole[] =>
    calls.map(({ id, name, parts }) => ({ id, name, arguments: parts.join('') }))

  test.each(Object.entries(inTurn))('the calls come back, one after the other: %s', (_, label) => {
    fc.assert(
      fc.property(made, (calls) => {
        const pieces = calls.flatMap((call, at) =>
          call.parts.map((_, part) => [label(call, { call: at, part, last: call.parts.length - 1 })]),
        )
        expect(join(read(...pieces))).toEqual(whole(calls))
      }),
    )
  })

  test.each(Object.entries(mixed))('the calls come back, mixed, in chunks of any size: %s', (_, label) => {
    const turns = fc.array(fc.nat(), { minLength: 40, maxLength: 40 })
    fc.assert(
      fc.property(made, turns, fc.array(fc.integer({ min: 1, max: 4 })), (calls, order, sizes) => {
        const pieces = mix(calls, order, label)
        expect(join(read(...group(pieces, sizes), 'stop'))).toEqual(whole(calls))
      }),
    )
  })

  /** Takes a part of one call after the other, as `order` says. Calls begin in their order. */
  function mix(calls: readonly Made[], order: readonly number[], label: Label): object[] {
    const next = calls.map(() => 0)
    const pieces: object[] = []
    const take = (at: number): void => {
      const call = calls[at]
      const part = next[at] ?? 0
      if (!call || part >= call.parts.length) return
      next[at] = part + 1
      pieces.push(label(call, { call: at, part, last: call.parts.length - 1 }))
    }
    calls.forEach((_, at) => {
      take(at)
      for (const turn of order.slice(at * 5, at * 5 + 5)) take(turn % (at + 1))
    })
    calls.forEach(({ parts }, at) => parts.forEach(() => take(at)))
    return pieces
  }

  function group(pieces: readonly object[], sizes: readonly number[]): object[][] {
    const chunks: object[][] = []
    for (let from = 0, turn = 0; from < pieces.length; turn++) {
      const size = sizes[turn] ?? 1
      chunks.push(pieces.slice(from, from + size))
      from += size
    }
    return chunks
  }
})
