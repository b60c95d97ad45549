import { expect, test } from 'vitest'
import { cpuwatch } from '../../stopwatch.ts'
import { createUiCalls } from '../../../src/dialects/ai-sdk-calls.ts'

test('results find their calls by either id, each call once, in the order of the calls', () => {
  const calls = createUiCalls('r1')
  const ids = ['a', 'a', 'b'].flatMap((id, index) => {
    const chunks = calls.read({ type: 'tool-call', index, id, name: 'f', arguments: '{}', server: true })
    return chunks.flatMap((chunk) => (chunk.type === 'tool-input-start' ? [chunk.toolCallId] : []))
  })
  const answered = ['b', 'a', 'a', 'a', 'r1-1', 'nobody'].map((id) => {
    const chunks = calls.answer({ type: 'tool-result', id, result: 1 })
    return chunks.flatMap((chunk) => (chunk.type === 'tool-output-available' ? [chunk.toolCallId] : []))
  })

  expect(ids).toEqual(['a', 'r1-1', 'b'])
  expect(answered).toEqual([['b'], ['a'], ['r1-1'], [], [], []])
})

test('the results of very many calls take no time that grows with their square', () => {
  const calls = createUiCalls('r1')
  const count = 20_000
  const began = cpuwatch()
  for (let index = 0; index < count; index++) {
    calls.read({ type: 'tool-call', index, id: `c${index}`, name: 'f', arguments: '{}', server: true })
  }
  for (let index = 0; index < count; index++)
    calls.answer({ type: 'tool-result', id: `c${index}`, result: 1 })

  // A search through all of them for each takes several seconds.
  expect(began()).toBeLessThan(1000)
})
