import { describe, expect, test } from 'vitest'
import { count, createLab, cutBody, decoded, missingRuntime, openUnread, text } from './lab.ts'

const missing = await missingRuntime()
const lab = createLab()

describe.skipIf(missing)('a streaming handler', () => {
  test('reaches the client with status, headers and cookies, one write at a time', async () => {
    const { url } = await lab.start()

    const response = await fetch(`${url}/one-by-one`)
    const pieces: string[] = []
    for await (const piece of decoded(response)) {
      pieces.push(piece)
      // The handler waits here until its last write has arrived: that is the proof.
      lab.open(piece)
    }

    expect(response.status).toBe(201)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(response.headers.get('x-word')).toBe('yes')
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2; Secure'])
    expect(pieces).toEqual(['one', 'two', 'three'])
  })

  test('that ends without a write loses its status and headers', async () => {
    const { url } = await lab.start()

    const response = await fetch(`${url}/end-only`)

    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/octet-stream')
    expect(await response.text()).toBe('')
  })

  test('that gives its only text to end() is answered 502', async () => {
    const { url } = await lab.start()

    const response = await fetch(`${url}/end-text`)

    expect(response.status).toBe(502)
    expect(await response.json()).toEqual({ Message: 'Internal Server Error' })
  })

  test('keeps status and headers of an empty answer by an empty write', async () => {
    const { url } = await lab.start()

    const response = await fetch(`${url}/empty-write`)

    expect(response.status).toBe(418)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(await response.text()).toBe('')
  })

  test('sends its headers before its data', async () => {
    const { url } = await lab.start()

    const response = await fetch(`${url}/head-first`)
    lab.open('data')

    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(await response.text()).toBe('data')
  })

  test('may do without a head', async () => {
    const lambda = await lab.start()

    const response = await fetch(`${lambda.url}/without-head`)

    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/plain')
    expect(await response.text()).toBe('plain')
    expect(lambda.lastInvocation()).toMatchObject({ responseMode: 'streaming', contentType: 'text/plain' })
  })

  test('that throws before its first write is answered 502, and its process lives on', async () => {
    const lambda = await lab.start()

    const response = await fetch(`${lambda.url}/throw-early`)

    expect(response.status).toBe(502)
    expect(await response.json()).toEqual({ Message: 'Internal Server Error' })
    expect(lambda.lastInvocation()?.failure).toMatchObject({
      errorType: 'RangeError',
      errorMessage: 'too early',
    })
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
    expect(lambda.exits).toEqual([])
  })

  test('that throws after a write leaves a broken body, and its process lives on', async () => {
    const lambda = await lab.start()

    const { body, complete } = await cutBody(await fetch(`${lambda.url}/throw-late`))

    expect({ body, complete }).toEqual({ body: 'kept', complete: false })
    expect(lambda.lastInvocation()?.failure).toMatchObject({
      errorType: 'RangeError',
      errorMessage: 'too late',
    })
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
    expect(lambda.exits).toEqual([])
  })

  test('that destroys its stream ends its process; the next request gets another', async () => {
    const lambda = await lab.start()

    const response = await fetch(`${lambda.url}/destroy`)
    lab.open('destroy')
    const { body, complete } = await cutBody(response)

    expect({ body, complete }).toEqual({ body: 'kept', complete: false })
    expect(lambda.lastInvocation()?.failure?.errorType).toBe('Runtime.ExitError')
    expect(await lambda.exited).toEqual({ code: 1, signal: null })
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
  })

  test('that ends its process is answered 502; the next request gets another', async () => {
    const lambda = await lab.start()

    const response = await fetch(`${lambda.url}/exit`)

    expect(response.status).toBe(502)
    expect(lambda.exits).toEqual([{ code: 3, signal: null }])
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
  })

  test('that never begins is answered 502 at the timeout; the next request gets another process', async () => {
    const lambda = await lab.start({ timeoutMs: 500 })

    const response = await fetch(`${lambda.url}/never-begin`)

    expect(response.status).toBe(502)
    expect(lambda.logs()).toContain('Task timed out after 0.50 seconds')
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
    expect(lambda.exits).toEqual([{ code: null, signal: 'SIGKILL' }])
  })

  test('that never ends leaves a broken body at the timeout; the next request gets another process', async () => {
    const lambda = await lab.start({ timeoutMs: 500 })

    const { body, complete } = await cutBody(await fetch(`${lambda.url}/never-end`))

    expect({ body, complete }).toEqual({ body: 'kept', complete: false })
    expect(lambda.lastInvocation()?.failure?.errorType).toBe('Sandbox.Timedout')
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
  })

  test('goes on after its stream has ended', async () => {
    const lambda = await lab.start()

    const answer = await text(lambda, '/after-end')
    const before = lambda.logs()
    lab.open('after-end')
    await lambda.idle()

    expect(answer).toBe('all')
    expect(before).not.toContain('went on')
    expect(lambda.logs()).toContain('went on after the end')
  })

  test('is not told that its client has left, and serves the next one', async () => {
    const lambda = await lab.start()

    const response = await openUnread(`${lambda.url}/abandoned`)
    response.destroy()
    lab.open('abandoned')
    await lambda.idle()

    expect(lambda.logs()).toContain('before the end heard []')
    expect(lambda.lastInvocation()?.failure).toBeUndefined()
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
    expect(lambda.exits).toEqual([])
  })

  test('waits for a client that takes nothing, and keeps less than 70 KB for it', async () => {
    const lambda = await lab.start()

    const response = await openUnread(`${lambda.url}/much`)
    await lambda.logged(/stalled after \d+/)
    const received = await count(response)
    const [, highest] = await lambda.logged(/highest writableLength (\d+)/)

    expect(received).toBe(20 * 1024 * 1024)
    expect(Number(highest)).toBeGreaterThan(0)
    expect(Number(highest)).toBeLessThan(70_000)
  })

  test('whose client takes nothing until the timeout does not block the next request', async () => {
    const lambda = await lab.start({ timeoutMs: 1000 })

    const response = await openUnread(`${lambda.url}/much`)
    await lambda.exited

    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
    await expect(count(response)).rejects.toThrow('aborted')
  })

  test('does not wait for a client that takes nothing when the service keeps it all', async () => {
    const lambda = await lab.start({ propagateBackpressure: false })

    const response = await openUnread(`${lambda.url}/much`)
    await lambda.idle()
    const received = await count(response)

    expect(received).toBe(20 * 1024 * 1024)
  })

  test('runs beside another one in a second environment', async () => {
    const lambda = await lab.start({ environments: 2 })
    await lambda.ready

    const both = await Promise.all([fetch(`${lambda.url}/head-first`), fetch(`${lambda.url}/head-first`)])
    lab.open('data')
    lab.open('data')

    expect(await Promise.all(both.map((response) => response.text()))).toEqual(['data', 'data'])
    expect(lambda.readyMs).toBeGreaterThan(0)
  })

  test('takes one request after another in one environment', async () => {
    const lambda = await lab.start()

    const answers = await Promise.all(Array.from({ length: 10 }, () => text(lambda, '/bytes')))

    expect(new Set(answers)).toEqual(new Set(['€ 😀 ü']))
    expect(lambda.invocations).toBe(10)
  })
})
