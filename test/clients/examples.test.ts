import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { createRelay } from './relay.ts'

const run = promisify(execFile)
const examples = fileURLToPath(new URL('../../examples/', import.meta.url))
const relay = createRelay({ model: 'simulator' })

test.each([
  ['openai.mjs', /.\n\d+ tokens\n$/],
  ['langchain.mjs', /Sunny in .+, 21 °C/],
])('examples/%s runs against a service and prints an answer', async (name, printed) => {
  const env = { PATH: process.env['PATH'], BASE_URL: relay.url }

  const { stdout, stderr } = await run(process.execPath, [name], { cwd: examples, env, timeout: 20_000 })

  expect(stdout).toMatch(printed)
  expect(stderr).toBe('')
})

test('examples/openai.py is Python', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'example-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const compile = 'import py_compile, sys; py_compile.compile(sys.argv[1], sys.argv[2], doraise=True)'

  const attempt = run('python3', ['-c', compile, join(examples, 'openai.py'), join(directory, 'openai.pyc')])
  const outcome = await attempt.then(
    () => 'compiled',
    (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? 'no python3 here' : error.message),
  )

  expect(['compiled', 'no python3 here']).toContain(outcome)
})
