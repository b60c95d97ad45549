import { once } from 'node:events'
import { expect, test } from 'vitest'
import { chat } from '../../client/index.ts'
import { read } from './place.ts'
import { createService, deltas, stallAfter } from './service.ts'

const service = createService()

test('a loop that is over lets the stream end by itself, so that its connection can be used again', async () => {
  service.answers = [stallAfter(6)]
  await read(chat({ url: service.url, prompt: 'hi' }))
  const { response } = service.exchanges[0]!

  const ended = once(response, 'close')
  response.end()
  await ended

  expect(response.writableFinished).toBe(true)
})

test('a loop that is over does not wait for a stream that does not end, and closes it', async () => {
  service.answers = [stallAfter(6)]
  const reply = chat({ url: service.url, prompt: 'hi' })

  const { got } = await read(reply)

  expect(got).toEqual(deltas)
  expect(reply.state).toBe('ended')
})
