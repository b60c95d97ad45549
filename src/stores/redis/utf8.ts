/** How many bytes a text takes as UTF-8. A lone surrogate counts as the three bytes that are written for it. */
export function utf8Length(text: string): number {
  let bytes = text.length
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit < 0x80) continue
    // Each half of a pair has two of its four bytes.
    bytes += unit < 0x800 || isPaired(text, at, unit) ? 1 : 2
  }
  return bytes
}

function isPaired(text: string, at: number, unit: number): boolean {
  if (unit < 0xd800 || unit > 0xdfff) return false
  const other = text.charCodeAt(unit < 0xdc00 ? at + 1 : at - 1)
  return unit < 0xdc00 ? other >= 0xdc00 && other <= 0xdfff : other >= 0xd800 && other <= 0xdbff
}
