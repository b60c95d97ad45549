import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ChatDelta } from '../../src/types.ts'
import { anyWords } from '../src/words.ts'
import { eager, read } from './place.ts'
import { type Answer, createService, decline, hangUp, open, refuse, toEvents } from './service.ts'

const service = createService()

const delta: fc.Arbitrary<ChatDelta> = fc.oneof(
  fc.record({ type: fc.constantFrom('text' as const, 'reasoning' as const), text: anyWords }),
  fc.record({ type: fc.constant('source' as const), url: anyWords }),
)

const reply: fc.Arbitrary<readonly ChatDelta[]> = fc
  .tuple(
    fc.array(delta, { maxLength: 12 }),
    fc.constantFrom<ChatDelta>(
      { type: 'finish', reason: 'stop' },
      { type: 'error', code: 'upstream-truncated', message: 'It broke off.', retryable: true },
    ),
  )
  .map(([middle, last]) => [{ type: 'start', id: 'reply-1', model: 'm', createdAt: 0 }, ...middle, last])

/** What one connection does: how much of what is missing it sends, in what pieces, and how it ends. */
interface Connection {
  readonly part: number
  readonly pieces: readonly number[]
  readonly back: number
  readonly end: 'break' | 'end'
}

const connection: fc.Arbitrary<Connection | 'hang up' | 'bad gateway' | 'busy'> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      part: fc.double({ min: 0, max: 1, noNaN: true }),
      pieces: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }),
      back: fc.nat(3),
      end: fc.constantFrom('break' as const, 'end' as const),
    }),
  },
  { weight: 1, arbitrary: fc.constantFrom('hang up' as const, 'bad gateway' as const, 'busy' as const) },
)

function toAnswer(log: readonly ChatDelta[], how: Connection | 'hang up' | 'bad gateway' | 'busy'): Answer {
  if (how === 'hang up') return hangUp
  if (how === 'bad gateway') return refuse(502, '<html>Bad Gateway</html>')
  if (how === 'busy') return decline(503, 'overloaded')
  return async (exchange) => {
    // Some services send again what the reader has: it is dropped.
    const after = Math.max(0, Number(exchange.headers['last-event-id'] ?? 0) - how.back)
    const bytes = Buffer.from(toEvents(log, after))
    const sent = bytes.subarray(0, Math.round(how.part * bytes.length))
    open(exchange)
    for (let at = 0, n = 0; at < sent.length; n++) {
      const size = how.pieces[n % how.pieces.length]!
      exchange.response.write(sent.subarray(at, at + size))
      at += size
      if (n < 20) await turn()
    }
    if (how.end === 'end') exchange.response.end()
    else exchange.response.socket?.destroySoon()
  }
}

test('whatever the network does, each delta is given once, in order, and the question is asked once', async () => {
  let n = 0
  await fc.assert(
    fc.asyncProperty(reply, fc.array(connection, { maxLength: 8 }), async (log, connections) => {
      const key = `key-${++n}`
      const begun = service.replies.size
      const from = service.exchanges.length
      const rest = { part: 1, pieces: [4096], back: 0, end: 'end' as const }
      service.answers = [...connections, ...Array.from({ length: 3 }, () => rest)].map((how) =>
        toAnswer(log, how),
      )

      const client = eager({ url: service.url, prompt: 'hi', key })
      const { got, thrown } = await read(client)

      expect(thrown).toBeUndefined()
      expect(got).toEqual(log)
      expect(client.cursor).toBe(log.length)
      expect(service.replies.size - begun).toBe(1)
      const keys = service.exchanges.slice(from).map(({ headers }) => headers['idempotency-key'] ?? key)
      expect(new Set(keys)).toEqual(new Set([key]))
    }),
    { numRuns: 300 },
  )
}, 120_000)
