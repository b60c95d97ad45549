import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { OptionsError, readOptions } from '../../handlers/options.ts'
import { signingSecretFor } from '../../handlers/signing.ts'

const key = 'sk-0123456789abcdefghij'
const clientTool = { name: 'confirm', schema: {} }
const none = {
  signingSecret: undefined,
  apiKey: undefined,
  upstreams: undefined,
  redisUrl: undefined,
  tools: [],
}
let lines: string[]
beforeEach(() => {
  lines = []
  vi.spyOn(console, 'error').mockImplementation((line: string) => void lines.push(line))
})
afterEach(() => void vi.restoreAllMocks())

test('the secret is the one that is set', () => {
  const { signingSecret } = readOptions({ SIGNING_SECRET: 'sixteen-letters!' })

  expect(signingSecretFor({ ...none, signingSecret, apiKey: key })).toBe('sixteen-letters!')
})

test('a short one is a problem, and is not shown', () => {
  const read = () => readOptions({ SIGNING_SECRET: 'fifteen-letters' })

  expect(read).toThrow(OptionsError)
  expect(read).toThrow('SIGNING_SECRET must have at least 16 characters; got 15')
  expect(read).not.toThrow('fifteen-letters')
})

test('without one it is derived from the keys of the upstreams: the same everywhere, and none of them', () => {
  const upstream = (apiKey: string) => ({ name: 'a', baseURL: 'http://a.test', apiKey })
  const derived = signingSecretFor({ ...none, apiKey: key })

  expect(signingSecretFor({ ...none, apiKey: key })).toBe(derived)
  expect(signingSecretFor({ ...none, upstreams: [upstream(key)] })).toBe(derived)
  expect(signingSecretFor({ ...none, apiKey: `${key}k` })).not.toBe(derived)
  expect(derived).toMatch(/^[\w-]{43}$/)
  expect(derived).not.toContain(key)
})

test.each([undefined, 'none', 'ollama', 'simulated', 'x'.repeat(19)])(
  'with a key that can be guessed it is random: %s',
  (apiKey) => {
    const secrets = [signingSecretFor({ ...none, apiKey }), signingSecretFor({ ...none, apiKey })]

    expect(new Set(secrets).size).toBe(2)
  },
)

test.each([
  [
    'instances share their replies and a tool runs in the client',
    { redisUrl: 'redis://r', tools: [clientTool] },
    1,
  ],
  ['no tool runs in the client', { redisUrl: 'redis://r', tools: [{ ...clientTool, execute: () => 1 }] }, 0],
  ['there is one instance', { tools: [clientTool] }, 0],
  ['there is a key', { redisUrl: 'redis://r', tools: [clientTool], apiKey: key }, 0],
])('a warning says that it is random where %s: %#', (_, more, count) => {
  signingSecretFor({ ...none, ...more })

  expect(lines.filter((line) => line.includes('SIGNING_SECRET is not set'))).toHaveLength(count)
})
