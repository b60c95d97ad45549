import { get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { once } from 'node:events'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startLambda } from './emulator.ts'
import type { Lambda, LambdaOptions } from './emulator.ts'
import { startGate } from './gate.ts'
import type { Gate } from './gate.ts'
import { prepareRuntime } from './install.ts'
import { writeSamples } from './samples.ts'
import type { Samples } from './samples.ts'

const paths = await prepareRuntime()
const missing = 'missing' in paths ? paths.missing : undefined
if (missing !== undefined) {
  if (process.env['CI']) throw new Error(missing)
  console.warn(`Skipping the tests under the real Lambda runtime. ${missing}`)
}

let samples: Samples
let gate: Gate
const started: Lambda[] = []

beforeAll(async () => {
  samples = await writeSamples()
  gate = await startGate()
})

afterEach(async () => {
  await Promise.all(started.splice(0).map((lambda) => lambda.stop()))
})

afterAll(async () => {
  await gate.close()
  await samples.remove()
})

async function start(options: Partial<LambdaOptions> = {}): Promise<Lambda> {
  const lambda = await startLambda({ taskRoot: samples.directory, env: { GATE: gate.url }, ...options })
  started.push(lambda)
  return lambda
}

describe.skipIf(missing)('a streaming handler', () => {
  test('reaches the client with status, headers and cookies, one write at a time', async () => {
    const { url } = await start()

    const response = await fetch(`${url}/one-by-one`)
    const pieces: string[] = []
    for await (const piece of decoded(response)) {
      pieces.push(piece)
      // The handler waits here until its last write has arrived: that is the proof.
      gate.open(piece)
    }

    expect(response.status).toBe(201)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(response.headers.get('x-word')).toBe('yes')
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2; Secure'])
    expect(pieces).toEqual(['one', 'two', 'three'])
  })

  test('that ends without a write loses its status and headers', async () => {
    const { url } = await start()

    const response = await fetch(`${url}/end-only`)

    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/octet-stream')
    expect(await response.text()).toBe('')
  })

  test('that gives its only text to end() is answered 502', async () => {
    const { url } = await start()

    const response = await fetch(`${url}/end-text`)

    expect(response.status).toBe(502)
    expect(await response.json()).toEqual({ Message: 'Internal Server Error' })
  })

  test('keeps status and headers of an empty answer by an empty write', async () => {
    const { url } = await start()

    const response = await fetch(`${url}/empty-write`)

    expect(response.status).toBe(418)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(await response.text()).toBe('')
  })

  test('sends its headers before its data', async () => {
    const { url } = await start()

    const response = await fetch(`${url}/head-first`)
    gate.open('data')

    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(await response.text()).toBe('data')
  })

  test('may do without a head', async () => {
    const lambda = await start()

    const response = await fetch(`${lambda.url}/without-head`)

    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/plain')
    expect(await response.text()).toBe('plain')
    expect(lambda.lastInvocation()).toMatchObject({ responseMode: 'streaming', contentType: 'text/plain' })
  })

  test('that throws before its first write is answered 502, and its process lives on', async () => {
    const lambda = await start()

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
    const lambda = await start()

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
    const lambda = await start()

    const response = await fetch(`${lambda.url}/destroy`)
    gate.open('destroy')
    const { body, complete } = await cutBody(response)

    expect({ body, complete }).toEqual({ body: 'kept', complete: false })
    expect(lambda.lastInvocation()?.failure?.errorType).toBe('Runtime.ExitError')
    expect(await lambda.exited).toEqual({ code: 1, signal: null })
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
  })

  test('that ends its process is answered 502; the next request gets another', async () => {
    const lambda = await start()

    const response = await fetch(`${lambda.url}/exit`)

    expect(response.status).toBe(502)
    expect(lambda.exits).toEqual([{ code: 3, signal: null }])
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
  })

  test('that never begins is answered 502 at the timeout; the next request gets another process', async () => {
    const lambda = await start({ timeoutMs: 500 })

    const response = await fetch(`${lambda.url}/never-begin`)

    expect(response.status).toBe(502)
    expect(lambda.logs()).toContain('Task timed out after 0.50 seconds')
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
    expect(lambda.exits).toEqual([{ code: null, signal: 'SIGKILL' }])
  })

  test('that never ends leaves a broken body at the timeout; the next request gets another process', async () => {
    const lambda = await start({ timeoutMs: 500 })

    const { body, complete } = await cutBody(await fetch(`${lambda.url}/never-end`))

    expect({ body, complete }).toEqual({ body: 'kept', complete: false })
    expect(lambda.lastInvocation()?.failure?.errorType).toBe('Sandbox.Timedout')
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
  })

  test('goes on after its stream has ended', async () => {
    const lambda = await start()

    const answer = await text(lambda, '/after-end')
    const before = lambda.logs()
    gate.open('after-end')
    await lambda.idle()

    expect(answer).toBe('all')
    expect(before).not.toContain('went on')
    expect(lambda.logs()).toContain('went on after the end')
  })

  test('is not told that its client has left, and serves the next one', async () => {
    const lambda = await start()

    const response = await open(`${lambda.url}/abandoned`)
    response.destroy()
    gate.open('abandoned')
    await lambda.idle()

    expect(lambda.logs()).toContain('before the end heard []')
    expect(lambda.lastInvocation()?.failure).toBeUndefined()
    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
    expect(lambda.exits).toEqual([])
  })

  test('waits for a client that takes nothing, and keeps less than 70 KB for it', async () => {
    const lambda = await start()

    const response = await open(`${lambda.url}/much`)
    await lambda.logged(/stalled after \d+/)
    const received = await count(response)
    const [, highest] = await lambda.logged(/highest writableLength (\d+)/)

    expect(received).toBe(20 * 1024 * 1024)
    expect(Number(highest)).toBeGreaterThan(0)
    expect(Number(highest)).toBeLessThan(70_000)
  })

  test('whose client takes nothing until the timeout does not block the next request', async () => {
    const lambda = await start({ timeoutMs: 1000 })

    const response = await open(`${lambda.url}/much`)
    await lambda.exited

    expect(await text(lambda, '/bytes')).toBe('€ 😀 ü')
    await expect(count(response)).rejects.toThrow('aborted')
  })

  test('does not wait for a client that takes nothing when the service keeps it all', async () => {
    const lambda = await start({ propagateBackpressure: false })

    const response = await open(`${lambda.url}/much`)
    await lambda.idle()
    const received = await count(response)

    expect(received).toBe(20 * 1024 * 1024)
  })

  test('runs beside another one in a second environment', async () => {
    const lambda = await start({ environments: 2 })
    await lambda.ready

    const both = await Promise.all([fetch(`${lambda.url}/head-first`), fetch(`${lambda.url}/head-first`)])
    gate.open('data')
    gate.open('data')

    expect(await Promise.all(both.map((response) => response.text()))).toEqual(['data', 'data'])
    expect(lambda.readyMs).toBeGreaterThan(0)
  })

  test('takes one request after another in one environment', async () => {
    const lambda = await start()

    const answers = await Promise.all(Array.from({ length: 10 }, () => text(lambda, '/bytes')))

    expect(new Set(answers)).toEqual(new Set(['€ 😀 ü']))
    expect(lambda.invocations).toBe(10)
  })
})

