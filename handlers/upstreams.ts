import { readFileSync } from 'node:fs'
import { isObject } from '../src/checks.ts'
import type { Fields } from '../src/types.ts'
import { type Models, ourNames } from '../src/upstreams/models.ts'
import { placeOfJsonError } from './json.ts'
import { type Environment, keyProblem, MAX_MS, quote, textIn, urlProblem } from './values.ts'

/** The API that a server speaks. */
export const apis = ['chat-completions', 'responses'] as const
export type Api = (typeof apis)[number]

/** One entry of `UPSTREAMS`. Absent durations are those of the whole service. */
export interface UpstreamSettings {
  readonly name: string
  readonly baseURL: string
  readonly apiKey?: string
  readonly api?: Api
  readonly models?: Models
  readonly headersTimeoutMs?: number
  readonly firstDeltaTimeoutMs?: number
  readonly idleTimeoutMs?: number
  readonly organization?: string
  readonly project?: string
  /** Headers of this server alone, from `headers` and `headerVariables`. */
  readonly headers?: Readonly<Record<string, string>>
}

/** Our names of the models that an entry names. */
export function modelsNamed({ models = [] }: UpstreamSettings): readonly string[] {
  return ourNames(models)
}

/**
 * Reads `UPSTREAMS`: a JSON array, or the path of a file that holds one. Undefined when it is not set. Problems are
 * added to `problems`, without a value that could be a key, and the list is then empty.
 */
export function readUpstreams(env: Environment, problems: string[]): readonly UpstreamSettings[] | undefined {
  const value = textIn(env, 'UPSTREAMS')
  if (value === undefined) return undefined
  const found: string[] = []
  const entries = listIn(value, found) ?? []
  const upstreams = entries.flatMap(
    (entry, index) => readEntry(entry, `UPSTREAMS[${index}]`, env, found) ?? [],
  )
  found.push(...repeatedNames(entries))
  problems.push(...found)
  return found.length > 0 ? [] : upstreams
}

