const runs = /\n+| ?[\p{L}\p{M}]+| ?\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]{1,4}| +|[\s\S]/gu

/**
 * Splits text the way a model emits it: words with their leading space, long words in pieces of about four
 * characters, punctuation and line breaks by themselves. The pieces join to the text; no code point is split.
 */
export function splitTokens(text: string): string[] {
  return (text.match(runs) ?? []).flatMap(pieces)
}

/** Counts the pieces of a text, as `usage` reports them. */
export function countTokens(text: string): number {
  return splitTokens(text).length
}

function pieces(run: string): string[] {
  // Other scripts take more tokens per character in real tokenizers, too.
  const latin = /^[\x20-\x7e\n]*$/.test(run)
  if (latin && run.length <= 7) return [run]
  const points = [...run]
  const size = latin ? 4 : 2
  const parts: string[] = []
  for (let at = 0; at < points.length; at += size) parts.push(points.slice(at, at + size).join(''))
  return parts
}
