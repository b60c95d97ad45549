import { describe } from 'vitest'
import { findRedis } from './server.ts'

let answer: boolean | undefined

/**
 * Whether tests with a real Redis can run. Says so loudly when they cannot; in CI a missing Redis is a failure, because
 * a store that nobody tried would otherwise look tested.
 */
export function redisAvailable(): boolean {
  answer ??= look()
  return answer
}

/** `describe`, for tests that need a real Redis: skipped, with a word about it, where there is none. */
export function describeRedis(name: string, body: () => void): void
export function describeRedis(name: string, options: { readonly timeout: number }, body: () => void): void
export function describeRedis(
  name: string,
  ...rest: [() => void] | [{ readonly timeout: number }, () => void]
): void {
  const [options, body] = rest.length === 1 ? [{}, ...rest] : rest
  describe.skipIf(!redisAvailable())(name, options, body)
}

function look(): boolean {
  if (findRedis()) return true
  const advice =
    'Install Redis 7 (Debian: apt-get install redis-server) or set REDIS_SERVER_PATH to a redis-server.'
  if (process.env['CI'])
    throw new Error(`The Redis store cannot be tested: no redis-server was found. ${advice}`)
  console.warn(`\nSKIPPED: nothing is tested with a real Redis, because none was found. ${advice}\n`)
  return false
}
