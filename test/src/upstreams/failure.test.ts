import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ChatError } from '../../../src/errors.ts'
import { failureInStream, failureOfEvent, failureOfStatus } from '../../../src/upstreams/failure.ts'

const directory = process.env['RECORDINGS_DIR']
if (!directory && process.env['CI']) throw new Error('RECORDINGS_DIR must be set in CI.')
if (!directory)
  console.warn('Skipped: the recorded refusals of real servers. Set RECORDINGS_DIR to have them.')

describe.skipIf(!directory)('a recorded refusal', () => {
  const files = directory ? readdirSync(directory).filter((name) => /-error-\d+\.json$/.test(name)) : []
  const codes: Record<string, [string, number]> = {
    400: ['upstream-rejected', 400],
    401: ['upstream-auth', 502],
    404: ['upstream-rejected', 404],
    429: ['rate-limited', 429],
  }

  test.each(files)('is understood: %s', (name) => {
    const status = Number(/(\d+)\.json$/.exec(name)?.[1])
    const body = JSON.parse(readFileSync(join(directory ?? '', name), 'utf8')) as unknown

    const failure = failureOfStatus({ status, body })

    expect([failure.code, failure.status]).toEqual(codes[status])
    expect(failure.message).not.toContain('no reason was given')
    expect(failure.message).not.toMatch(/sk-|\*\*\*/)
  })
})

describe('how long to wait', () => {
  beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 12) }))
  afterEach(() => void vi.useRealTimers())

  test.each<[Record<string, string>, number | undefined]>([
    [{ 'retry-after': '7' }, 7000],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': '1.5' }, 1500],
    [{ 'retry-after': 'Thu, 01 Jan 2026 12:00:20 GMT' }, 20_000],
    [{ 'retry-after': 'Thu, 01 Jan 2026 11:00:00 GMT' }, undefined],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '-3' }, undefined],
    [{ 'retry-after': '' }, undefined],
    [{ 'retry-after-ms': '250', 'retry-after': '7' }, 250],
    [{}, undefined],
  ])('is read from %j', (fields, ms) => {
    const headers = { get: (name: string) => fields[name] ?? null }

    expect(failureOfStatus({ status: 429, body: {}, headers }).retryAfterMs).toBe(ms)
  })
})

describe('the words of a refusal', () => {
  function words(message: unknown): string {
    return failureOfStatus({ status: 400, body: { error: { message } } }).message
  }

  test.each([
    ['Invalid key sk-proj-abc123DEF456 given', 'Invalid key [key] given'],
    ['Use Bearer abcdefgh.ijk please', 'Use Bearer [key] please'],
    ['two\nlines\u0000 and\u001b[31m colour', 'two lines and[31m colour'],
  ])('are made fit to be shown: %j', (message, shown) => {
    expect(words(message)).toBe(`The model's server refused the request (HTTP 400): ${shown}`)
  })

  test('are short, and there are always some', () => {
    expect(words('x'.repeat(5000)).length).toBeLessThan(400)
    expect(words('')).toContain('no reason was given')
    expect(words('<html>Bad</html>')).not.toContain('html')
  })
})

test.each<[number, string, number, boolean]>([
  [400, 'upstream-rejected', 400, false],
  [401, 'upstream-auth', 502, false],
  [403, 'upstream-auth', 502, false],
  [404, 'upstream-rejected', 404, false],
  [408, 'upstream-unavailable', 502, true],
  [422, 'upstream-rejected', 422, false],
  [429, 'rate-limited', 429, true],
  [500, 'upstream-unavailable', 502, true],
  [503, 'upstream-unavailable', 503, true],
  [529, 'upstream-unavailable', 503, true],
  [304, 'upstream-bad-response', 502, false],
])('status %i is %s: our status is %i, asking again helps: %s', (status, code, ours, retryable) => {
  expect(failureOfStatus({ status, body: undefined })).toMatchObject({ code, status: ours, retryable })
})

test('an account without money is not asked again', () => {
  const body = { error: { code: 'insufficient_quota', message: 'Pay.' } }

  expect(failureOfStatus({ status: 429, body })).toMatchObject({ code: 'rate-limited', retryable: false })
})

test('no shape of a body makes it throw', () => {
  const body = fc.oneof(fc.jsonValue(), fc.record({ error: fc.jsonValue() }), fc.string())
  fc.assert(
    fc.property(fc.integer({ min: 300, max: 599 }), body, (status, given) => {
      expect(failureOfStatus({ status, body: given })).toBeInstanceOf(ChatError)
      expect(failureOfEvent(given)).toBeInstanceOf(ChatError)
      if (typeof given === 'object' && given !== null) failureInStream({ ...given })
    }),
    { numRuns: 500 },
  )
})
