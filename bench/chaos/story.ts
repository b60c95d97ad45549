import type { Fault, History, Note } from './history.ts'

/** Prints what happened to one question, and around it. */
export function tell(history: History, faults: readonly Fault[]): void {
  const { n, script, prompt, calls } = history
  const { pieces, everyMs, silentMs, silentAt, ending } = script
  console.log(
    `\nthe story of ${n} (${prompt}): ${pieces.length} pieces, one in ${everyMs} ms, ` +
      `${silentMs > 0 ? `silent for ${silentMs} ms before ${silentAt}, ` : ''}${ending}\n`,
  )
  const from = (history.story[0]?.at ?? 0) - 3000
  const to = (history.story.findLast(({ text }) => !text.startsWith('audit'))?.at ?? 0) + 1000
  const struck = faults
    .filter(({ at, until }) => until >= from && at <= to)
    .flatMap(({ kind, instance = '', at, until }): Note[] => [
      { at, text: `*** ${kind} ${instance}` },
      { at: until, text: `*** up again after ${kind} ${instance}` },
    ])
  const asked = calls.flatMap(({ at, closedAt = Infinity }): Note[] => [
    { at, text: 'the model is asked' },
    { at: closedAt, text: 'the model has done, or is left' },
  ])
  const all = [...history.story, ...struck, ...asked].sort((a, b) => a.at - b.at)
  for (const { at, text } of all) console.log(`  ${ms(at).padStart(12)}  ${text}`)
}

function ms(at: number): string {
  return `${(at / 1000).toFixed(3)} s`
}
