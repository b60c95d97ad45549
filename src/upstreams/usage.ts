import type { Fields, Usage } from '../types.ts'
import { count, fields } from './json.ts'

/**
 * What a usage report says; undefined when it says nothing. `before` is what the same answer reported earlier: it
 * fills in the half that is missing or zero, and a report of nothing but zeros does not replace it.
 *
 * Names: OpenAI's API reference, Chat Completions and Responses; `prompt_cache_hit_tokens` is DeepSeek's,
 * `cached_tokens` Moonshot's.
 */
export function toUsage(value: unknown, before?: Usage): Usage | undefined {
  const usage = fields(value)
  if (!usage) return undefined
  const input = count(usage['prompt_tokens']) ?? count(usage['input_tokens'])
  const output = count(usage['completion_tokens']) ?? count(usage['output_tokens'])
  if (before && !input && !output) return undefined
  if (input === undefined && output === undefined) return undefined
  const inputTokens = input || before?.inputTokens || 0
  const outputTokens = output || before?.outputTokens || 0
  const cached = cachedIn(usage)
  const reasoning = reasoningIn(usage)
  const total = totalOf(usage, before !== undefined && !(input && output))
  return {
    ...(input && output ? {} : detailsOf(before)),
    inputTokens,
    outputTokens,
    ...(cached ? { cachedInputTokens: cached } : {}),
    ...(reasoning ? { reasoningTokens: reasoning } : {}),
    ...(total !== undefined && total !== inputTokens + outputTokens ? { totalTokens: total } : {}),
  }
}

/** A half of the answer was reported earlier: a total that is only this report's own sum leaves it out. */
function totalOf(usage: Fields, isHalf: boolean): number | undefined {
  const total = count(usage['total_tokens'])
  const input = count(usage['prompt_tokens']) ?? count(usage['input_tokens']) ?? 0
  const output = count(usage['completion_tokens']) ?? count(usage['output_tokens']) ?? 0
  return isHalf && total === input + output ? undefined : total
}

function cachedIn(usage: Fields): number | undefined {
  const details = fields(usage['prompt_tokens_details']) ?? fields(usage['input_tokens_details'])
  return (
    // A vendor may say 0 in one place and the number in another.
    count(details?.['cached_tokens']) ||
    count(usage['prompt_cache_hit_tokens']) ||
    count(usage['cached_tokens'])
  )
}

function reasoningIn(usage: Fields): number | undefined {
  const details = fields(usage['completion_tokens_details']) ?? fields(usage['output_tokens_details'])
  return count(details?.['reasoning_tokens']) || count(usage['reasoning_tokens'])
}

/** The total is left out: it was that of a part. */
function detailsOf(usage: Usage | undefined): Partial<Usage> {
  if (!usage) return {}
  const { totalTokens: _, ...rest } = usage
  return rest
}