function listIn(value: string, problems: string[]): readonly unknown[] | undefined {
  const inline = /^[[{]/.test(value)
  const text = inline ? value : fileText(value, problems)
  if (text === undefined) return undefined
  const where = inline ? 'UPSTREAMS' : 'The file that UPSTREAMS names'
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch {
    problems.push(`${where} must be JSON: there is a mistake at ${placeOfJsonError(text)}`)
    return undefined
  }
  if (Array.isArray(list) && list.length > 0) return list
  problems.push(`${where} must be a JSON array with at least one upstream`)
  return undefined
}

function fileText(path: string, problems: string[]): string | undefined {
  try {
    return readFileSync(path, 'utf8').replace(/^\uFEFF/, '')
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException // of the file system
    problems.push(
      `UPSTREAMS must be a JSON array or the path of a file that can be read; got neither (${code})`,
    )
    return undefined
  }
}

/** Reads one entry, and reports what is wrong with it; undefined when it is no object. */
function readEntry(
  entry: unknown,
  at: string,
  env: Environment,
  problems: string[],
): UpstreamSettings | undefined {
  if (!isObject(entry)) {
    problems.push(`${at} must be an object`)
    return undefined
  }
  for (const name of ['name', 'baseURL'])
    if (entry[name] === undefined) problems.push(`${at}.${name} is missing`)
  for (const [name, value] of Object.entries(entry)) {
    const problem = problemOf(name, value, env)
    if (problem) problems.push(`${at}.${name.slice(0, 40)} ${problem}`)
  }
  problems.push(...repeatedHeaders(entry, at))
  const { keyVariable, models, headers, headerVariables, ...rest } = entry
  const apiKey = typeof keyVariable === 'string' ? textIn(env, keyVariable) : undefined
  const named = models === undefined || isAny(models) ? {} : { models }
  const sent = { ...fieldsIn(headers), ...valuesOf(headerVariables, env) }
  const own = Object.keys(sent).length > 0 ? { headers: sent } : {}
  return { ...rest, ...named, ...own, ...(apiKey ? { apiKey } : {}) } as unknown as UpstreamSettings // where no problem was found
}

/** What is wrong with a field of an entry, to be read after its name. */
function problemOf(name: string, value: unknown, env: Environment): string | undefined {
  if (Object.hasOwn(fields, name)) return fields[name as keyof typeof fields](value, env) // an own key, just now
  if (/^(?:api_?)?(?:key|token)$|secret|password/i.test(name))
    return 'must not be here: put the key into an environment variable, and its name into keyVariable'
  return `is no setting of an upstream; there are ${Object.keys(fields).join(', ')}`
}

type Check = (value: unknown, env: Environment) => string | undefined

const fields = {
  name: (value) =>
    typeof value === 'string' && /^[\w./:-]{1,64}$/.test(value)
      ? undefined
      : 'must be 1 to 64 letters, digits or any of . _ - : /',
  baseURL: (value) =>
    urlProblem(typeof value === 'string' ? value : '', 'the variable that keyVariable names'),
  keyVariable: keyVariableProblem,
  api: (value) => (apis.some((api) => api === value) ? undefined : `must be one of ${apis.join(', ')}`),
  models: (value) => {
    const names = isObject(value) ? Object.entries(value).flat() : value
    return Array.isArray(names) && names.length > 0 && names.every(isName)
      ? undefined
      : 'must be a list of names, or an object of our names and its own, with at least one'
  },
  headersTimeoutMs: msProblem,
  firstDeltaTimeoutMs: msProblem,
  idleTimeoutMs: msProblem,
  organization: headerProblem,
  project: headerProblem,
  headers: (value) => headersProblem(value, plainHeaderProblem),
  headerVariables: (value, env) => headersProblem(value, (_, variable) => variableProblem(variable, env)),
} as const satisfies Record<string, Check>

// Neither the value nor the name is repeated: somebody may have put the key itself here.
function keyVariableProblem(value: unknown, env: Environment): string | undefined {
  return variableProblem(value, env, keyProblem)
}

function variableProblem(
  value: unknown,
  env: Environment,
  problemOfValue = headerValueProblem,
): string | undefined {
  if (typeof value !== 'string' || !/^[A-Za-z_]\w*$/.test(value))
    return 'must be the name of an environment variable'
  const key = textIn(env, value)
  if (key === undefined) return 'names an environment variable that is not set'
  const problem = problemOfValue(key)
  return problem && `names an environment variable whose value ${problem}`
}

function msProblem(value: unknown): string | undefined {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_MS
    ? undefined
    : `must be a whole number from 1 to ${MAX_MS}`
}

function headerProblem(value: unknown): string | undefined {
  return typeof value === 'string' ? keyProblem(value) : 'must be a text'
}

/** Headers that are the service's own to set, or that belong to one connection. */
const ownHeaders =
  /^(?:accept|connection|content-.*|expect|host|keep-alive|openai-organization|openai-project|proxy-.*|te|trailer|transfer-encoding|upgrade)$/i
/** Names of headers whose value is a secret. */
const secretHeaders = /auth|key|token|secret|passw|cookie|credential|signature/i

type HeaderCheck = (name: string, value: unknown) => string | undefined

/** What is wrong with an object of headers. A value is never repeated: it may be a secret. */
function headersProblem(value: unknown, check: HeaderCheck): string | undefined {
  const entries = isObject(value) ? Object.entries(value) : []
  if (entries.length === 0) return 'must be an object of headers with at least one'
  for (const [name, inner] of entries) {
    if (!/^[\w!#$%&'*+.^`|~-]{1,64}$/.test(name)) return `has a name that no header can have: ${quote(name)}`
    if (ownHeaders.test(name)) return `must not have ${quote(name)}: this service sets that header itself`
    const problem = check(name, inner)
    if (problem) return `has ${quote(name)}, which ${problem}`
  }
  return undefined
}

const plainHeaderProblem: HeaderCheck = (name, value) => {
  if (secretHeaders.test(name))
    return 'must not be here: put its value into an environment variable, and the name of that into headerVariables'
  return typeof value === 'string' ? headerValueProblem(value) : 'must be a text'
}

function headerValueProblem(value: string): string | undefined {
  return /^[\x21-\x7e](?:[\x20-\x7e]{0,4094}[\x21-\x7e])?$/.test(value)
    ? undefined
    : 'must consist of printable ASCII characters, at most 4096'
}

/** Headers are the same in letters of either case: one must not be there twice. */
function repeatedHeaders({ headers, headerVariables }: Fields, at: string): readonly string[] {
  const names = [fieldsIn(headers), fieldsIn(headerVariables)].flatMap((each) => Object.keys(each))
  const folded = names.map((name) => name.toLowerCase())
  const twice = names.find((_, index) => folded.indexOf(folded[index]!) !== index)
  return twice === undefined ? [] : [`${at} must have the header ${quote(twice)} once`]
}

function valuesOf(variables: unknown, env: Environment): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(fieldsIn(variables)).map(([name, variable]) => [
      name,
      (typeof variable === 'string' && textIn(env, variable)) || '',
    ]),
  )
}

function fieldsIn(value: unknown): Fields {
  return isObject(value) ? value : {}
}

function repeatedNames(entries: readonly unknown[]): readonly string[] {
  const names = entries.map((entry) => (isObject(entry) ? entry['name'] : undefined))
  return names.flatMap((name, index) => {
    const first = names.indexOf(name)
    if (name === undefined || first === index) return []
    return [`UPSTREAMS[${index}].name must differ from UPSTREAMS[${first}].name`]
  })
}

/** Whether a list of models has `*`, which is the same as no list. */
function isAny(models: unknown): boolean {
  return Array.isArray(models) && models.includes('*')
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value.trim() !== ''
}
