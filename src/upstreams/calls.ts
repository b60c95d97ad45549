import { isObject } from '../checks.ts'
import type { Fields, Mutable, UpstreamDelta } from '../types.ts'
import { fields, word } from './json.ts'
import { malformed, MAX_CALLS, requireShallow } from './malformed.ts'

/**
 * Keeps the tool calls of one answer apart, whatever a vendor does with `index`, `id` and `name`.
 *
 * A call leaves in the order of appearance and with its identity in the first piece: it is held until its id and its
 * name are known, and every call before it has left.
 */
export interface CallBook {
  /** Takes `tool_calls` of one chunk: an array of pieces, or one of them. */
  read(pieces: unknown, out: UpstreamDelta[]): void
  /** Takes a `function_call`, which never has an id. It counts only where there are no `tool_calls`. */
  readLegacy(piece: unknown, out: UpstreamDelta[]): void
  /** Gives what is held: nothing more will become known of it. */
  flush(out: UpstreamDelta[]): void
  /** Whether something is held. */
  readonly holding: boolean
  /** Whether no call was seen. */
  readonly empty: boolean
}

interface Piece {
  readonly position: number | undefined
  readonly id: string | undefined
  readonly name: string | undefined
  readonly text: string
  readonly extra: Fields | undefined
}

interface Call {
  readonly index: number
  position: number | undefined
  id: string | undefined
  /** Whether an earlier call has this id: two calls must not share one. */
  readonly borrowed: boolean
  name: string | undefined
  extra: Fields | undefined
  /** All arguments so far. */
  text: string
  /** The chunk that spoke of it last. */
  chunk: number
  /** Whether its pieces repeat its name and have an id each, which is then that of no call. */
  relabelled: boolean
}

/** How many characters are held at most: what is longer leaves without what is missing. */
const MAX_HELD = 65_536

/** The place of the one call of `function_call`; places in `tool_calls` are never negative. */
const LEGACY = -1

/** Creates a book for one answer. */
export function createCallBook(): CallBook {
  const calls: Call[] = []
  const byPosition = new Map<number, Call>()
  let last: Call | undefined
  let left = 0
  let held = 0
  let chunk = 0

  function find(piece: Piece, at: number, count: number): Call | undefined {
    const call = candidate(piece, at, count)
    return call && fits(call, piece, chunk) ? call : undefined
  }

  /** The call where a piece, number `at` of `count` in its chunk, should belong to, going by its place. */
  function candidate({ position, id, name }: Piece, at: number, count: number): Call | undefined {
    if (position !== undefined) {
      return byPosition.get(position) ?? (last?.position === undefined ? last : undefined)
    }
    // Nameless pieces side by side belong to as many calls, in their order.
    if (id === undefined && name === undefined) return count > 1 ? calls[calls.length - count + at] : last
    // What comes late comes in the order of the calls.
    if (name === undefined) return calls.find((call) => call.index >= left && call.id === undefined)
    if (id === undefined) return calls.find((call) => call.index >= left && call.name === undefined) ?? last
    return last
  }

  /** The call that has the id of a piece, that of the same place first. Two calls of a careless server can share one. */
  function twinOf({ position, id, name }: Piece): Call | undefined {
    if (id === undefined) return undefined
    const named = calls.filter((call) => call.id === id && isSame(name, call.name))
    const near = named.findLast((call) => isSame(position, call.position))
    return near ?? (name === undefined ? named.at(-1) : undefined)
  }

  function add(piece: Piece, at: number, count: number, out: UpstreamDelta[]): void {
    const { position, id, name, text, extra } = piece
    const twin = twinOf(piece)
    if (twin && twin.text === text && isWhole(text)) {
      twin.name ??= name
      return // a vendor that says the whole call once more
    }
    let call = twin ?? find(piece, at, count)
    if (!call || (twin && begins(twin, piece))) {
      if (id === undefined && name === undefined && text === '') return
      if (calls.length >= MAX_CALLS) throw malformed(`more than ${MAX_CALLS} tool calls in one answer`)
      const borrowed = id !== undefined && calls.some((other) => other.id === id)
      const start = { text: '', chunk, relabelled: false }
      call = { index: calls.length, position, id, borrowed, name, extra, ...start }
      calls.push(call)
      book.empty = false
    }
    if (name !== undefined && id !== undefined && call.id !== undefined && id !== call.id)
      call.relabelled = true
    if (position !== undefined) byPosition.set(position, call)
    call.position ??= position
    call.id ??= id
    call.name ??= name
    call.extra ??= extra
    call.text += text
    call.chunk = chunk
    if (position !== LEGACY) last = call
    if (call.index >= left) held += text.length
    else if (extra) out.push({ type: 'tool-call', index: call.index, arguments: text, extra })
    else if (text !== '') out.push({ type: 'tool-call', index: call.index, arguments: text })
  }

  function release(out: UpstreamDelta[], all: boolean): void {
    for (let call = calls[left]; call && (all || isReady(call)); call = calls[++left]) {
      out.push({
        type: 'tool-call',
        index: call.index,
        ...(call.id && !call.borrowed ? { id: call.id } : {}),
        ...(call.name ? { name: call.name } : {}),
        arguments: call.text,
        ...(call.extra ? { extra: call.extra } : {}),
      })
      held -= call.text.length
    }
    book.holding = left < calls.length
  }

  const book: Mutable<CallBook> = {
    holding: false,
    empty: true,
    read(pieces, out) {
      const all: readonly unknown[] = Array.isArray(pieces) ? pieces : [pieces]
      chunk++
      for (let at = 0; at < all.length; at++) {
        const piece = all[at]
        if (isObject(piece)) add(toPiece(piece), at, all.length, out)
      }
      release(out, held > MAX_HELD)
    },
    readLegacy(piece, out) {
      if (last || !isObject(piece)) return
      chunk++
      add({ ...toPiece(piece), id: undefined, position: LEGACY }, 0, 1, out)
      release(out, false)
    },
    flush(out) {
      release(out, true)
    },
  }
  return book
}

