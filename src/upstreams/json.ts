import { isObject } from '../checks.ts'
import type { Fields } from '../types.ts'

/** The value when it is an object with members: not null, not an array. */
export function fields(value: unknown): Fields | undefined {
  return isObject(value) ? value : undefined
}

/** The value when it is an array, else an empty one. */
export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** The value when it is a text that is not empty. */
export function word(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

const MAX_COUNT = 1e15

/** The value when it is a number that counts something, or the digits of one. */
export function count(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value
  // No real count is higher, and the sum of higher ones would not be a safe integer.
  return typeof number === 'number' && number >= 0 && number <= MAX_COUNT ? number : undefined
}

/** Whether nothing is said, however deep: `{"message":"","code":null}` is as empty as null. */
export function isBlank(value: unknown, depth = 4): boolean {
  if (typeof value === 'string') return value.trim() === ''
  if (typeof value !== 'object' || value === null) return !value
  return depth > 0 && Object.values(value).every((item) => isBlank(item, depth - 1))
}
