import { quantile, table, verdict } from '../stats.ts'
import type { Report } from './report.ts'
import { tell } from './story.ts'
import type { World } from './world.ts'

/**
 * Prints a report for people, with the story of the first question that went wrong. `wanted`: or of this one, by its
 * number or by what its readers were told.
 */
export function print(report: Report, { histories, faults }: World, wanted?: string): void {
  const { seed, tookMs, replies, calls, counts, allowed, broken, stopMs, lostMs } = report
  const line = ([name, value]: readonly [string, number]): readonly string[] => [
    name,
    value.toLocaleString('en'),
  ]
  console.log(`\nseed ${seed}, ${(tookMs / 1000).toFixed(1)} s\n`)
  console.log(table([line(['replies', replies]), ...Object.entries(counts).map(line)]))
  const told = Object.entries(allowed).sort(([, a], [, b]) => b - a)
  if (told.length > 0) console.log(`\nwhat readers were told, and why\n\n${table(told.map(line))}`)
  console.log('')
  if (stopMs.calm.length > 0) {
    console.log(
      verdict(
        `${stopMs.calm.length} stops, to the model's connection, p99`,
        quantile(stopMs.calm, 0.99),
        500,
        ' ms',
      ),
    )
    console.log(
      `        of all ${stopMs.all.length}, with faults around: p99 ${quantile(stopMs.all, 0.99).toFixed(0)} ms`,
    )
  }
  if (lostMs.length > 0) {
    const [middle, late] = [quantile(lostMs, 0.5), quantile(lostMs, 0.99)]
    console.log(
      `        told that a killed producer is lost: p50 ${middle.toFixed(0)} ms, p99 ${late.toFixed(0)} ms`,
    )
  }
  console.log(`        the machine stood still for ${report.pauseMs} ms at most`)
  const { findings } = report
  if (findings.length > 0) console.log(`\n${findings.length} findings; again with --seed ${seed}\n`)
  for (const { n, category, at, text } of findings.slice(0, 25)) {
    console.log(`  ${n}: ${category} at ${(at / 1000).toFixed(3)} s: ${text}`)
  }
  const n = wanted === undefined ? findings[0]?.n : numberOf(wanted, report)
  const history = histories.find((history) => history.n === n)
  if (history) tell(history, faults)
  const apart = Math.abs(calls - replies)
  const explained = apart === 0 ? '' : `, ${apart} explained by a killed server or a store that forgot`
  const asked =
    broken.calls === 0
      ? `upstream calls = replies (${calls} = ${replies}${explained})`
      : `upstream calls ≠ replies for ${broken.calls} keys (${calls} calls, ${replies} replies)`
  console.log(
    `\n${broken.lost} lost, ${broken.duplicated} duplicated, ${broken.wrong} wrong prefixes, ${broken.hang} hangs, ` +
      `${broken['false-finish']} false finish, ${asked}`,
  )
}

function numberOf(wanted: string, { examples }: Report): number | undefined {
  const example = Object.entries(examples).find(([what]) => what.startsWith(wanted))
  return example ? example[1][0] : Number(wanted)
}
