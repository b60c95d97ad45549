import { isDeeper, isObject } from './checks.ts'

/** How deep the arguments of a call may be. */
const MAX_DEPTH = 64

/** The arguments of a call as the client gets them. Undefined where they are not JSON, or a client would refuse them. */
export function parseInput(text: string): unknown {
  // A tool without arguments is often called with none at all.
  if (text.trim() === '') return {}
  try {
    const input: unknown = JSON.parse(text)
    // It is written again inside a frame, and read by a page: a value too deep for either stays a text.
    return !isDeeper(input, MAX_DEPTH) && isReadable(jsonOf(input)) ? input : undefined
  } catch {
    return undefined // The caller reports it, with the text itself.
  }
}

/** The input of a call as one text that survives the way to the client and back; `''` unless it is an object. */
export function canonicalInput(input: unknown): string {
  return isObject(input) ? JSON.stringify(input) : ''
}

/** JSON of any value; of undefined that of null. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value ?? null)
}

/** The AI SDK refuses a frame with keys that could change a prototype: secure-json-parse.ts in @ai-sdk/provider-utils. */
export function isReadable(json: string): boolean {
  return !json.includes('"__proto__":') && !(json.includes('"constructor":') && json.includes('"prototype":'))
}