describe.skipIf(missing)('a function URL', () => {
  test('gives the function payload 2.0', async () => {
    const { url } = await start()

    const response = await fetch(`${url}/echo/a%20b?x=1&x=2&y=a%20b`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        Cookie: 'a=1; b=2',
        'X-Word': 'yes',
        'User-Agent': 'me',
      },
      body: '{"prompt":"Grüße"}',
    })

    const event = await response.json()
    expect(event).toMatchObject({
      version: '2.0',
      routeKey: '$default',
      rawPath: '/echo/a%20b',
      rawQueryString: 'x=1&x=2&y=a%20b',
      cookies: ['a=1', 'b=2'],
      headers: { 'content-type': 'application/json', 'x-word': 'yes', 'content-length': '20' },
      queryStringParameters: { x: '1,2', y: 'a b' },
      requestContext: {
        accountId: 'anonymous',
        http: {
          method: 'POST',
          path: '/echo/a%20b',
          protocol: 'HTTP/1.1',
          sourceIp: '127.0.0.1',
          userAgent: 'me',
        },
        time: expect.stringMatching(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/),
      },
      body: '{"prompt":"Grüße"}',
      isBase64Encoded: false,
    })
    expect(event.headers).not.toHaveProperty('cookie')
  })

  test('gives the function what is not text in base64', async () => {
    const { url } = await start()
    const body = Buffer.of(0, 255, 128)

    const response = await fetch(`${url}/echo/a%20b`, { method: 'POST', body })

    expect(await response.json()).toMatchObject({ body: body.toString('base64'), isBase64Encoded: true })
  })

  test.each([
    ['text', 'text/plain', 6 * 1024 * 1024],
    ['base64', 'application/octet-stream', 5 * 1024 * 1024],
  ])('refuses a request of more than 6 MB, counted as %s', async (_kind, contentType, size) => {
    const lambda = await start()

    const headers = { 'content-type': contentType }
    const response = await fetch(lambda.url, { method: 'POST', headers, body: Buffer.alloc(size, 'x') })

    expect(response.status).toBe(413)
    expect(lambda.invocations).toBe(0)
  })

  test('answers a preflight itself, and adds its CORS headers to those of the function', async () => {
    const lambda = await start({
      cors: { allowOrigins: ['https://a.example'], allowMethods: ['POST'], maxAge: 60 },
    })
    const headers = { origin: 'https://a.example' }

    const preflight = await fetch(`${lambda.url}/cors`, {
      method: 'OPTIONS',
      headers: { ...headers, 'access-control-request-method': 'POST' },
    })
    const invocations = lambda.invocations
    const response = await fetch(`${lambda.url}/cors`, { headers })

    expect(invocations).toBe(0)
    expect(preflight.headers.get('access-control-allow-methods')).toBe('POST')
    expect(preflight.headers.get('access-control-max-age')).toBe('60')
    expect(response.headers.get('access-control-allow-origin')).toBe('*, https://a.example')
  })

  test('answers 502 when the function cannot be loaded, and the reason is known', async () => {
    const lambda = await start({ handler: 'broken.handler' })
    await expect(lambda.ready).rejects.toThrow('OPENAI_API_KEY is not set')

    const response = await fetch(lambda.url)

    expect(response.status).toBe(502)
    expect(lambda.initError).toMatchObject({
      errorType: 'TypeError',
      errorMessage: 'OPENAI_API_KEY is not set',
    })
    expect(lambda.logs()).toContain('Init Error')
    expect(lambda.exits).toHaveLength(2)
  })
})

