import { describe, expect, test } from 'vitest'
import { count, missingRuntime, openUnread } from '../lambda/lab.ts'
import { ask, deltas, open, pieces, post } from './client.ts'
import { createHosts } from './hosts.ts'
import { answer, chunk, cut, finish, openStream, role, say, send, stall, stream } from './upstream.ts'

interface State {
  /** Bytes that waited in the process for a client, at most since the last look. */
  readonly highest: number
  readonly resources: readonly string[]
  readonly heap: number
}

const missing = await missingRuntime()

describe.skipIf(missing)('under the real Lambda runtime', () => {
  const hosts = createHosts({ limits: { retentionMs: 0, maxReplyBytes: 64 * 1024 * 1024 } })
  const onLambda = (...args: Parameters<typeof post>) => ask(hosts.lambda.url, post(...args))
  const state = async (): Promise<State> => {
    return JSON.parse((await ask(hosts.lambda.url, { path: '/state' })).body) as State
  }

  test('an upstream that fails in the middle is an error event and a clean end', async () => {
    hosts.upstream.script = cut(role, say('The begin'))

    const { status, body, complete } = await onLambda({ prompt: 'Hi' })

    expect({ status, complete }).toEqual({ status: 200, complete: true })
    expect(deltas(body).slice(1)).toEqual([
      { type: 'text', text: 'The begin' },
      { type: 'error', code: 'upstream-truncated', message: expect.any(String), retryable: true },
    ])
    expect(hosts.lambda.lastInvocation()?.failure).toBeUndefined()
  })

  test('a body in base64 is read like any other', async () => {
    await onLambda({ prompt: 'Zoë 你好 👋' }, { 'x-event': 'base64' })

    expect(hosts.upstream.asked.at(-1)).toMatchObject({
      messages: [{ role: 'user', content: 'Zoë 你好 👋' }],
    })
  })

  test('a body that is absent from the event is an empty body', async () => {
    const { status, body } = await onLambda({ prompt: 'Hi' }, { 'x-event': 'no-body' })

    expect({ status, body }).toEqual({ status: 400, body: expect.stringContaining('The body is empty') })
  })

  test('a client that leaves changes nothing: the answer goes on to its end, and the next request is served', async () => {
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    let ended = false
    hosts.upstream.script = async (response) => {
      openStream(response)
      await send(response, role + say('The begin'))
      await held
      await send(response, say('ning') + finish('stop'))
      ended = !response.destroyed
      response.end()
    }

    const response = await open(hosts.lambda.url, post({ prompt: 'Hi' }))
    await pieces(response).next()
    response.destroy()
    release()
    await hosts.lambda.idle()

    expect(ended).toBe(true)
    expect(hosts.lambda.lastInvocation()?.failure).toBeUndefined()
    hosts.upstream.script = stream(answer('Next.'))
    expect((await onLambda({ prompt: 'Hi' })).body).toContain('Next.')
    expect(hosts.lambda.exits).toEqual([])
  })

  test.each([
    ['ASCII text', 'x'.repeat(1000)],
    ['three bytes a character', '你'.repeat(400)],
    ['characters that JSON escapes', '\u0001"'.repeat(300)],
    ['one event of 300 KB', 'y'.repeat(300_000)],
  ])('a client that takes nothing costs less than 70 KB, with %s', async (_, text) => {
    const times = Math.ceil((20 * 1024 * 1024) / Buffer.byteLength(text))
    let sent = (): void => {}
    const allSent = new Promise<void>((resolve) => (sent = resolve))
    hosts.upstream.script = async (response) => {
      openStream(response)
      for (let i = 0; i < times; i++) await send(response, say(text))
      response.end(finish('stop'), sent)
    }

    const response = await openUnread(`${hosts.lambda.url}/stream?prompt=Hi`)
    await allSent
    const received = await count(response)
    const { highest } = await state()

    expect(received).toBeGreaterThan(20 * 1024 * 1024)
    expect(highest).toBeGreaterThan(0)
    expect(highest).toBeLessThan(70_000)
  })

  test('many requests, one after the other, leave nothing behind', async () => {
    hosts.upstream.script = stream(role, say('Hi'), chunk({ content: 'there' }), finish('stop'))
    const failing = stream(role, say('Hi'))
    async function run(times: number): Promise<State> {
      for (let i = 0; i < times; i++) {
        await onLambda({ prompt: 'Hi' })
        await onLambda({ prompt: '' })
      }
      const whole = hosts.upstream.script
      hosts.upstream.script = failing
      for (let i = 0; i < times / 2; i++) await onLambda({ prompt: 'Hi' })
      hosts.upstream.script = whole
      return state()
    }

    const states = [await run(40)]
    for (let i = 0; i < 4; i++) states.push(await run(60))

    // Caches fill and code is compiled, now and then; what is left behind by requests grows every time.
    const growth = states.slice(1).map(({ heap }, i) => heap - states[i]!.heap)
    expect(Math.min(...growth)).toBeLessThan(150_000)
    expect(states.at(-1)!.resources.length).toBeLessThanOrEqual(states[0]!.resources.length)
    expect(hosts.lambda.logs()).not.toContain('MaxListenersExceededWarning')
    expect(hosts.lambda.exits).toEqual([])
  })
})

