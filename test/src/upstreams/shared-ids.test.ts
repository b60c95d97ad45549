import { expect, test } from 'vitest'
import type { UpstreamDelta } from '../../../src/types.ts'
import { createCallBook } from '../../../src/upstreams/calls.ts'

const none = undefined
type Piece = readonly [
  index: number | undefined,
  id: string | undefined,
  name: string | undefined,
  text: string,
]

/** The calls that a book makes of these pieces, one in each chunk: id, name and arguments of each. */
function callsOf(pieces: readonly Piece[]): string[] {
  const book = createCallBook()
  const out: UpstreamDelta[] = []
  for (const [index, id, name, text] of pieces)
    book.read([{ index, id, type: 'function', function: { name, arguments: text } }], out)
  book.flush(out)
  const calls: string[] = []
  for (const delta of out) {
    if (delta.type !== 'tool-call') continue
    const start = calls[delta.index] ?? `${delta.id ?? '-'} ${delta.name ?? '-'} `
    calls[delta.index] = start + delta.arguments
  }
  return calls
}

// Two calls never leave with the same id: the second one has none.
test.each<[string, readonly Piece[], readonly string[]]>([
  [
    'two calls that share an id, of two tools',
    [
      [0, 'x', 'f', '{"x":1}'],
      [1, 'x', 'g', '{"y":2}'],
    ],
    ['x f {"x":1}', '- g {"y":2}'],
  ],
  [
    'two such calls without arguments',
    [
      [0, 'x', 'f', '{}'],
      [1, 'x', 'g', '{}'],
    ],
    ['x f {}', '- g {}'],
  ],
  [
    'two such calls at one place',
    [
      [0, 'x', 'f', '{}'],
      [0, 'x', 'g', '{}'],
    ],
    ['x f {}', '- g {}'],
  ],
  [
    'two calls of one tool that share an id, pieces by place',
    [
      [0, 'x', 'f', ''],
      [1, 'x', 'f', ''],
      [0, none, none, '{"a":1}'],
      [1, none, none, '{"b":2}'],
    ],
    ['x f {"a":1}', '- f {"b":2}'],
  ],
  [
    'two such calls, pieces by place and id',
    [
      [0, 'x', 'f', ''],
      [1, 'x', 'f', ''],
      [0, 'x', none, '{"a":1}'],
      [1, 'x', none, '{"b":2}'],
    ],
    ['x f {"a":1}', '- f {"b":2}'],
  ],
  [
    'a call whose nameless pieces move to another place',
    [
      [0, 'x', 'f', ''],
      [1, 'x', none, '{"a":1}'],
    ],
    ['x f {"a":1}'],
  ],
  [
    'a call that is said again at its end',
    [
      [0, 'x', 'f', '{"a":1}'],
      [none, 'x', 'f', '{"a":1}'],
    ],
    ['x f {"a":1}'],
  ],
  [
    'a call that is said again with its name',
    [
      [0, 'x', none, '{"a":1}'],
      [0, 'x', 'f', '{"a":1}'],
    ],
    ['x f {"a":1}'],
  ],
  [
    'a call with its name and another id in every piece',
    [
      [0, 't1', 'f', '{"'],
      [0, 't2', 'f', 'x'],
      [0, 't3', 'f', '":'],
      [0, 't4', 'f', '{"'],
      [0, 't5', 'f', '":1}}'],
      [0, 't6', 'f', ''],
    ],
    ['t1 f {"x":{"":1}}'],
  ],
  [
    'such a call, and one more of the same tool',
    [
      [0, 't1', 'f', '{"'],
      [0, 't2', 'f', 'x":1}'],
      [0, 't3', 'f', '{"y":2}'],
    ],
    ['t1 f {"x":1}', 't3 f {"y":2}'],
  ],
])('%s', (_, pieces, calls) => {
  expect(callsOf(pieces)).toEqual(calls)
})
