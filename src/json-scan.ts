import { ChatError } from './errors.ts'

export interface ScanOptions {
  /** Values that the text may hold: arrays, objects, strings, numbers, `true`, `false`, `null`. */
  readonly maxNodes: number
  /** Arrays and objects within each other. */
  readonly maxDepth: number
  /** Is given the position of every string: of its opening quote, and after its closing one. */
  readonly onString?: ((start: number, end: number) => void) | undefined
}

export interface Scan {
  /** Goes on for about `length` characters. True when the whole text has been read. */
  step(length: number): boolean
  /** Whether there was nothing but white space so far. */
  readonly blank: boolean
}

/** Characters of all keys together. */
const MAX_KEYS = 1024 * 1024
/** Characters of a number, or of anything else that is no string. */
const MAX_LITERAL = 1000
/** After so many characters of a string without an escape, its end is searched for: slower to begin, then much faster. */
const SEARCH_AFTER = 16

/**
 * Counts what a JSON text holds, without parsing it: one pass, no copies, and never more than a step at a time. What is
 * no JSON is not noticed here.
 *
 * A step throws a `ChatError` `limit-exceeded` as soon as a limit is exceeded.
 */
export function createScan(text: string, { maxNodes, maxDepth, onString }: ScanOptions): Scan {
  let at = 0
  let nodes = 1
  let depth = 0
  /** Whether an array or object has just begun: what follows is its first value, or its end. */
  let opened = false
  let blank = true
  /** Where the string began that is being read. */
  let start = -1
  /** Characters of the last string, and of all that were keys. */
  let last = 0
  let keys = 0
  let literal = 0
  // The next ones of their kind, as far as they were searched for.
  let quote = -1
  let backslash = -1

  function count(): void {
    if (++nodes > maxNodes) throw tooManyNodes(maxNodes)
  }

  /** Reads on in a string, to its end where that is before `end`. */
  function readString(end: number): void {
    for (let plain = 0; at < end;) {
      const code = text.charCodeAt(at)
      if (code === QUOTE) {
        at++
        last = at - start - 2
        onString?.(start, at)
        start = -1
        return
      }
      at += code === BACKSLASH ? 2 : 1
      plain = code === BACKSLASH ? 0 : plain + 1
      if (plain < SEARCH_AFTER) continue
      if (quote < at) quote = find('"')
      if (backslash < at) backslash = find('\\')
      at = Math.min(quote, backslash)
      plain = 0
    }
  }

  function find(character: string): number {
    const found = text.indexOf(character, at)
    return found === -1 ? text.length : found
  }

  function read(code: number): void {
    blank = false
    if (opened && code !== CLOSED_BRACKET && code !== CLOSED_BRACE) count()
    opened = code === BRACKET || code === BRACE
    if (opened && ++depth > maxDepth) throw tooDeep()
    else if (code === CLOSED_BRACKET || code === CLOSED_BRACE) depth--
    else if (code === COMMA) count()
    else if (code === COLON && (keys += last) > MAX_KEYS) throw tooLong('The keys', MAX_KEYS)
    literal = isMark(code) ? 0 : literal + 1
    if (literal > MAX_LITERAL) throw tooLong('A number', MAX_LITERAL)
  }

  return {
    step(length) {
      const end = Math.min(text.length, at + length)
      while (at < end) {
        if (start !== -1) {
          readString(end)
          continue
        }
        const code = text.charCodeAt(at)
        if (code > SPACE) read(code)
        if (code === QUOTE) start = at
        at++
      }
      return at >= text.length
    },
    get blank() {
      return blank
    },
  }
}

function isMark(code: number): boolean {
  return code === QUOTE || code === COMMA || code === COLON || isBracket(code)
}

function isBracket(code: number): boolean {
  return code === BRACKET || code === CLOSED_BRACKET || code === BRACE || code === CLOSED_BRACE
}

const SPACE = 0x20
const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSED_BRACKET = 0x5d
const BRACE = 0x7b
const CLOSED_BRACE = 0x7d

/** Arrays and objects within each other: deeper bodies are refused before anything walks them. */
export const MAX_DEPTH = 32
/** The same below the fields that hold a JSON Schema, which takes several levels for one of what it describes. */
export const MAX_SCHEMA_DEPTH = 96
export const schemaFields = ['response_format', 'tools']

/** The refusal of a body that is nested too deeply. */
export function tooDeep(): ChatError {
  const allowed = `${MAX_DEPTH} levels deep (${MAX_SCHEMA_DEPTH} below \`${schemaFields.join('` and `')}\`)`
  return new ChatError('limit-exceeded', `The body is nested more than ${allowed}.`)
}

function tooManyNodes(maxNodes: number): ChatError {
  const text = `The body may hold at most ${maxNodes} JSON values (MAX_JSON_NODES). Send fewer messages, parts or tools.`
  return new ChatError('limit-exceeded', text)
}

function tooLong(what: string, most: number): ChatError {
  return new ChatError('limit-exceeded', `${what} in the body may have at most ${most} characters.`)
}
