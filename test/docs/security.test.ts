import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'

const root = new URL('../../', import.meta.url)
const text = await readFile(new URL('SECURITY.md', root), 'utf8')

/** The cells of every row of the tables under a heading, without their heads. */
function rowsUnder(heading: string): readonly (readonly string[])[] {
  const section = text.split(`### ${heading}\n`)[1]?.split('\n## ')[0]?.split('\n### ')[0] ?? ''
  const rows = section.split('\n').filter((line) => line.startsWith('|'))
  return rows.slice(2).map((row) => row.split('|').slice(1, -1).map((cell) => cell.trim())) // prettier-ignore
}

const claims = rowsUnder('What is defended')

describe('the threat model', () => {
  test('has assets, entry points, what is defended and what is not', () => {
    for (const heading of ['Assets', 'Entry points', 'What is not defended'])
      expect(text).toContain(`### ${heading}\n`)
    expect(claims.length).toBeGreaterThan(15)
  })

  test.each(claims)('names a test for: %s', async (_threat, _defence, tests = '') => {
    const files = Array.from(tests.matchAll(/\(([\w./-]+\.test\.ts)\)/g), ([, path]) => path!)

    expect(files).not.toEqual([])
    for (const file of files) expect(existsSync(new URL(file, root)), file).toBe(true)
  })

  test('does not name a file that does not exist', () => {
    const files = Array.from(text.matchAll(/\((?!https?:)([\w./-]+)\)/g), ([, path]) => path!)

    for (const file of files) expect(existsSync(new URL(file, root)), file).toBe(true)
  })
})
