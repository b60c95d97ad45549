import { make } from './dom.ts'
import { inline } from './inline.ts'

const TABLE_RULE = /^\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?$/

/** Whether a table begins here: a line with a bar, and a line of dashes under it. */
export function startsTable(lines: readonly string[], at: number): boolean {
  return !!lines[at]?.includes('|') && TABLE_RULE.test((lines[at + 1] ?? '').trim())
}

/** Makes a table that scrolls by itself when it is wide, and tells the line after it. */
export function table(lines: readonly string[], at: number): [Node, number] {
  const head = make(
    'tr',
    '',
    cells(lines[at] ?? '').map((text) => make(text ? 'th' : 'td', '', inline(text))),
  )
  const body = make('tbody')
  let end = at + 2
  for (; lines[end]?.includes('|'); end++) {
    body.append(
      make(
        'tr',
        '',
        cells(lines[end] ?? '').map((text) => make('td', '', inline(text))),
      ),
    )
  }
  const frame = make('div', 'table', make('table', '', make('thead', '', head), body))
  frame.tabIndex = 0
  return [frame, end]
}

function cells(line: string): string[] {
  const inner = line
    .trim()
    .replace(/^\|/, '')
    .replace(/(?<!\\)\|$/, '')
  return inner.split(/(?<!\\)\|/).map((text) => text.trim())
}
