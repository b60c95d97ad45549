import { dereference, type Schema } from '@cfworker/json-schema'
import { isObject, kindOf } from './checks.ts'

/** JSON Schema as the validator takes it. */
export interface ReadSchema {
  readonly schema: Schema
  /** Every part of it by its absolute address, as `$ref` finds them. */
  readonly lookup: Record<string, Schema | boolean>
}

/**
 * Reads a schema once and whole, so that what is broken in it is said at the start and not at every call. Writes
 * into it.
 *
 * @throws an `Error` that names the place, as a JSON pointer, for a word of the wrong kind, a pattern that does not
 * compile, a `$ref` that leads nowhere or outside, and one that leads back to itself without a step into the value.
 */
export function readJsonSchema(schema: Schema): ReadSchema {
  const lookup = dereference(schema)
  const seen = new Map<Schema, Place>()
  const waiting: [part: unknown, at: string][] = [[schema, '#']]
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [part, at] = next
    if (typeof part === 'boolean') continue
    if (!isObject(part)) throw broken(at, 'must be a schema, which is an object, true or false', part)
    if (seen.has(part)) continue
    checkWords(part, at)
    const parts = partsOf(part, at)
    const refs = refsOf(part, at, lookup)
    for (const [step, place] of parts) waiting.push([step, place])
    // Last, so that a part is named by its own place.
    for (const [step, place] of refs) waiting.unshift([step, place])
    const same = [...parts, ...refs].filter((step) => step[2])
    seen.set(part, { at, same: same.flatMap(([step]) => (isObject(step) ? [step] : [])) })
  }
  requireEnd(seen)
  for (const part of seen.keys()) limitUniqueItems(part)
  return { schema, lookup }
}

interface Place {
  readonly at: string
  /** The parts that look at the same value as this one. */
  readonly same: readonly Schema[]
}

type Step = readonly [part: unknown, at: string, same: boolean]

const single = words(`additionalItems additionalProperties contains else if items not propertyNames then
  unevaluatedItems unevaluatedProperties`)
const lists = words('allOf anyOf items oneOf prefixItems')
const maps = words('$defs definitions dependencies dependentSchemas patternProperties properties')
const sameValue = words('allOf anyOf dependencies dependentSchemas else if not oneOf then')
const types = words('array boolean integer null number object string')

function words(text: string): ReadonlySet<string> {
  return new Set(text.split(/\s+/))
}

function partsOf(part: Schema, at: string): readonly Step[] {
  return Object.entries(part).flatMap(([word, value]): Step[] => {
    const place = `${at}/${escaped(word)}`
    const same = sameValue.has(word)
    if (maps.has(word)) {
      if (!isObject(value)) throw broken(place, 'must be an object', value)
      return Object.entries(value).flatMap(([key, inner]): Step[] => {
        // What else must be there, by name.
        if (word === 'dependencies' && Array.isArray(inner)) return []
        return [[inner, `${place}/${escaped(key)}`, same]]
      })
    }
    if (lists.has(word) && (Array.isArray(value) || !single.has(word))) {
      if (!Array.isArray(value)) throw broken(place, 'must be an array', value)
      return value.map((inner, index): Step => [inner, `${place}/${index}`, same])
    }
    return single.has(word) ? [[value, place, same]] : []
  })
}

function refsOf(part: Schema, at: string, lookup: ReadSchema['lookup']): readonly Step[] {
  return (['$ref', '$recursiveRef'] as const).flatMap((word): Step[] => {
    const ref: unknown = part[word]
    if (ref === undefined) return []
    const place = `${at}/${word}`
    if (typeof ref !== 'string') throw broken(place, 'must be a string', ref)
    const address = word === '$ref' ? part.__absolute_ref__ : part.__absolute_recursive_ref__
    const found = lookup[address ?? ref]
    if (found === undefined) throw broken(place, 'must lead to a part of this schema', ref)
    return [[found, place, true]]
  })
}

function checkWords(part: Schema, at: string): void {
  const { pattern, patternProperties = {}, required, enum: choices, type, format, dependentRequired } = part
  if (pattern !== undefined) requirePattern(pattern, `${at}/pattern`)
  for (const key of Object.keys(patternProperties)) requirePattern(key, `${at}/patternProperties`)
  if (required !== undefined) requireTexts(required, `${at}/required`)
  if (choices !== undefined && !Array.isArray(choices))
    throw broken(`${at}/enum`, 'must be an array', choices)
  if (type !== undefined && ![type].flat().every((one) => types.has(one))) {
    throw broken(`${at}/type`, `must be of ${[...types].join(', ')}`, type)
  }
  // The validator's own pattern for it takes time that doubles with each letter.
  if (format === 'url') throw broken(`${at}/format`, 'must be a format of JSON Schema, such as "uri"', format)
  if (dependentRequired === undefined) return
  if (!isObject(dependentRequired))
    throw broken(`${at}/dependentRequired`, 'must be an object', dependentRequired)
  for (const [key, names] of Object.entries(dependentRequired)) {
    requireTexts(names, `${at}/dependentRequired/${escaped(key)}`)
  }
}

function requirePattern(pattern: unknown, at: string): void {
  if (typeof pattern !== 'string') throw broken(at, 'must be a string', pattern)
  try {
    // With this flag the validator compiles it.
    void new RegExp(pattern, 'u')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new Error(`\`${at}\` must be a regular expression with the flag "u". ${why}.`, { cause })
  }
}

function requireTexts(value: unknown, at: string): void {
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return
  throw broken(at, 'must be an array of strings', value)
}

/** A part that looks at the same value again and again would never be done with it. */
function requireEnd(seen: ReadonlyMap<Schema, Place>): void {
  const done = new Set<Schema>()
  const open = new Set<Schema>()
  function follow(part: Schema): void {
    if (done.has(part)) return
    const { at, same } = seen.get(part) ?? { at: '#', same: [] }
    if (open.has(part)) throw new Error(`\`${at}\` must not lead back to itself: it would never be checked.`)
    open.add(part)
    for (const next of same) follow(next)
    open.delete(part)
    done.add(part)
  }
  for (const part of seen.keys()) follow(part)
}

/** The validator compares each item with each other one, which takes long for long arrays. */
const MAX_UNIQUE_ITEMS = 200

function limitUniqueItems(part: Schema): void {
  if (!part.uniqueItems) return
  delete part.uniqueItems
  part.maxItems = Math.min(part.maxItems ?? Infinity, MAX_UNIQUE_ITEMS)
  part.allOf = [
    ...(part.allOf ?? []),
    { if: { minItems: MAX_UNIQUE_ITEMS + 1 }, else: { uniqueItems: true } },
  ]
}

function broken(at: string, expectation: string, value: unknown): Error {
  const got = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : kindOf(value)
  return new Error(`\`${at}\` ${expectation}; got ${got}.`)
}

// RFC 6901.
function escaped(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}
