import { RequestError } from './errors.ts'
import { callFaults } from './faults/calls.ts'
import { connectionFaults } from './faults/connection.ts'
import { eventFaults } from './faults/events.ts'
import { defaults } from './faults/fault.ts'
import type { Fault, FaultParams } from './faults/fault.ts'
import { httpFaults } from './faults/http.ts'
import { responseFaults } from './faults/responses.ts'
import { isObject } from './request.ts'

/** Every fault the simulator has on demand, by subject. */
export const faults: readonly Fault[] = [
  ...httpFaults,
  ...connectionFaults,
  ...eventFaults,
  ...callFaults,
  ...responseFaults,
]

/** A fault that a request asked for, with its parameters filled in. */
export interface ChosenFault {
  readonly fault: Fault
  readonly params: FaultParams
  /** How often it happens before the same request succeeds. */
  readonly times: number
  /** The choice as text, the same for the same choice. */
  readonly spec: string
}

/** Where a request may name a fault; the first that does wins. */
export interface FaultSources {
  readonly body: unknown
  readonly header: string | undefined
  readonly prompt: string
  /** What every request gets that names none. */
  readonly fallback: string | undefined
}

/**
 * Finds the fault a request asks for: in the body (`simulator: { fault, after, … }`), in the header
 * `x-simulator-fault: cut;after=3`, or in the prompt as `fault:cut;after=3`.
 *
 * @throws RequestError for a fault or parameter that does not exist.
 */
export function chooseFault({ body, header, prompt, fallback }: FaultSources): ChosenFault | undefined {
  if (isObject(body) && typeof body['fault'] === 'string') {
    const params = Object.entries(body).filter(([key]) => key !== 'fault' && key !== 'text')
    return resolve(body['fault'], Object.fromEntries(params))
  }
  const said = /(?:^|\s)fault:([a-z][^\s;]*(?:;[^\s;]+)*)/.exec(prompt)?.[1]
  const spec = header ?? (said?.startsWith('list') ? undefined : said) ?? fallback
  if (!spec) return undefined
  const [name = '', ...pairs] = spec.split(';').map((part) => part.trim())
  return resolve(name, Object.fromEntries(pairs.map((pair) => pair.split(/=(.*)/s).slice(0, 2))))
}

/** Writes all faults as a Markdown table: what `fault:list` answers. */
export function faultList(): string {
  const rows = faults.map(({ name, about, params = {} }) => {
    const words = [name, ...Object.entries(params).map(([key, value]) => `${key}=${value}`)]
    return `| \`fault:${words.join(';')}\` | ${about} |`
  })
  return ['| Write this | and this happens |', '|---|---|', ...rows].join('\n')
}

function resolve(name: string, given: Readonly<Record<string, unknown>>): ChosenFault {
  const fault = faults.find((each) => each.name === name)
  if (!fault) {
    const known = faults.map((each) => each.name).join(', ')
    throw new RequestError(
      400,
      `There is no fault '${name}'. There are: ${known}.`,
      'simulator.fault',
      'unknown_fault',
    )
  }
  const { times = Infinity, ...rest } = given
  const entries = Object.entries(rest).map(([key, value]) => [key, readParam(key, value)])
  return {
    fault,
    params: { ...defaults, ...fault.params, ...Object.fromEntries(entries) },
    times: times === Infinity ? Infinity : Number(readParam('after', times)),
    spec: JSON.stringify([name, given]),
  }
}

function readParam(key: string, value: unknown): number | string {
  const wanted: unknown = Object.hasOwn(defaults, key) ? defaults[key as keyof FaultParams] : undefined
  if (typeof wanted === 'string') return String(value)
  const number = Number(value)
  if (typeof wanted === 'number' && Number.isFinite(number) && number >= 0 && String(value) !== '')
    return number
  const text = `'${key}=${String(value)}' is not a parameter of a fault; there are times, ${Object.keys(defaults).join(', ')}.`
  throw new RequestError(400, text, 'simulator', 'unknown_fault')
}
