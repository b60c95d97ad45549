import { expect, test } from 'vitest'
import { collect } from '../../src/collect.ts'
import type { ChatDelta } from '../../src/types.ts'

const start: ChatDelta = { type: 'start', id: 'r', model: 'm', createdAt: 1 }
const finish: ChatDelta = { type: 'finish', reason: 'tool-calls' }
const call = (index: number, id: string): ChatDelta => ({
  type: 'tool-call',
  index,
  id,
  name: 'f',
  arguments: '{}',
})

async function* once(...deltas: ChatDelta[]): AsyncGenerator<readonly ChatDelta[]> {
  yield deltas
}

test.each([
  ['in order', [0, 1], ['a', 'b']],
  ['the other way round', [1, 0], ['b', 'a']],
  ['with a gap', [0, 3], ['a', 'b']],
  ['from the third on', [2], ['a']],
])('tool calls that come %s are told without holes', async (_, indexes, ids) => {
  const { answer } = await collect(
    once(start, ...indexes.map((index, i) => call(index, 'ab'.charAt(i))), finish),
  )

  expect(answer?.toolCalls).toEqual(ids.map((id) => ({ id, name: 'f', arguments: '{}' })))
  expect(JSON.stringify(answer)).not.toContain('null')
})

test.each<[string, ChatDelta[]]>([
  ['nothing', []],
  ['a start alone', [start]],
  ['no end', [start, call(0, 'a')]],
  ['an error at its end', [start, { type: 'error', code: 'deadline', message: 'Late.', retryable: true }]],
])('a reply of %s is no answer', async (_, deltas) => {
  const { answer, error } = await collect(once(...deltas))

  expect(answer).toBeUndefined()
  expect(error).toBe(deltas.find(({ type }) => type === 'error'))
})
