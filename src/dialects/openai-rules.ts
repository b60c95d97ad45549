import { type Check, isBoolean, isObject, numberFrom, wholeFrom, wrong } from '../checks.ts'
import { requirePublicUrls } from '../images.ts'
import type { Fields } from '../types.ts'
import { objectAt } from './openai-fields.ts'
import { requirePassed } from './openai-pass.ts'

/** What a rule needs to know beside the value. */
export interface Bounds {
  /** Fields that pass although they are not known. */
  readonly pass: ReadonlySet<string>
  /** Hosts that addresses may name. */
  readonly hosts: readonly string[] | '*'
}

/** Checks the value at a path. @throws `ChatError` that names the path and the expectation. */
export type Rule = (at: string, value: unknown, bounds: Bounds) => void

/** The rules of an object's fields, by name. */
export type Rules = Readonly<Record<string, Rule>>

/** The rule of a check that looks at a value as a whole. */
export function rule(check: Check): Rule {
  return (at, value) => {
    const expectation = check(value)
    if (expectation !== undefined) throw wrong(at, expectation, value)
  }
}

export const flag = rule(isBoolean)

export function number(low: number, high: number): Rule {
  return rule(numberFrom(low, high))
}

export function whole(low: number, high = Number.MAX_SAFE_INTEGER): Rule {
  return rule((value) => wholeFrom(low)(value) ?? (Number(value) > high ? `at most ${high}` : undefined))
}

/** One of some strings. */
export function oneOf(...values: readonly string[]): Rule {
  const expectation = `one of ${values.map((value) => `"${value}"`).join(', ')}`
  return rule((value) => (values.some((known) => known === value) ? undefined : expectation))
}

/** A text that names something. An address in it is held to the rules of addresses. */
export function label(length: number): Rule {
  return (at, value, { hosts }) => {
    rule(textOf(length))(at, value, { hosts, pass: none })
    requirePublicUrls(value, at, hosts)
  }
}

/** A text that is read, and names nothing: it may hold any address. */
export function words(length = Infinity): Rule {
  return rule(textOf(length))
}

/** A text that is data, or the address of it. */
export const source: Rule = (at, value, { hosts }) => {
  if (typeof value !== 'string') throw wrong(at, 'a string', value)
  requirePublicUrls(value, at, hosts)
}

/** The address of something that a model's server may fetch, or its data as a `data:` URL. */
export const address: Rule = (at, value, { hosts }) => {
  if (typeof value !== 'string') throw wrong(at, 'a string', value)
  requirePublicUrls(value, at, hosts, 'url')
}

/** An object of which only addresses are looked at. */
export const object: Rule = (at, value, { hosts }) => requirePublicUrls(objectAt(at, value), at, hosts)

export function list(item: Rule, most = Infinity): Rule {
  return (at, value, bounds) => {
    if (!Array.isArray(value)) throw wrong(at, 'an array', value)
    if (value.length > most) throw wrong(at, `an array of at most ${most}`, value)
    for (const [index, inner] of value.entries()) item(`${at}[${index}]`, inner, bounds)
  }
}

/** An object with these fields and no others. */
export function fields(rules: Rules): Rule {
  return (at, value, bounds) => checkFields(objectAt(at, value), rules, bounds, `${at}.`)
}

/** The first rule for texts, the second one for anything else. */
export function textOr(text: Rule, other: Rule): Rule {
  return (at, value, bounds) => (typeof value === 'string' ? text : other)(at, value, bounds)
}

/**
 * Checks each field by its rule. Fields that are null count as absent; those without a rule must be among the ones
 * that pass.
 */
export function checkFields(value: Fields, rules: Rules, bounds: Bounds, at = ''): void {
  for (const [name, inner] of Object.entries(value)) {
    if (inner === null) continue
    const path = `${at}${name}`
    const own = Object.hasOwn(rules, name) ? rules[name] : undefined
    if (own && !bounds.pass.has(path.replace(/\[\d+\]/g, ''))) own(path, inner, bounds)
    else requirePassed(path, inner, bounds)
  }
}

const none: ReadonlySet<string> = new Set()

function textOf(length: number): Check {
  return (value) => {
    if (typeof value !== 'string') return 'a string'
    return value.length > length ? `at most ${length} characters long` : undefined
  }
}

/** An object of at most `most` fields, whose values fit a check. */
export function mapOf(inner: Check, most: number): Rule {
  return (at, value) => {
    if (!isObject(value)) throw wrong(at, 'an object', value)
    const entries = Object.entries(value)
    if (entries.length > most) throw wrong(at, `an object of at most ${most} fields`, value)
    for (const [name, item] of entries) {
      const expectation = name.length > 64 ? 'named with at most 64 characters' : inner(item)
      if (expectation !== undefined) throw wrong(`${at}.${name.slice(0, 40)}`, expectation, item)
    }
  }
}
