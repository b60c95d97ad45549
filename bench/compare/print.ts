import { table } from '../stats.ts'
import { type Metric, ratioOf, type Result, type Summary, summaryOf } from './result.ts'

/** A readable table: the ratio to the base first, then the figures themselves. */
export function printed(result: Result): string {
  const { title, what, base, metrics, subjects, rounds, notes } = result
  const [first] = metrics
  const head = ['', `x ${base}`, '(min–max)', ...metrics.flatMap(({ label }) => [label, '(min–max)'])]
  const measured = subjects.filter((subject) => rounds.some((round) => round[subject]))
  const rows = measured.map((subject) => [
    subject,
    ...cells(first && ratioOf(result, subject, base, first.key), 2),
    ...metrics.flatMap(({ key, digits, medianOnly }: Metric) => {
      const [middle, range] = cells(summaryOf(result, subject, key), digits)
      return [middle, medianOnly ? '' : range]
    }),
  ])
  const lines = table([head, ...rows].map((row) => row.filter((_, at) => !isEmpty(at, rows))))
  const medians = rounds.length > 1 ? `Medians of ${rounds.length} rounds.` : 'One round.'
  return [title, `${what} ${medians}`, '', lines, ...notes].join('\n')
}

function cells(summary: Summary | undefined, digits: number): readonly [string, string] {
  if (!summary) return ['–', '']
  const { median, min, max } = summary
  const text = (value: number): string => value.toFixed(digits)
  return [text(median), min === max ? '' : `(${text(min)}–${text(max)})`]
}

/** One round has no range. */
function isEmpty(column: number, rows: readonly (readonly string[])[]): boolean {
  return column > 0 && rows.every((row) => row[column] === '')
}
