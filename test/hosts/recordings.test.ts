import { describe, expect, test } from 'vitest'
import { plain, readers } from '../clients/readers.ts'
import { missingRuntime } from '../lambda/lab.ts'
import { post } from './client.ts'
import { createHosts } from './hosts.ts'
import { readRecordings } from './recordings.ts'
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

  // One official client after the other asks both hosts; `hosts.ask` compares their bytes.
  const fetchHosts: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    const { pathname, search } = new URL(request.url)
    const { status, headers, body, complete } = await hosts.ask({
      method: request.method,
      path: pathname + search,
      // Without a secret of its own each host would give the client another one.
      headers: { ...Object.fromEntries(request.headers), 'x-client-secret': 'of-the-recordings' },
      body: await request.text(),
    })
    expect(complete).toBe(true)
    return new Response(body, { status, headers })
  }

  const cuts = {
    'in one piece': () => Infinity,
    'cut at random': randomSizes(1, 700),
    'cut into a few bytes each': randomSizes(1, 40),
  }

  describe.each(Object.entries(readers))('read with %s', (_, read) => {
    test.each(Object.entries(cuts))('%s, are heard as they were said', async (_way, sizes) => {
      for (const { name, bytes, contentType, expected } of streams) {
        play(bytes, contentType, sizes)

        const heard = await read(fetchHosts).catch(() => 'failed')

        const { text, reasoning, refusal, toolCalls, finishReason, usage, errors } = expected
        const said = { text, reasoning, refusal, toolCalls, finishReason, usage }
        expect({ name, heard: typeof heard === 'string' ? heard : plain(heard) }).toEqual({
          name,
          heard: errors.length > 0 ? 'failed' : plain(said),
        })
      }
    })
  })

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