describe.skipIf(missing)('before the function would be cut off', () => {
  const hosts = createHosts({ timeoutMs: 3000, limits: { maxReplyBytes: 64 * 1024 * 1024 } })

  test('an answer ends with an error event, and the next request is served', async () => {
    hosts.upstream.script = stall(role, say('The begin'))

    const { status, body, complete } = await ask(hosts.lambda.url, post({ prompt: 'Hi' }))
    await hosts.lambda.idle()

    expect({ status, complete }).toEqual({ status: 200, complete: true })
    expect(deltas(body).slice(1)).toEqual([
      { type: 'text', text: 'The begin' },
      { type: 'error', code: 'deadline', message: expect.any(String), retryable: true },
    ])
    expect(hosts.lambda.lastInvocation()?.failure).toBeUndefined()
    hosts.upstream.script = stream(answer('Next.'))
    expect((await ask(hosts.lambda.url, post({ prompt: 'Hi' }))).body).toContain('Next.')
    expect(hosts.lambda.exits).toEqual([])
  })

  test.each([
    ['has sent nothing', stall()],
    ['has not even answered', () => {}],
  ])('an upstream that %s is HTTP 504', async (_, script) => {
    hosts.upstream.script = script

    const { status, body } = await ask(hosts.lambda.url, post({ prompt: 'Hi' }))
    await hosts.lambda.idle()

    expect({ status, body }).toEqual({ status: 504, body: expect.stringContaining('"code":"deadline"') })
    expect(hosts.lambda.lastInvocation()?.failure).toBeUndefined()
    expect(hosts.lambda.exits).toEqual([])
  })

  test('a client that takes nothing does not hold the function beyond its time', async () => {
    hosts.upstream.script = async (response) => {
      openStream(response)
      for (let i = 0; i < 20_000 && !response.destroyed; i++) await send(response, say('x'.repeat(1000)))
      response.end(finish('stop'))
    }

    const response = await openUnread(`${hosts.lambda.url}/stream?prompt=Hi`)
    await hosts.lambda.idle()
    response.destroy()
    hosts.upstream.script = stream(answer('Next.'))

    expect((await ask(hosts.lambda.url, post({ prompt: 'Hi' }))).body).toContain('Next.')
  })
})

describe.skipIf(missing)('an event that is no HTTP request', () => {
  const hosts = createHosts()

  test.each([
    {},
    { source: 'aws.events', 'detail-type': 'Scheduled Event' },
    { httpMethod: 'GET', path: '/healthz' },
  ])('fails with a sentence: %j', async (event) => {
    const failure = await hosts.lambda.invoke(event).catch((error: Error) => error.message)

    expect(failure).toMatch(/function URL/)
    expect((await ask(hosts.lambda.url, { path: '/healthz' })).status).toBe(200)
    expect(hosts.lambda.exits).toEqual([])
  })
})
