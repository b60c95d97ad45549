import { expect, test } from 'vitest'
import { createPreludeReader } from './prelude.ts'

const head = { statusCode: 201, headers: { 'X-Word': 'grün' }, cookies: ['a=1', 'b=2'] }
const wire = Buffer.concat([Buffer.from(JSON.stringify(head)), Buffer.alloc(8), Buffer.from('payload')])
const read = { statusCode: 201, headers: { 'x-word': 'grün' }, cookies: ['a=1', 'b=2'] }

test('a prelude is found wherever the body is cut in two', () => {
  for (let cut = 0; cut <= wire.length; cut += 1) {
    const reader = createPreludeReader()

    const pieces = [reader.read(wire.subarray(0, cut)), reader.read(wire.subarray(cut))].filter(Boolean)

    expect(pieces[0]?.prelude, `cut at ${cut}`).toEqual(read)
    expect('payload'.startsWith(pieces[0]!.rest.toString()), `cut at ${cut}`).toBe(true)
  }
})

test('a prelude is found in single bytes', () => {
  const reader = createPreludeReader()
  const end = wire.length - 'payload'.length

  const found = Array.from(wire.subarray(0, end), (byte) => reader.read(Buffer.of(byte)))

  expect(found.slice(0, -1).every((piece) => piece === undefined)).toBe(true)
  expect(found.at(-1)).toEqual({ prelude: read, rest: Buffer.alloc(0) })
})

test('a prelude that makes no sense throws', () => {
  const broken = Buffer.concat([Buffer.from('{"statusCode":"soon"}'), Buffer.alloc(8)])

  expect(() => createPreludeReader().read(broken)).toThrow('`statusCode` must be a number from 100 to 599')
})
