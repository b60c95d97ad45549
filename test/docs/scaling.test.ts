import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { figures } from '../../bench/scale/figures.ts'
import { tables } from '../../bench/scale/tables.ts'

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')

test('the tables of docs/scaling.md are what `npm run scale` prints; `-- --write` puts them there', () => {
  expect(read('docs/scaling.md')).toContain(`<!-- npm run scale -->\n\n${tables(figures)}\n\n<!-- end -->`)
})
