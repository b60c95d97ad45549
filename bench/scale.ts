// What many running answers need, by measured figures: `npm run scale [-- --set cpuUs=60 --set zones=2] [--write]`.
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { figures, type Figures } from './scale/figures.ts'
import { tables } from './scale/tables.ts'

const { set, write } = parseArgs({
  options: {
    /** Another value for one of the numbers of `scale/figures.ts`. */
    set: { type: 'string', multiple: true, default: [] },
    /** Puts the tables into docs/scaling.md. */
    write: { type: 'boolean', default: false },
  },
}).values

const changed = Object.fromEntries(
  set.map((each) => {
    const [name = '', value = ''] = each.split('=')
    const known =
      typeof figures[name as keyof Figures] === 'number' && value !== '' && Number.isFinite(Number(value))
    if (!known)
      throw new Error(`--set takes a number of bench/scale/figures.ts, such as cpuUs=60; got "${each}".`)
    return [name, Number(value)]
  }),
)
const text = tables({ ...figures, ...changed })
console.log(text)

if (write) {
  const path = 'docs/scaling.md'
  const before = readFileSync(path, 'utf8')
  writeFileSync(
    path,
    before.replace(
      /(<!-- npm run scale -->\n\n)[^]*?(\n\n<!-- end -->)/,
      (_, open: string, close: string) => open + text + close,
    ),
  )
}
