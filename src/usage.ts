import type { UpstreamDelta, Usage } from './types.ts'

export type UsageDelta = Extract<UpstreamDelta, { type: 'usage' }>

/** Adds up what several answers cost. None for none; fields that nobody counted stay absent. */
export function sumUsage(usages: Iterable<UsageDelta>): readonly UsageDelta[] {
  const [first, ...more] = usages
  return first ? [more.reduce(add, first)] : []
}

function add(one: UsageDelta, other: UsageDelta): UsageDelta {
  const sum = {
    type: 'usage',
    inputTokens: one.inputTokens + other.inputTokens,
    outputTokens: one.outputTokens + other.outputTokens,
    ...addOptional('cachedInputTokens', one, other),
    ...addOptional('reasoningTokens', one, other),
  } as const
  if (one.totalTokens === undefined && other.totalTokens === undefined) return sum
  return { ...sum, totalTokens: totalOf(one) + totalOf(other) }
}

function addOptional(
  name: 'cachedInputTokens' | 'reasoningTokens',
  one: Usage,
  other: Usage,
): Partial<Usage> {
  if (one[name] === undefined && other[name] === undefined) return {}
  return { [name]: (one[name] ?? 0) + (other[name] ?? 0) }
}

function totalOf({ totalTokens, inputTokens, outputTokens }: Usage): number {
  return totalTokens ?? inputTokens + outputTokens
}
