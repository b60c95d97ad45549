import { describe, expect, test } from 'vitest'
import type { FinishReason, UpstreamDelta } from '../../../src/types.ts'
import { createChunkReader } from '../../../src/upstreams/chunk.ts'

/** What a chunk with this choice says, and the finish after it. */
function read(choice: object): { out: UpstreamDelta[]; finish: UpstreamDelta | undefined } {
  const reader = createChunkReader()
  const out: UpstreamDelta[] = []
  reader.read({ choices: [{ index: 0, ...choice }] }, out)
  return { out, finish: reader.finish }
}

const words: Partial<Record<FinishReason, readonly string[]>> = {
  stop: ['stop', 'COMPLETE', 'normal', 'FINISH_REASON_STOP', 'end_turn'],
  length: [
    'length',
    'max_output_tokens',
    'max_completion_tokens',
    'model_context_window_exceeded',
    'FINISH_REASON_MAX_TOKENS',
  ],
  'content-filter': [
    'content_filter',
    'content_filter: PROHIBITED_CONTENT',
    'content_filtered',
    'PROHIBITED_CONTENT',
    'RECITATION',
    'BLOCKLIST',
    'SPII',
    'SAFETY',
    'sensitive',
    'guardrail_intervened',
    'refusal',
  ],
  'tool-calls': ['tool_calls', 'tool_call', 'finish_reason_tool_calls'],
}

describe("a vendor's word for how an answer ended", () => {
  const rows = Object.entries(words).flatMap(([reason, list]) => list.map((word) => [word, reason]))

  test.each(rows)('%s means %s', (finish_reason, reason) => {
    expect(read({ delta: {}, finish_reason }).finish).toEqual({ type: 'finish', reason })
  })

  test.each(['null', 'None', 'FINISH_REASON_UNSPECIFIED', 'NULL'])(
    '%s means that it did not',
    (finish_reason) => {
      const { out, finish } = read({ delta: { content: 'Hi' }, finish_reason })

      expect(out).toEqual([{ type: 'text', text: 'Hi' }])
      expect(finish).toBeUndefined()
    },
  )

  test.each(['error', 'network_error', 'ERROR_TOXIC'])('%s means that it failed', (finish_reason) => {
    expect(() => read({ delta: {}, finish_reason })).toThrow(
      expect.objectContaining({ code: 'upstream-error' }),
    )
  })
})

test.each([42, 0, 1.5])('a text that is a number is one: %d', (content) => {
  expect(read({ delta: { content } }).out).toEqual([{ type: 'text', text: String(content) }])
})
