import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createLaunch } from '../server/launch.ts'
import { answerWith, startModelServer } from './model-server.ts'

const { launchOnce } = createLaunch()

const isAble = process.platform === 'linux' && spawnSync('prlimit', ['--version']).status === 0
if (!isAble) console.warn('Skipped: a server without file descriptors. It needs Linux and prlimit.')

/** Leaves a process so many file descriptors; without a number, as many as before. */
function leave(pid: number, free: number | undefined): void {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number))
  let limit = 0
  for (let left = free ?? Infinity; left >= 0 && limit < 4096; limit++) if (!used.has(limit)) left--
  execFileSync('prlimit', ['--pid', String(pid), `--nofile=${free === undefined ? 4096 : limit - 1}:`])
}

async function ask(
  url: string,
): Promise<{ readonly status: number; readonly wait: string | null; readonly text: string }> {
  const response = await fetch(`${url}/chat`, {
    method: 'POST',
    // The connection is closed after it, and gives its descriptor back.
    headers: { 'content-type': 'application/json', connection: 'close' },
    body: '{"prompt":"hi","stream":false}',
  })
  return { status: response.status, wait: response.headers.get('retry-after'), text: await response.text() }
}

test.skipIf(!isAble)(
  'no file descriptor for the upstream is this server being overloaded, no failure of the upstream',
  async () => {
    const [first, second] = await Promise.all(
      [1, 2].map(() =>
        startModelServer((response) => {
          response.setHeader('connection', 'close')
          answerWith(response, 'fine')
        }),
      ),
    )
    const upstreams = [first, second].map((model, index) => ({ name: `s${index + 1}`, baseURL: model!.url }))
    const server = launchOnce({
      UPSTREAMS: JSON.stringify(upstreams),
      UPSTREAM_RETRIES: '0',
      OPENAI_MODEL: 'm',
    })
    const url = await server.ready
    expect(await ask(url)).toMatchObject({ status: 200 })
    const pid = server.child.pid!

    // One descriptor: the client's connection takes it.
    leave(pid, 1)
    const refused = []
    for (let i = 0; i < 6; i++) refused.push(await ask(url))
    leave(pid, undefined)
    const later = await ask(url)

    for (const { status, wait, text } of refused) {
      expect([status, wait]).toEqual([503, '1'])
      expect(text).toContain('"code":"overloaded"')
      expect(text).toContain('no more file descriptors')
    }
    expect(server.stderr).toMatch(/"code":"overloaded".*EMFILE/)
    // Neither breaker has counted it.
    expect(later).toMatchObject({ status: 200 })
    expect(first!.received).toHaveLength(2)
  },
  60_000,
)
