/** Random choices that repeat for the same seed. */
export interface Random {
  /** 0 ≤ n < 1. */
  next(): number
  /** 0 ≤ n < limit, whole. */
  below(limit: number): number
  /** True so often in 1. */
  chance(share: number): boolean
  pick<T>(items: readonly T[]): T
}

/** Creates random choices (mulberry32). */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (limit: number): number => Math.floor(next() * limit)
  return {
    next,
    below,
    chance: (share) => next() < share,
    pick: (items) => items[below(items.length)]!,
  }
}

const names =
  `model messages role content type text name id tools tool_calls function arguments parameters stream n
  stop seed temperature max_tokens response_format json_schema schema $ref image_url url parts state output input
  toolCallId metadata logit_bias reasoning cache_control __proto__ constructor toString prompt trigger messageId`.split(
    /\s+/,
  )

/** Values that are odd somewhere. */
export function oddValue(random: Random, depth = 3): unknown {
  const plain: readonly unknown[] = [
    null, true, false, 0, -1, 1e308, -1e-308, 2 ** 53, 0.1, '', ' ', '\u0000', '\ud83d', '\ude00x', 'a'.repeat(3000), '你'.repeat(500),
    '__proto__', 'constructor', 'http://10.0.0.1/', 'file:///etc/passwd', 'data:image/png;base64,iVBORw0KGgo=', '\u2028\r\n\r\ndata: x', '${7*7}',
    'user', 'assistant', 'tool', 'text', 'image_url', 'function', [], {}, [[]], [null], { a: null },
  ] // prettier-ignore
  if (depth === 0 || random.chance(0.6)) return random.pick(plain)
  if (random.chance(0.3)) return Array.from({ length: random.below(5) }, () => oddValue(random, depth - 1))
  if (random.chance(0.1)) return deep(random.below(200))
  const fields = Array.from({ length: random.below(5) }, () => [random.pick(names), oddValue(random, depth - 1)] as const)
  return Object.fromEntries(fields)
} // prettier-ignore

function deep(levels: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < levels; level++) value = level % 2 ? [value] : { a: value }
  return value
}

/** A copy of a JSON value with some of its nodes replaced, removed, doubled or added. */
export function mutated(value: unknown, random: Random, share = 0.06): unknown {
  if (random.chance(share)) return oddValue(random)
  if (Array.isArray(value)) {
    return value.flatMap((inner): unknown[] => {
      const item = mutated(inner, random, share)
      if (random.chance(share / 3)) return []
      return random.chance(share / 3) ? [item, item] : [item]
    })
  }
  if (typeof value !== 'object' || value === null) return value
  const fields = Object.entries(value)
    .filter(() => !random.chance(share / 2))
    .map(([name, inner]) => {
      const other = random.chance(share / 3) ? random.pick([random.pick(names), name.toUpperCase(), `${name}_`]) : name
      return [other, mutated(inner, random, share)] as const
    })
  if (random.chance(share)) fields.push([random.pick(names), oddValue(random)])
  return Object.fromEntries(fields)
} // prettier-ignore

/** A text with some of it lost, doubled, or replaced by what is special in JSON. */
export function garbled(text: string, random: Random): string {
  const at = random.below(text.length + 1)
  const end = Math.min(text.length, at + random.below(20))
  const odd = random.pick([
    '"', '\\', '{', '}', '[', ']', ',', ':', '\u0000', '\\u', '\\ud800', '1e9999', '-', '9'.repeat(400), '"__proto__":{"n":2},', '\ufeff', '/*x*/',
    'NaN', '[['.repeat(200), '[],'.repeat(4000), ' '.repeat(2000), '\\"'.repeat(200),
  ]) // prettier-ignore
  const choices = [
    text.slice(0, at),
    text.slice(0, at) + text.slice(end),
    text.slice(0, at) + odd + text.slice(at),
    text.slice(0, at) + odd + text.slice(end),
    text.slice(0, end) + text.slice(at),
  ]
  return random.pick(choices)
}
