import { expect, test } from 'vitest'
import { event, heartbeatFrame, streamHeaders } from '../../src/sse.ts'

test('an event is its id and its data, in one piece that ends with a blank line', () => {
  expect(event('{}')).toBe('data: {}\n\n')
  expect(event('{}', 7)).toBe('id: 7\ndata: {}\n\n')
  expect(event('{}', 0)).toBe('id: 0\ndata: {}\n\n')
})

test('a heartbeat is nothing but a comment', () => {
  expect(heartbeatFrame).toMatch(/^:[^\r\n]*\n\n$/)
})

test('the headers keep every proxy from holding events back', () => {
  expect(streamHeaders).toEqual({
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
    'x-content-type-options': 'nosniff',
  })
})
