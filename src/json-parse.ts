import { isDeeper, isObject } from './checks.ts'
import { ChatError } from './errors.ts'
import { createScan, MAX_DEPTH, MAX_SCHEMA_DEPTH, schemaFields, tooDeep } from './json-scan.ts'
import { createPacer, LARGE, pause, SLICE } from './pause.ts'

export const MAX_NODES = 10_000

/**
 * Parses a JSON body. Keys named `__proto__` are left out. Its values are counted before anything is parsed.
 *
 * @throws `ChatError`: `invalid-json` for an empty or malformed one, `limit-exceeded` for one that is nested too deeply,
 * or holds more values than `maxNodes`.
 */
export function parseJson(text: string, maxNodes = MAX_NODES): unknown {
  const scan = createScan(text, { maxNodes, maxDepth: MAX_SCHEMA_DEPTH + 1 })
  scan.step(text.length)
  requireSome(scan)
  // A byte order mark is no part of the text; not every decoder drops it.
  const body = parse(text.startsWith('\ufeff') ? text.slice(1) : text)
  requireShallow(body)
  // A copy of such a key would become the copy's prototype. Looked for only where the text can hold one.
  return prototypeKey.test(text) ? copied(body, (part) => part) : body
}

/**
 * The same. A large body does not keep the event loop: what takes long for many megabytes, reading through the text and
 * decoding its strings, is done in slices.
 */
export async function parseLargeJson(text: string, maxNodes = MAX_NODES): Promise<unknown> {
  if (text.length <= LARGE) return parseJson(text, maxNodes)
  const spans: Span[] = []
  const onString = (start: number, end: number): void => {
    if (end - start > SHORT) spans.push([start, end])
  }
  const scan = createScan(text, { maxNodes, maxDepth: MAX_SCHEMA_DEPTH + 1, onString })
  const pace = createPacer()
  while (!scan.step(SLICE)) await pace()
  requireSome(scan)
  const strings = await decode(text, spans)
  await pause()
  // Nothing that a client sends can be one of these names by accident, or by intent.
  const mark = `${crypto.randomUUID()}:`
  const body = parse(withMarks(text, spans, mark), false)
  await pause()
  requireShallow(body)
  const whole = copied(body, (part) =>
    part.startsWith(mark) ? strings[Number(part.slice(mark.length))]! : part,
  )
  await pause()
  return whole
}

/** Where a string literal begins and ends, quotes included. */
type Span = readonly [start: number, end: number]

/** Shorter strings are parsed together with what is around them. */
const SHORT = 128

function requireSome({ blank }: { readonly blank: boolean }): void {
  if (blank) throw new ChatError('invalid-json', 'The body is empty; expected a JSON object.')
}

function parse(text: string, withPosition = true): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    // The position helps, the quoted text could be somebody's words.
    const position = withPosition && /position \d+/.exec((error as Error).message)?.[0]
    throw new ChatError('invalid-json', `The body is not valid JSON${position ? ` (at ${position})` : ''}.`)
  }
}

/** The text with a short name in place of each long string. */
function withMarks(text: string, spans: readonly Span[], mark: string): string {
  const pieces: string[] = []
  let from = text.startsWith('\ufeff') ? 1 : 0
  for (const [index, [start, end]] of spans.entries()) {
    pieces.push(text.slice(from, start), `"${mark}${index}"`)
    from = end
  }
  pieces.push(text.slice(from))
  return pieces.join('')
}

/** The strings that literals stand for. */
async function decode(text: string, spans: readonly Span[]): Promise<readonly string[]> {
  const pace = createPacer()
  const strings: string[] = []
  for (const [start, end] of spans) {
    let string = ''
    for (let from = start + 1; from < end - 1;) {
      const to = Math.min(end - 1, from + SLICE)
      const cut = to === end - 1 ? to : cutBetween(text, from, to)
      string += parse(`"${text.slice(from, cut)}"`, false) as string // a literal, or it throws
      await pace()
      from = cut
    }
    strings.push(string)
  }
  return strings
}

/** The end of a slice that begins at `from`: `to`, or a little before that where an escape would be cut. */
function cutBetween(text: string, from: number, to: number): number {
  const isBackslash = (at: number): boolean => text.charCodeAt(at) === 0x5c
  // The longest escape is `\u0000`.
  let at = to - 1
  while (at > to - 6 && !isBackslash(at)) at--
  if (!isBackslash(at)) return to
  let first = at
  while (first > from && isBackslash(first - 1)) first--
  // The second one of two is no beginning.
  if ((at - first) % 2 === 1) return to
  const length = text[at + 1] === 'u' ? 6 : 2
  return at + length <= to ? to : at
}

/** `__proto__` as JSON can write it: as it is, or with one of its letters escaped. */
const prototypeKey = /"__proto__"|\\u00(?:5f|6f|7[024])/i

/** A copy of the body without keys named `__proto__`, and with each text, keys too, as `read` gives it. */
function copied(value: unknown, read: (text: string) => string): unknown {
  if (typeof value === 'string') return read(value)
  if (Array.isArray(value)) return value.map((inner) => copied(inner, read))
  if (!isObject(value)) return value
  const fields = Object.entries(value).map(([name, inner]) => [read(name), copied(inner, read)] as const)
  return Object.fromEntries(fields.filter(([name]) => name !== '__proto__'))
}

function requireShallow(body: unknown): void {
  const deep = isObject(body)
    ? Object.entries(body).some(([name, value]) =>
        isDeeper(value, schemaFields.includes(name) ? MAX_SCHEMA_DEPTH : MAX_DEPTH - 1),
      )
    : isDeeper(body, MAX_DEPTH)
  if (deep) throw tooDeep()
}
