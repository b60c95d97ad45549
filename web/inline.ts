import { link, make } from './dom.ts'

// Every alternative excludes its own delimiter, so that no text, however hostile, is scanned more than a few times.
const INLINE =
  /\\([\\`*_[\]|#])|(`{1,2})([^`\n]+)\2|\*\*([^*\n]+)\*\*|(?<![\w*])\*([^*\s][^*\n]*)\*(?!\w)|(?<!!)\[([^[\]\n]+)\]\((https:\/\/[^\s()<>]+)\)/g

/** Turns escapes, `code`, **bold**, *italic* and [https links](https://…) into nodes; all else stays text. */
export function inline(text: string): (Node | string)[] {
  const parts: (Node | string)[] = []
  let at = 0
  for (const match of text.matchAll(INLINE)) {
    const [whole, escaped, , literal, bold, italic, label, url] = match
    parts.push(text.slice(at, match.index))
    at = match.index + whole.length
    if (escaped) parts.push(escaped)
    else if (literal) parts.push(make('code', '', literal))
    else if (bold) parts.push(make('strong', '', inline(bold)))
    else if (italic) parts.push(make('em', '', inline(italic)))
    else if (label && url) parts.push(link(url, label))
  }
  return [...parts, text.slice(at)]
}
