const space = /[ \t\r\n]*/y
const token =
  /[[\]{},:]|"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"|(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.])/y

/** What may come next. */
type Expected = 'value' | 'value or ]' | 'key' | 'key or }' | ':' | ', or end'

/**
 * Where a text stops being JSON (RFC 8259), as `line 3, column 7`; its end where something is missing there. To be
 * asked about text that `JSON.parse` refused: its own message holds a piece of the text, and often no place.
 */
export function placeOfJsonError(text: string): string {
  const lines = text.slice(0, errorOffset(text)).split('\n')
  return `line ${lines.length}, column ${(lines.at(-1) ?? '').length + 1}`
}

function errorOffset(text: string): number {
  const open: string[] = []
  let expected: Expected = 'value'
  for (let at = 0; ;) {
    space.lastIndex = at
    space.test(text)
    at = space.lastIndex
    token.lastIndex = at
    const next = token.exec(text)?.[0]
    const then: Expected | undefined = next === undefined ? undefined : afterToken(next, expected, open)
    if (next === undefined || then === undefined) return at
    expected = then
    at += next.length
  }
}

/** What may follow `token`; undefined when it may not stand here. Keeps track of what is open. */
function afterToken(token: string, expected: Expected, open: string[]): Expected | undefined {
  const inside = open.at(-1)
  if (token === ':') return expected === ':' ? 'value' : undefined
  if (token === ',') {
    if (expected !== ', or end' || !inside) return undefined
    return inside === '{' ? 'key' : 'value'
  }
  if (token === ']' || token === '}') {
    const empty = token === ']' ? 'value or ]' : 'key or }'
    if (inside !== (token === ']' ? '[' : '{') || (expected !== ', or end' && expected !== empty))
      return undefined
    open.pop()
    return ', or end'
  }
  if (expected === 'key' || expected === 'key or }') return token.startsWith('"') ? ':' : undefined
  if (expected !== 'value' && expected !== 'value or ]') return undefined
  if (token !== '[' && token !== '{') return ', or end'
  open.push(token)
  return token === '[' ? 'value or ]' : 'key or }'
}
