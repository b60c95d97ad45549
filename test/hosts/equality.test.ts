import { describe, expect, test } from 'vitest'
import { missingRuntime } from '../lambda/lab.ts'
import { deltas, open, pieces, post } from './client.ts'
import { createHosts, hostNames, type HostName } from './hosts.ts'
import { answers, refusals } from './answers.ts'
import { answer, refuse, type Script, stream } from './upstream.ts'

const missing = await missingRuntime()

describe.skipIf(missing)('both hosts answer with the same bytes', () => {
  const hosts = createHosts()

  test.each(Object.entries(answers))('when the upstream gives %s', async (_, script) => {
    hosts.upstream.script = script

    const { status, headers, body, complete } = await hosts.ask(post({ prompt: 'Hi' }))

    expect({ status, complete, id: headers['x-reply-id'] }).toEqual({
      status: 200,
      complete: true,
      id: 'reply-1',
    })
    expect(headers['content-type']).toBe('text/event-stream; charset=utf-8')
    expect(headers['cache-control']).toBe('no-cache, no-transform')
    expect(deltas(body).at(0)?.type).toBe('start')
    expect(deltas(body).at(-1)?.type).toMatch(/^(finish|error)$/)
  })

  test.each(Object.entries(answers))('as one document when the upstream gives %s', async (_, script) => {
    hosts.upstream.script = script

    const { status, headers, body } = await hosts.ask(post({ prompt: 'Hi', stream: false }))

    expect(headers['content-type']).toBe('application/json; charset=utf-8')
    expect(Object.keys(JSON.parse(body) as object)).toContain(status === 200 ? 'finishReason' : 'error')
  })

  test.each(Object.entries(answers))(
    'for a bare EventSource when the upstream gives %s',
    async (_, script) => {
      hosts.upstream.script = script

      const { status, body } = await hosts.ask({ path: '/stream?prompt=Hi' })

      expect(status).toBe(200)
      expect(body).toMatch(/^retry: 1\d\d\d\nid: reply-1\.0\n\nid: reply-1\.1\ndata: \{"type":"start"/)
    },
  )

  test.each(Object.entries(refusals))('when the upstream gives %s before the first token', async (_, row) => {
    const [script, status, param] = row as readonly [(typeof row)[0], number, string?]
    hosts.upstream.script = script

    const streamed = await hosts.ask(post({ prompt: 'Hi' }))
    const whole = await hosts.ask(post({ prompt: 'Hi', stream: false }))
    const native = await hosts.ask({ path: '/stream?prompt=Hi' })

    for (const refusal of [streamed, whole, native]) {
      expect(refusal.status).toBe(status)
      expect(refusal.headers['content-type']).toBe('application/json; charset=utf-8')
      expect(JSON.parse(refusal.body)).toEqual({
        error: { code: expect.any(String), message: expect.any(String), ...(param ? { param } : {}) },
      })
      expect(refusal.body).not.toContain('canary')
    }
    expect(new Set([streamed.body, whole.body, native.body]).size).toBe(1)
  })

  test('the wait that an upstream asks for is passed on', async () => {
    hosts.upstream.script = refusals['HTTP 429'][0]

    const { headers } = await hosts.ask(post({ prompt: 'Hi' }))

    expect(headers['retry-after']).toBe('7')
  })

  test.each([
    // A limit that is only the default is left out in the end.
    [{ prompt: 'Hi' }, 3],
    [{ prompt: 'Hi', max_tokens: 5 }, 2],
  ])(
    '%j refused for its token limit, whatever it is called, asks %i times and gives up',
    async (body, times) => {
      const message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
      hosts.upstream.script = refuse(400, {
        error: { message, param: 'max_tokens', code: 'unsupported_parameter' },
      })
      const before = hosts.upstream.asked.length

      const refusal = await hosts.ask(post(body))

      expect(refusal.status).toBe(400)
      // Later requests know better.
      expect(hosts.upstream.asked.length - before).toBe(2 * times)
    },
  )

  test('a whole answer says what a streamed one says', async () => {
    hosts.upstream.script = answers['many scripts']

    const streamed = await hosts.ask(post({ prompt: 'Hi' }))
    const whole = await hosts.ask(post({ prompt: 'Hi', stream: false }))

    const text = deltas(streamed.body)
      .map((delta) => (delta.type === 'text' ? delta.text : ''))
      .join('')
    expect(JSON.parse(whole.body)).toMatchObject({ id: 'reply-2', text, finishReason: 'stop' })
  })
})

describe.skipIf(missing)('when the upstream is silent for long', () => {
  const hosts = createHosts({ limits: { acceptWaitMs: 30, heartbeatMs: 30 } })

  const rows: readonly (readonly [HostName, string, Script, unknown])[] = hostNames.flatMap((name) => [
    [name, 'an answer', stream(answer('Hello.')), { type: 'finish', reason: 'stop' }],
    [
      name,
      'a refusal',
      refuse(500, {}),
      expect.objectContaining({ type: 'error', code: 'upstream-unavailable' }),
    ],
  ])

  test.each(rows)(
    '%s sends its head and heartbeats, and then %s as events',
    async (name, _, script, last) => {
      let release = (): void => {}
      const held = new Promise<void>((resolve) => (release = resolve))
      hosts.upstream.script = async (response) => {
        await held
        await script(response)
      }

      const response = await open(hosts.urls[name], post({ prompt: 'Hi' }))
      let body = ''
      for await (const piece of pieces(response)) {
        body += piece
        if (body.startsWith(': \n\n: \n\n')) release()
      }

      expect(response.statusCode).toBe(200)
      expect(deltas(body).at(-1)).toEqual(last)
    },
  )
})
