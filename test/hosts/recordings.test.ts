import { describe, expect, test } from 'vitest'
import { missingRuntime } from '../lambda/lab.ts'
import { deltas, post } from './client.ts'
import { createHosts } from './hosts.ts'
import { heard, readRecordings } from './recordings.ts'
import { openStream, send } from './upstream.ts'

const recordings = await readRecordings()
const streams = recordings.filter(({ status }) => status === 200)
const refusals = recordings.filter(({ status }) => status !== 200)

const statuses: Readonly<Record<number, readonly [status: number, code: string]>> = {
  400: [400, 'upstream-rejected'],
  401: [502, 'upstream-auth'],
  404: [404, 'upstream-rejected'],
  429: [429, 'rate-limited'],
}

describe.skipIf((await missingRuntime()) || recordings.length === 0)('recorded streams', () => {
  const hosts = createHosts()

  function play(bytes: Uint8Array, contentType: string, sizes: () => number): void {
    hosts.upstream.script = async (response) => {
      openStream(response, contentType)
      for (let at = 0; at < bytes.length;) {
        const size = sizes()
        await send(response, bytes.subarray(at, at + size))
        at += size
      }
      response.end()
    }
  }

  const cuts = {
    'in one piece': () => Infinity,
    'cut at random': randomSizes(1, 700),
    'cut into a few bytes each': randomSizes(1, 40),
  }
  const rows = streams.flatMap((recording) =>
    Object.entries(cuts).map(([how, sizes]) => ({ ...recording, how, sizes })),
  )

  test.each(rows)(
    '$name, $how, is heard as it was said',
    async ({ bytes, contentType, sizes, expected, name }) => {
      play(bytes, contentType, sizes)

      const { status, body, complete } = await hosts.ask(post({ prompt: name }))

      const { text, reasoning, refusal, toolCalls, finishReason, usage, errors } = expected
      const said = { text, reasoning, refusal, toolCalls, finishReason, usage: usage && pick(usage) }
      const error = errors.length > 0 ? 'upstream-error' : null
      if (status === 200) expect(heard(deltas(body))).toEqual({ ...said, error })
      else expect({ error: codeOf(body), text, toolCalls }).toEqual({ error, text: '', toolCalls: [] })
      expect(complete).toBe(true)
    },
  )

  test.each(refusals)('$name is a status', async ({ bytes, contentType, status }) => {
    const [expected, code] = statuses[status]!
    hosts.upstream.script = (response) =>
      void response.writeHead(status, { 'content-type': contentType }).end(bytes)

    const refusal = await hosts.ask(post({ prompt: 'Hi' }))

    expect(refusal.status).toBe(expected)
    expect(codeOf(refusal.body)).toBe(code)
    expect(refusal.body).not.toContain('2345')
  })
})

function pick({ prompt, completion }: { prompt: number; completion: number }): object {
  return { prompt, completion }
}

function codeOf(body: string): string {
  return (JSON.parse(body) as { error: { code: string } }).error.code
}

/** The same sizes in every run. */
function randomSizes(min: number, max: number): () => number {
  let state = 42
  return () => {
    state = (state * 1103515245 + 12345) % 2 ** 31
    return min + (state % (max - min + 1))
  }
}
