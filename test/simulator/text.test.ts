import { expect, test } from 'vitest'
import { closing, writeAnswer } from '../../simulator/answers.ts'
import { createPace, createSchedule } from '../../simulator/pace.ts'
import { readPrompt } from '../../simulator/prompt.ts'
import { createRandom } from '../../simulator/random.ts'
import { readChat } from '../../simulator/request.ts'
import { exampleOf } from '../../simulator/schema.ts'
import { countTokens, splitTokens } from '../../simulator/tokens.ts'

function answer(...said: string[]): string {
  const messages = said.flatMap((content) => [
    { role: 'user', content },
    { role: 'assistant', content: 'Yes.' },
  ])
  return writeAnswer(readPrompt(readChat({ model: 'm', messages: messages.slice(0, -1) })), createRandom(1))
}

test.each([
  ['Hello!', /^(Hello|Hi)/],
  ['Why is the sky blue?', /\*\*sky\*\* and \*\*blue\*\*/],
  ['List three reasons to read', /^- \*\*/m],
  ['How do I bake bread? Give me steps', /^1\. /m],
  ['Compare tea and coffee', /^\| \| Tea \| Coffee \|$/m],
  ['Write a Python function', /^```python\n[^]+^```$/m],
  ['Show me an example in SQL', /^```sql$/m],
  ['Write a long essay about rivers', /^## What follows$/m],
  ['Tell me a story about the sea', /\*sea\*/],
  ['In one sentence: is water wet?', /\*\*water\*\*/],
  ['你好', /模拟/],
  ['こんにちは、元気ですか', /模擬/],
  ['Nice 🌊', /👩‍🚀/],
  ['Show me some emoji', /𠮷/],
  ['', /empty/],
  ['fault:none', /empty/],
])('“%s” gets a fitting answer', (prompt, expected) => {
  const text = answer(prompt)

  expect(text).toMatch(expected)
  expect(text.endsWith(closing)).toBe(true)
})

test('a later question is answered with the earlier one in mind', () => {
  expect(answer('What is a fjord?', 'And how deep is it?')).toContain('“What is a fjord?”')
})

test.each([
  'Hello, world!\n\n- one\n- two',
  'internationalization',
  '  double  spaces\t',
  'a👩‍🚀b🇯🇵𠮷你好世界',
  'é̀ £42,000',
])('the tokens of %j join to the text and split no character', (text) => {
  const tokens = splitTokens(text)

  expect(tokens.join('')).toBe(text)
  expect(tokens.filter((token) => /\p{Surrogate}/u.test(token))).toEqual([])
  expect(Math.max(...tokens.map((token) => [...token].length))).toBeLessThanOrEqual(8)
})

test('English has about four characters a token', () => {
  const ratio = closing.length / countTokens(closing)

  expect(ratio).toBeGreaterThan(3)
  expect(ratio).toBeLessThan(5)
})

test('tokens are due in order, close to the rate, and the same every time', () => {
  const options = { firstTokenMs: 300, tokensPerSecond: 40, seed: 7 }
  const due = Array.from({ length: 401 }, (_, index) => createSchedule(options)(index))

  expect(due[0]).toBe(300)
  expect(due).toEqual(due.toSorted((a, b) => a - b))
  expect(Math.abs((due[400] ?? 0) - 10_300)).toBeLessThan(25)
  expect(due).toEqual(due.map((_, index) => createSchedule(options)(index)))
})

test('an infinite rate leaves only the first wait', () => {
  expect(createSchedule({ firstTokenMs: 5, tokensPerSecond: Infinity, seed: 1 })(1000)).toBe(5)
})

test('stopping ends a wait, and every later one', async () => {
  const pace = createPace({ firstTokenMs: 1e9, tokensPerSecond: 1, seed: 1 })
  const waiting = pace.turn(0)

  pace.stop()

  await waiting
  await pace.pause(1e9)
  await pace.hold()
  expect(pace.stopped).toBe(true)
})

test.each([
  [{ type: 'string', enum: ['red', 'green'] }, 'green'],
  [{ const: 4 }, 4],
  [{ type: ['integer', 'null'], maximum: 3 }, 3],
  [{ type: 'array', items: { type: 'boolean' } }, [true]],
  [{ anyOf: [{ type: 'null' }, { type: 'number' }] }, 7],
  [{ type: 'string', format: 'date' }, '2026-01-01'],
  [
    { $ref: '#/$defs/a', $defs: { a: { type: 'object', properties: { city: { type: 'string' } } } } },
    { city: 'Bergen' },
  ],
  [{ properties: { a: { type: 'null' }, b: {} }, required: ['a'] }, { a: null }],
])('a value for the schema %j', (schema, value) => {
  expect(exampleOf(schema, '7 green houses in Bergen')).toEqual(value)
})