function isReady(call: Call): boolean {
  return call.name !== undefined && (call.id !== undefined || call.position === LEGACY)
}

/** Whether a piece can be of this call, which is where its place leads to. Its id is that of no call. */
function fits(call: Call, piece: Piece, chunk: number): boolean {
  const { position, id, name, text } = piece
  if (id !== undefined && call.id !== undefined) {
    // A place that was given to the next call; or a server that makes up an id for every piece.
    if (position === undefined || call.name === undefined) return false
    return name === undefined ? goesOn(call, text) : repeatsName(call, piece)
  }
  if (name === undefined || call.name === undefined) return true
  if (name !== call.name) return false
  if (position === undefined && id === undefined && call.chunk === chunk) return false
  return !begins(call, piece)
}

/** Some servers repeat the name in every piece: it begins another call of the same tool only after whole arguments. */
function begins(call: Call, { name, text }: Piece): boolean {
  return name !== undefined && name === call.name && text.trimStart().startsWith('{') && isWhole(call.text)
}

/** vLLM repeats the name under an id for every piece: only the middle of an object cannot be the start of a call. */
function repeatsName(call: Call, piece: Piece): boolean {
  if (piece.name !== call.name) return false
  if (call.relabelled) return !begins(call, piece)
  const { text } = piece
  return call.text !== '' && text !== '' && !text.trimStart().startsWith('{') && !isWhole(call.text)
}

/** Whether two labels of a piece and a call do not contradict each other. */
function isSame<T>(one: T | undefined, other: T | undefined): boolean {
  return one === undefined || other === undefined || one === other
}

function goesOn(call: Call, text: string): boolean {
  return text !== '' && (call.text === '' ? text.trimStart().startsWith('{') : !isWhole(call.text))
}

/** Longer arguments are taken for unfinished: to parse them again with every piece would take longer each time. */
const MAX_CHECKED = 65_536

function isWhole(text: string): boolean {
  if (text.length > MAX_CHECKED || !text.trimEnd().endsWith('}')) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false // more is to come
  }
}

// A custom tool has its text in `input`; some servers leave out the object around name and arguments.
function toPiece(piece: Readonly<Record<string, unknown>>): Piece {
  const fn = fields(piece['function']) ?? fields(piece['custom']) ?? piece
  // Gemini's signature of its thoughts: without it the next request is refused.
  const { id, extra_content: extra } = piece
  if (extra) requireShallow(extra)
  return {
    position: toPosition(piece['index']),
    id: typeof id === 'number' ? String(id) : word(id),
    name: word(fn['name']),
    text: toText(fn['arguments'] ?? fn['input']),
    extra: isObject(extra) ? { extra_content: extra } : undefined,
  }
}

function toPosition(value: unknown): number | undefined {
  const position = typeof value === 'string' && value !== '' ? Number(value) : value
  return typeof position === 'number' && position >= 0 ? position : undefined
}

// Some servers give the arguments as an object instead of its text.
function toText(value: unknown): string {
  if (typeof value === 'string') return value
  requireShallow(value)
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : ''
}
