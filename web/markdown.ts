import { make } from './dom.ts'
import { inline } from './inline.ts'
import { startsTable, table } from './table.ts'

interface Block {
  /** The line it begins on. */
  readonly line: number
  readonly node: Node
}

const FENCE = /^ {0,3}(`{3,}|~{3,}) *([\w+#.-]*)/
const HEADING = /^ {0,3}(#{1,6}) +(.*)/
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/
const QUOTE = /^ {0,3}> ?/
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( +|$)/
/** Deeper nesting is shown as text: `- - - - …` must not exhaust the stack. */
const MAX_DEPTH = 6

/**
 * Shows a growing text as a little Markdown, by building nodes: fences, lists, tables, quotes, headings, emphasis, links.
 *
 * Finished blocks are never touched again, so a long answer costs no more per piece than a short one. HTML is text,
 * an image is text, and a link is one only to https: nothing loads by being shown.
 */
export function createMarkdown(root: HTMLElement): { append(piece: string): void } {
  let open = ''
  let openNodes: Node[] = []
  return {
    append(piece) {
      open += piece
      const lines = open.split(/\r?\n/)
      const blocks = [...parse(lines, 0)]
      for (const node of openNodes) root.removeChild(node)
      for (const { node } of blocks) root.append(node)
      // A block that begins on the last line may yet turn out to belong to the one before it.
      const last = blocks.length - 1
      const keep = Math.max(0, blocks[last]?.line === lines.length - 1 ? last - 1 : last)
      openNodes = blocks.slice(keep).map(({ node }) => node)
      open = lines.slice(blocks[keep]?.line ?? 0).join('\n')
    },
  }
}

function* parse(lines: readonly string[], depth: number): Generator<Block> {
  let at = 0
  while (at < lines.length) {
    const line = at
    if (lines[at]?.trim() === '') {
      at++
      continue
    }
    const [node, next] = block(lines, at, depth)
    yield { line, node }
    at = next
  }
}

function block(lines: readonly string[], at: number, depth: number): [Node, number] {
  const line = lines[at] ?? ''
  const fence = FENCE.exec(line)
  if (fence) return code(lines, at, fence[1] ?? '', fence[2] ?? '')
  const heading = HEADING.exec(line)
  if (heading) return [make('h2', `level-${heading[1]?.length}`, inline(heading[2] ?? '')), at + 1]
  if (RULE.test(line)) return [make('hr'), at + 1]
  if (depth < MAX_DEPTH && QUOTE.test(line)) return quote(lines, at, depth)
  if (depth < MAX_DEPTH && ITEM.test(line)) return list(lines, at, depth)
  if (startsTable(lines, at)) return table(lines, at)
  let end = at + 1
  while (end < lines.length && !startsBlock(lines, end, depth)) end++
  return [make('p', '', inline(lines.slice(at, end).join('\n'))), end]
}

function startsBlock(lines: readonly string[], at: number, depth: number): boolean {
  const line = lines[at] ?? ''
  if (line.trim() === '' || FENCE.test(line) || HEADING.test(line) || startsTable(lines, at)) return true
  return depth < MAX_DEPTH && (QUOTE.test(line) || /^ {0,3}(?:[-*+]|1[.)]) /.test(line))
}

function code(lines: readonly string[], at: number, fence: string, language: string): [Node, number] {
  const indent = lines[at]?.indexOf(fence) ?? 0
  let end = at + 1
  while (end < lines.length && !isClosing(lines[end] ?? '', fence)) end++
  const text = lines.slice(at + 1, end).map((line) => dedent(line, indent))
  const node = make('pre', '', make('code', '', text.join('\n')))
  node.tabIndex = 0
  if (language) node.dataset.language = language
  return [node, end + 1]
}

function isClosing(line: string, fence: string): boolean {
  const text = line.trim()
  return text.startsWith(fence) && text === fence.charAt(0).repeat(text.length)
}

function quote(lines: readonly string[], at: number, depth: number): [Node, number] {
  let end = at
  while (QUOTE.test(lines[end] ?? '')) end++
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ''))
  return [make('blockquote', '', nodes(inner, depth + 1)), end]
}

function list(lines: readonly string[], at: number, depth: number): [Node, number] {
  const number = parseInt(lines[at] ?? '', 10)
  const node = make(Number.isNaN(number) ? 'ul' : 'ol')
  if (node instanceof HTMLOListElement) node.start = number
  let end = at
  for (;;) {
    const item = ITEM.exec(lines[end] ?? '')
    if (!item || /\d/.test(item[2] ?? '') === Number.isNaN(number)) break
    const width = item[3] ? item[0].length : item[0].length + 1
    const inner = [lines[end++]?.slice(width) ?? '']
    let next = nextText(lines, end)
    for (; lines[next]?.startsWith('  '); next = nextText(lines, end)) {
      while (end <= next) inner.push(dedent(lines[end++] ?? '', width))
    }
    node.append(make('li', '', nodes(inner, depth + 1)))
    if (ITEM.test(lines[next] ?? '')) end = next
  }
  return [node, end]
}

function nextText(lines: readonly string[], at: number): number {
  while (at < lines.length && lines[at]?.trim() === '') at++
  return at
}

function nodes(lines: readonly string[], depth: number): Node[] {
  return [...parse(lines, depth)].map(({ node }) => node)
}

function dedent(line: string, width: number): string {
  return line.slice(Math.min(width, line.length - line.trimStart().length))
}
