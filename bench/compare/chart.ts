import type { Report } from './report.ts'
import { ratioOf } from './result.ts'

const width = 760
const rowHeight = 30
const left = 190
const right = 70

/** Grey that can be read on white and on black. */
const ink = '#7d8590'
const colors: Readonly<Record<string, string>> = { deltarelay: '#1f9d72' }
const labels: Readonly<Record<string, string>> = {
  pipe: 'raw byte pipe',
  tutorial: 'openai + Express loop',
  langchain: 'LangChain',
  hono: 'Hono streamSSE',
  'ai-sdk': 'AI SDK',
}

/** Draws R1: CPU per delta relative to the raw pipe. @throws when the report has no R1. */
export function chart({ results, circumstances }: Report): string {
  const r1 = results.find(({ id }) => id === 'r1')
  if (!r1) throw new Error('The chart is of R1, which was not measured.')
  const bars = r1.subjects.flatMap((subject) => {
    const ratio = ratioOf(r1, subject, r1.base, 'cpuUs')
    return ratio ? [{ subject, value: ratio.median }] : []
  })
  bars.sort((a, b) => a.value - b.value)
  const most = Math.max(...bars.map(({ value }) => value))
  const top = 52
  const height = top + bars.length * rowHeight + 44
  const rows = bars.map(({ subject, value }, at) => {
    const y = top + at * rowHeight
    const length = Math.max(2, ((width - left - right) * value) / most)
    const weight = subject === 'deltarelay' ? ' font-weight="600"' : ''
    return [
      `<text x="${left - 10}" y="${y + 16}" text-anchor="end"${weight}>${escape(labels[subject] ?? subject)}</text>`,
      `<rect x="${left}" y="${y + 2}" width="${length.toFixed(1)}" height="20" rx="3" fill="${colors[subject] ?? '#8b9db5'}"/>`,
      `<text x="${(left + length + 8).toFixed(1)}" y="${y + 16}"${weight}>${value.toFixed(2)}×</text>`,
    ].join('\n')
  })
  const { node, cpu, date, command } = circumstances
  const { length } = r1.rounds
  const rounds = length > 1 ? `median of ${length} rounds` : 'one round'
  const made = `${command} · Node ${node} · ${cpu} · ${date.slice(0, 10)} · ${rounds}`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="CPU per delta relative to a raw byte pipe" font-family="system-ui, sans-serif" font-size="14" fill="${ink}">
<text x="10" y="22" font-size="16" font-weight="600">CPU per delta, relative to a raw byte pipe (less is better)</text>
<text x="10" y="41" font-size="12">100 answers at once, 50 tokens a second each, one token per read and write</text>
${rows.join('\n')}
<text x="10" y="${height - 14}" font-size="11">${escape(made)}</text>
</svg>
`
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
