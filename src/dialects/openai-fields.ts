import { isObject, textUpTo, wrong } from '../checks.ts'
import type { Fields } from '../types.ts'

/** The fields of an object, without those that are null. @throws `ChatError` for what is no object. */
export function fieldsAt(at: string, value: unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(objectAt(at, value)).filter(([, inner]) => inner !== null))
}

/** An object as it is. @throws `ChatError` for what is none. */
export function objectAt(at: string, value: unknown): Fields {
  if (!isObject(value)) throw wrong(at, 'an object', value)
  return value
}

/** @throws `ChatError` for what is no text. */
export function textAt(at: string, value: unknown): string {
  if (typeof value !== 'string') throw wrong(at, 'a string', value)
  return value
}

/** A text that names something. @throws `ChatError` for an empty or a very long one. */
export function nameAt(at: string, value: unknown): string {
  const expectation = textUpTo(200)(value)
  if (expectation !== undefined) throw wrong(at, expectation, value)
  return textAt(at, value)
}

/** The id of a call, as long as some servers make them. @throws `ChatError` for an empty one. */
export function idAt(at: string, value: unknown): string {
  if (value === '') throw wrong(at, 'a non-empty string', value)
  return textAt(at, value)
}

/** @throws `ChatError` for what is neither true nor false. */
export function switchAt(at: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw wrong(at, 'a boolean', value)
  return value
}

/** Reads a value that may be absent. */
export function maybe<T>(read: (at: string, value: unknown) => T, at: string, value: unknown): T | undefined {
  return value === undefined ? undefined : read(at, value)
}
