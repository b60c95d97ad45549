import { describe, expect, test } from 'vitest'
import type { UpstreamDelta, Usage } from '../../../src/types.ts'
import { createChunkReader } from '../../../src/upstreams/chunk.ts'

/** What the usage is after these chunks. */
function usageOf(...chunks: readonly unknown[]): Usage | undefined {
  const reader = createChunkReader()
  const out: UpstreamDelta[] = []
  for (const chunk of chunks) reader.read(chunk, out)
  return reader.usage
}

/** A chunk with one choice. */
function choice(fields: object): object {
  return { object: 'chat.completion.chunk', choices: [{ index: 0, ...fields }] }
}

describe('the usage', () => {
  const one: Usage = { inputTokens: 3, outputTokens: 4 }
  const report = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 }
  const nothing = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }

  test.each<[string, object[], Usage | undefined]>([
    ['of a last chunk', [{ choices: [], usage: report }], one],
    ['of a chunk that has a choice', [{ ...choice({ delta: { content: '' } }), usage: report }], one],
    ['inside of a choice', [choice({ delta: {}, finish_reason: 'stop', usage: report })], one],
    ['of x_groq', [{ choices: [], x_groq: { id: 'req_1', usage: report } }], one],
    ['of the last report', [{ usage: { prompt_tokens: 3, completion_tokens: 1 } }, { usage: report }], one],
    ['stays when null follows', [{ usage: report }, { usage: null }, { usage: {} }, { usage: [] }], one],
    ['stays when zeros follow', [{ usage: report }, { usage: nothing }], one],
    ['is zero when nothing else was said', [{ usage: nothing }], { inputTokens: 0, outputTokens: 0 }],
    [
      'of the first report where the last one has a zero',
      [
        { usage: { prompt_tokens: 10, completion_tokens: 1, total_tokens: 11 } },
        { usage: { prompt_tokens: 0, completion_tokens: 50, total_tokens: 50 } },
      ],
      { inputTokens: 10, outputTokens: 50 },
    ],
    ['in numbers that are texts', [{ usage: { prompt_tokens: '3', completion_tokens: '4' } }], one],
    ['in two halves', [{ usage: { prompt_tokens: 3 } }, { usage: { completion_tokens: 4 } }], one],
    [
      'in two halves, the first with details',
      [
        { usage: { prompt_tokens: 3, prompt_tokens_details: { cached_tokens: 2 }, total_tokens: 9 } },
        { usage: { completion_tokens: 4, total_tokens: 7 } },
      ],
      { ...one, cachedInputTokens: 2 },
    ],
    ['in the words of another API', [{ usage: { input_tokens: 3, output_tokens: 4 } }], one],
    ['absent', [choice({ delta: { content: '' } })], undefined],
    ['of half a report', [{ usage: { prompt_tokens: 3 } }], { inputTokens: 3, outputTokens: 0 }],
    [
      'that cannot be',
      [{ usage: { prompt_tokens: -1, completion_tokens: 'four', total_tokens: 3 } }],
      undefined,
    ],
    [
      'that cannot be, after one that can',
      [{ usage: report }, { usage: { prompt_tokens: -1, completion_tokens: 5 } }],
      { inputTokens: 3, outputTokens: 5 },
    ],
    [
      'with cached tokens',
      [{ usage: { ...report, prompt_tokens_details: { cached_tokens: 2 } } }],
      { ...one, cachedInputTokens: 2 },
    ],
    [
      'with cached tokens as DeepSeek says it',
      [{ usage: { ...report, prompt_cache_hit_tokens: 2 } }],
      { ...one, cachedInputTokens: 2 },
    ],
    [
      'with cached tokens as Moonshot says it',
      [{ usage: { ...report, cached_tokens: 2 } }],
      { ...one, cachedInputTokens: 2 },
    ],
    [
      'with reasoning tokens',
      [{ usage: { ...report, completion_tokens_details: { reasoning_tokens: 2 } } }],
      { ...one, reasoningTokens: 2 },
    ],
    [
      'with reasoning tokens at the top',
      [{ usage: { ...report, reasoning_tokens: 2 } }],
      { ...one, reasoningTokens: 2 },
    ],
    ['with a total of its own', [{ usage: { ...report, total_tokens: 20 } }], { ...one, totalTokens: 20 }],
    ['with a total that cannot be', [{ usage: { ...report, total_tokens: -1 } }], one],
  ])('%s', (_, chunks, usage) => {
    expect(usageOf(...chunks)).toEqual(usage)
  })
})
