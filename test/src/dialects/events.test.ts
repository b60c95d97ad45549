import { createParser, type EventSourceMessage } from 'eventsource-parser'
import fc from 'fast-check'
import { anyWords } from '../words.ts'
import { describe, expect, test } from 'vitest'
import { events, eventSource } from '../../../src/dialects/events.ts'
import type { ChatDelta, Encoder } from '../../../src/types.ts'

/** What a standard reader makes of bytes of a stream. */
function parse(text: string): { messages: EventSourceMessage[]; comments: string[]; errors: unknown[] } {
  const messages: EventSourceMessage[] = []
  const comments: string[] = []
  const errors: unknown[] = []
  const parser = createParser({
    onEvent: (message) => messages.push(message),
    onComment: (comment) => comments.push(comment),
    onError: (error) => errors.push(error),
  })
  parser.feed(new TextDecoder().decode(new TextEncoder().encode(text)))
  return { messages, comments, errors }
}

describe('what is written is what is read', () => {
  const text = anyWords
  const count = fc.nat()
  const delta: fc.Arbitrary<ChatDelta> = fc.oneof(
    fc.record({ type: fc.constantFrom('text' as const, 'reasoning' as const, 'refusal' as const), text }),
    fc.record(
      { type: fc.constant('tool-call' as const), index: count, id: text, name: text, arguments: text },
      { requiredKeys: ['type', 'index', 'arguments'] },
    ),
    fc.record({ type: fc.constant('source' as const), url: text, title: text }),
    fc.record({ type: fc.constant('usage' as const), inputTokens: count, outputTokens: count }),
    fc.record({ type: fc.constant('finish' as const), reason: fc.constant('other' as const), raw: text }),
    fc.record({ type: fc.constant('start' as const), id: text, model: text, createdAt: count }),
    fc.record({
      type: fc.constant('error' as const),
      code: fc.constant('internal' as const),
      message: text,
      retryable: fc.boolean(),
    }),
  )

  const encoders: [string, () => Encoder, (seq: number) => string][] = [
    ['events', () => events.createEncoder({ replyId: 'r-1' }), (seq) => String(seq)],
    ['a bare EventSource', () => eventSource.createEncoder({ replyId: 'r-1' }), (seq) => `r-1.${seq}`],
  ]

  test.each(encoders)('for %s, whatever a model says', (_, createEncoder, id) => {
    fc.assert(
      fc.property(fc.array(delta, { maxLength: 8 }), (deltas) => {
        const encode = createEncoder()

        const { messages, comments, errors } = parse(deltas.map((one, i) => encode(one, i + 1)).join(''))

        expect(errors).toEqual([])
        expect(comments).toEqual([])
        expect(messages.map(({ data }) => JSON.parse(data) as unknown)).toEqual(deltas)
        expect(messages.map((message) => message.id)).toEqual(deltas.map((_, i) => id(i + 1)))
        expect(messages.every((message) => message.event === undefined)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('also when it is a megabyte long, or empty', () => {
    const encode = events.createEncoder({ replyId: 'r' })
    for (const long of ['', 'é\r\n'.repeat(350_000), '\ud83d'.repeat(1_000_000)]) {
      const { messages } = parse(encode({ type: 'text', text: long }, 1))
      expect((JSON.parse(messages[0]?.data ?? '') as { text: string }).text === long).toBe(true)
    }
  })

  test('a frequent delta is written as any other', () => {
    fc.assert(
      fc.property(delta, (one) => {
        expect(events.createEncoder({ replyId: 'r' })(one, 3)).toBe(`id: 3\ndata: ${JSON.stringify(one)}\n\n`)
      }),
    )
  })
})
