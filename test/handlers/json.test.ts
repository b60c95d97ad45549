import fc from 'fast-check'
import { expect, test } from 'vitest'
import { placeOfJsonError } from '../../handlers/json.ts'

test.each([
  ['', 'line 1, column 1'],
  ['  ', 'line 1, column 3'],
  ['[1,]', 'line 1, column 4'],
  ['[1 2]', 'line 1, column 4'],
  ['[,1]', 'line 1, column 2'],
  ['[1}', 'line 1, column 3'],
  ['[1]]', 'line 1, column 4'],
  ['[1],', 'line 1, column 4'],
  ['{"a":a}', 'line 1, column 6'],
  ['{"a":1,}', 'line 1, column 8'],
  ['{"a" 1}', 'line 1, column 6'],
  ['{a:1}', 'line 1, column 2'],
  ['{"a":1', 'line 1, column 7'],
  ["['a']", 'line 1, column 2'],
  ['["a]', 'line 1, column 2'],
  ['["\\x"]', 'line 1, column 2'],
  ['["\t"]', 'line 1, column 2'],
  ['[01]', 'line 1, column 2'],
  ['[truex]', 'line 1, column 2'],
  ['[\n  {"a": 1},\r\n  {"b" 2}\n]', 'line 3, column 8'],
  ['[1] // one', 'line 1, column 5'],
])('of %j it says %s', (text, place) => {
  expect(() => JSON.parse(text) as unknown).toThrow(SyntaxError)
  expect(placeOfJsonError(text)).toBe(place)
})

test('of anything that is JSON it says the end', () => {
  fc.assert(
    fc.property(fc.json(), fc.constantFrom(0, 1, 2), (json, indent) => {
      const text = JSON.stringify(JSON.parse(json), null, indent)

      expect(placeOfJsonError(`\n${text}`)).toBe(placeAtEnd(`\n${text}`))
    }),
  )
})

function placeAtEnd(text: string): string {
  const lines = text.split('\n')
  return `line ${lines.length}, column ${(lines.at(-1) ?? '').length + 1}`
}
