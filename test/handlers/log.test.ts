import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { logError, logReply } from '../../handlers/log.ts'
import { ChatError } from '../../src/errors.ts'

let lines: string[]
beforeEach(() => {
  lines = []
  vi.spyOn(console, 'error').mockImplementation((line: string) => void lines.push(line))
})
afterEach(() => void vi.restoreAllMocks())

const withCode = (code: unknown, more: object = {}): Error =>
  Object.assign(new Error('secret'), { code, ...more })

test.each<[string, Error, string]>([
  ['of the system', withCode('ECONNREFUSED'), 'Error ECONNREFUSED'],
  ['of the platform', withCode('UND_ERR_SOCKET'), 'Error UND_ERR_SOCKET'],
  ['that is a status', withCode('SECRET_SECRET', { status: 401 }), 'Error 401'],
  ['that somebody else chose', withCode('secret'), 'Error'],
  ['with words', withCode('My secret question'), 'Error'],
  ['that is very long', withCode('SECRET_'.repeat(10)), 'Error'],
  ['that is none', withCode({ secret: 1 }), 'Error'],
])('of a cause it tells a code %s as it should', (_, cause, told) => {
  logError(new ChatError('upstream-error', 'Failed.', { cause }), { replyId: 'Cq3kP0x9ZtV7bN1mL5sD2w' })

  expect(lines).toHaveLength(1)
  expect(lines[0]).not.toMatch(/secret/i)
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    time: expect.any(String),
    level: 'error',
    code: 'upstream-error',
    message: 'Failed.',
    replyId: 'Cq3kP0x9…',
    cause: [told],
  })
})

test.each([
  ['one line', 'secret'],
  ['many lines', 'secret 1\nsecret 2\n  secret 3\n\nsecret 4\nsecret 5'],
  ['lines that look like places', 'why?\n    at secret (secret.ts:1:1)\n    at secret (secret.ts:2:1)'],
])('a fault of our own with a message of %s is told by its places alone', (_, message) => {
  logError(new ChatError('internal', 'Something went wrong.', { cause: new TypeError(message) }))

  const { cause } = JSON.parse(lines[0] ?? '') as { cause: string[] }
  expect(lines[0]).not.toContain('secret')
  expect(cause[0]).toBe('TypeError')
  expect(cause.slice(1)).toHaveLength(3)
  expect(cause[1]).toMatch(/^at .*log\.test\.ts/)
})

test.each([
  "The model's server refused the request (HTTP 400): secret\nsecret",
  "The model's server refused the request: secret",
])('of a refusal it does not repeat the words: %j', (message) => {
  logError(new ChatError('upstream-rejected', message))

  expect(lines[0]).toContain('refused the request')
  expect(lines[0]).not.toContain('secret')
})

test('of a reply that is over it tells what it cost and how it ended, and none of its words', () => {
  logReply({
    id: 'Cq3kP0x9ZtV7bN1mL5sD2w',
    status: 'failed',
    request: { model: 'm', messages: [{ role: 'user', content: 'secret' }] },
    usage: { inputTokens: 1, outputTokens: 2 },
    error: new ChatError('upstream-truncated', 'secret', { cause: new Error('secret') }),
    upstream: 'first',
    timings: { startedAt: 0, acceptedMs: 1, firstDeltaMs: 2, durationMs: 3 },
  })

  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    {
      time: expect.any(String),
      level: 'info',
      replyId: 'Cq3kP0x9…',
      status: 'failed',
      code: 'upstream-truncated',
      model: 'm',
      upstream: 'first',
      usage: { inputTokens: 1, outputTokens: 2 },
      acceptedMs: 1,
      firstDeltaMs: 2,
      durationMs: 3,
    },
  ])
})

test.each([
  ['a short id, the half of it', 'reply-1', 'rep…'],
  ['an id that the message repeats', 'Cq3kP0x9ZtV7bN1mL5sD2w', 'Cq3kP0x9…'],
])('of %s is logged: never all', (_, replyId, logged) => {
  logError(new ChatError('internal', `The reply ${replyId} failed.`), { replyId })

  expect(lines[0]).not.toContain(replyId)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    message: `The reply ${logged} failed.`,
    replyId: logged,
  })
})
