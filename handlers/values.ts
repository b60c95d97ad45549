/** Process variables, by name. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The longest a timer can wait. */
export const MAX_MS = 2 ** 31 - 1

/** The variable without the space around it; undefined when nothing is left. */
export function textIn(env: Environment, name: string): string | undefined {
  const value = env[name]?.trim()
  return value === '' ? undefined : value
}

/** What is wrong with the address of a server, to be read after its name; undefined when nothing is. */
export function urlProblem(value: string, keysGoInto: string): string | undefined {
  const url = parseUrl(value)
  if (url && (url.username || url.password))
    return `must not hold a user name or password; keys go into ${keysGoInto}`
  if (!/^https?:$/.test(url?.protocol ?? '')) return 'must be a URL that begins with http:// or https://'
  // Paths are added at the end, and what follows a # is never sent.
  return value.includes('#') ? 'must not have a # in it' : undefined
}

/** A key with a line break or a space in it is a mistake of copying, and would fail in every request. */
export function keyProblem(value: string): string | undefined {
  return /^[\x21-\x7e]+$/.test(value)
    ? undefined
    : 'must consist of printable ASCII characters without spaces'
}

/** A value for a message: quoted, and not all of it when it is long. */
export function quote(value: string): string {
  return JSON.stringify(value.slice(0, 60))
}

export function parseUrl(value: string): URL | undefined {
  try {
    return new URL(value)
  } catch {
    return undefined // not a URL
  }
}
