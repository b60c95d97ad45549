import { median } from '../stats.ts'

/** One figure of a subject. */
export interface Metric {
  readonly key: string
  readonly label: string
  readonly digits: number
  /** Printed without the range of the rounds. */
  readonly medianOnly?: boolean
}

/** What one round of a subject gave, by the keys of the metrics; what was not measured is `null` or `NaN`. */
export type Figures = Readonly<Record<string, number | null>>

/** All that was measured in one regime. */
export interface Result {
  readonly id: string
  readonly title: string
  /** What is done, in a sentence. */
  readonly what: string
  /** The subject to which the others are related, in every round. */
  readonly base: string
  /** The first is the one that is related. */
  readonly metrics: readonly Metric[]
  readonly subjects: readonly string[]
  readonly rounds: readonly Readonly<Record<string, Figures>>[]
  readonly notes: readonly string[]
}

/** Of several rounds. */
export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** The figures of one subject; `undefined` when it has none. */
export function summaryOf({ rounds }: Result, subject: string, key: string): Summary | undefined {
  return summarize(rounds.map((round) => round[subject]?.[key]))
}

/** One subject's figures divided by another's of the same round, so that what slows both down is not counted. */
export function ratioOf({ rounds }: Result, subject: string, base: string, key: string): Summary | undefined {
  return summarize(
    rounds.map((round) => {
      const [value, of] = [round[subject]?.[key], round[base]?.[key]]
      return value != null && of != null && of !== 0 ? value / of : undefined
    }),
  )
}

function summarize(values: readonly (number | null | undefined)[]): Summary | undefined {
  const known = values.filter((value) => typeof value === 'number' && Number.isFinite(value)) as number[]
  if (known.length === 0) return undefined
  return { median: median(known), min: Math.min(...known), max: Math.max(...known) }
}
