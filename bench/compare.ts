// deltarelay beside what people use instead: `npm run bench [-- --quick] [--only r1,r3] [--rounds 7] [--json FILE]
// [--svg FILE] [--from FILE]`; see docs/benchmarks.md.
import { readFile, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { chart } from './compare/chart.ts'
import { openLab } from './compare/lab.ts'
import { printed } from './compare/print.ts'
import { regimes } from './compare/regimes.ts'
import { circumstances, heading, type Report } from './compare/report.ts'
import type { Result } from './compare/result.ts'
import { judge, verdictLine } from './compare/targets.ts'
import { findNode } from './lab.ts'

const args = process.argv.slice(2)
const { values: options } = parseArgs({
  // `--json` by itself writes to stdout, and everything else to stderr.
  args: args.map((arg, at) => (arg === '--json' && /^(?:--|$)/.test(args[at + 1] ?? '') ? '--json=-' : arg)),
  options: {
    /** Everything, briefly: whether it works, not how fast. */
    quick: { type: 'boolean', default: false },
    /** Names of regimes, with commas. */
    only: { type: 'string' },
    /** Names of subjects, with semicolons. */
    subjects: { type: 'string' },
    rounds: { type: 'string' },
    /** The Node.js that everything runs on. Default: as for the Lambda runtime, 22 or newer. */
    node: { type: 'string' },
    json: { type: 'string' },
    svg: { type: 'string' },
    /** Measures nothing, and takes the JSON of an earlier run. */
    from: { type: 'string' },
  },
})
const say = options.json === '-' ? console.error : console.log

const report = options.from === undefined ? await measure() : await read(options.from)
if (options.json === '-') console.log(JSON.stringify(report, null, 2))
else if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`)
if (options.svg !== undefined) await writeFile(options.svg, chart(report))
process.exit(report.failures.length > 0 ? 1 : 0)

async function measure(): Promise<Report> {
  const { quick, only } = options
  const chosen = only === undefined ? regimes : only.split(',').map(regimeOf)
  const rounds = Number(options.rounds ?? (quick ? 1 : 7))
  const node = options.node ?? (await findNode())
  const about = circumstances(node, { quick, rounds, args })
  say(`${heading(about)}\n`)
  const began = performance.now()
  const results: Result[] = []
  const failures: string[] = []
  const lab = await openLab(node)
  try {
    for (const regime of chosen) {
      const result = await regime.run({
        lab,
        quick,
        rounds,
        subjects: options.subjects?.split(';'),
        progress: (text) => console.error(`${((performance.now() - began) / 1000).toFixed(0)} s  ${text}`),
        fail: (text) => failures.push(text),
      })
      results.push(result)
      say(`\n${printed(result)}\n`)
    }
  } finally {
    await lab.close()
  }
  const verdicts = quick ? [] : judge(results)
  for (const verdict of verdicts) say(verdictLine(verdict))
  if (quick)
    say('A quick run asks less and for a shorter time: it shows that everything works, not how fast.')
  for (const failure of failures) say(`FAILED  ${failure}`)
  return { circumstances: about, results, verdicts, failures }
}

function regimeOf(name: string): (typeof regimes)[number] {
  const regime = regimes.find(({ id }) => id === name)
  if (!regime) throw new Error(`There is no ${name}; there are ${regimes.map(({ id }) => id).join(', ')}.`)
  return regime
}

async function read(path: string): Promise<Report> {
  return JSON.parse(await readFile(path, 'utf8')) as Report // written by this program
}