describe.skipIf(missing)('a handler that returns its answer', () => {
  test('states status, headers, cookies and a binary body', async () => {
    const lambda = await start({ handler: 'index.buffered' })

    const response = await fetch(`${lambda.url}/structured`)

    expect(response.status).toBe(202)
    expect(response.headers.get('x-word')).toBe('yes')
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(await response.text()).toBe('bytes')
    expect(lambda.lastInvocation()?.responseMode).toBe('buffered')
  })

  test('may return any value, which is JSON then', async () => {
    const { url } = await start({ handler: 'index.buffered' })

    const response = await fetch(`${url}/json`)

    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.json()).toEqual({ message: 'any value' })
  })

  test.each(['/throw', '/huge', '/nonsense'])('is answered 502 when it fails: %s', async (path) => {
    const lambda = await start({ handler: 'index.buffered' })

    const response = await fetch(lambda.url + path)

    expect(response.status).toBe(502)
    expect((await fetch(`${lambda.url}/json`)).status).toBe(200)
    expect(lambda.exits).toEqual([])
  })

  test('can be invoked without the URL', async () => {
    const { invoke } = await start({ handler: 'index.buffered' })

    expect(await invoke({ rawPath: '/json' })).toEqual({ message: 'any value' })
    await expect(invoke({ rawPath: '/throw' })).rejects.toThrow('RangeError: refused')
  })
})

async function text(lambda: Lambda, path: string): Promise<string> {
  return (await fetch(lambda.url + path)).text()
}

async function* decoded(response: Response): AsyncIterable<string> {
  for await (const chunk of response.body!) yield new TextDecoder().decode(chunk)
}

/** Reads as far as it goes. */
async function cutBody(response: Response): Promise<{ body: string; complete: boolean }> {
  let body = ''
  try {
    for await (const piece of decoded(response)) body += piece
    return { body, complete: true }
  } catch {
    return { body, complete: false }
  }
}

/** Resolves with the head; nothing of the body is read until somebody asks. */
async function open(url: string): Promise<IncomingMessage> {
  const [response] = await once(get(url, { agent: false }), 'response')
  return response as IncomingMessage
}

async function count(response: IncomingMessage): Promise<number> {
  let bytes = 0
  for await (const chunk of response) bytes += (chunk as Buffer).length
  return bytes
}
