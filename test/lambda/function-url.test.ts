import { describe, expect, test } from 'vitest'
import { createLab, missingRuntime } from './lab.ts'

const missing = await missingRuntime()
const lab = createLab()

describe.skipIf(missing)('a function URL', () => {
  test('gives the function payload 2.0', async () => {
    const { url } = await lab.start()

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
    const { url } = await lab.start()
    const body = Buffer.of(0, 255, 128)

    const response = await fetch(`${url}/echo/a%20b`, { method: 'POST', body })

    expect(await response.json()).toMatchObject({ body: body.toString('base64'), isBase64Encoded: true })
  })

  test.each([
    ['text', 'text/plain', 6 * 1024 * 1024],
    ['base64', 'application/octet-stream', 5 * 1024 * 1024],
  ])('refuses a request of more than 6 MB, counted as %s', async (_kind, contentType, size) => {
    const lambda = await lab.start()

    const headers = { 'content-type': contentType }
    const response = await fetch(lambda.url, { method: 'POST', headers, body: Buffer.alloc(size, 'x') })

    expect(response.status).toBe(413)
    expect(lambda.invocations).toBe(0)
  })

  test('answers a preflight itself, and adds its CORS headers to those of the function', async () => {
    const lambda = await lab.start({
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
    const lambda = await lab.start({ handler: 'broken.handler' })
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
    const lambda = await lab.start({ handler: 'index.buffered' })

    const response = await fetch(`${lambda.url}/structured`)

    expect(response.status).toBe(202)
    expect(response.headers.get('x-word')).toBe('yes')
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(await response.text()).toBe('bytes')
    expect(lambda.lastInvocation()?.responseMode).toBe('buffered')
  })

  test('may return any value, which is JSON then', async () => {
    const { url } = await lab.start({ handler: 'index.buffered' })

    const response = await fetch(`${url}/json`)

    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.json()).toEqual({ message: 'any value' })
  })

  test.each(['/throw', '/huge', '/nonsense'])('is answered 502 when it fails: %s', async (path) => {
    const lambda = await lab.start({ handler: 'index.buffered' })

    const response = await fetch(lambda.url + path)

    expect(response.status).toBe(502)
    expect((await fetch(`${lambda.url}/json`)).status).toBe(200)
    expect(lambda.exits).toEqual([])
  })

  test('can be invoked without the URL', async () => {
    const lambda = await lab.start({ handler: 'index.buffered' })

    expect(await lambda.invoke({ rawPath: '/json' })).toEqual({ message: 'any value' })
    await expect(lambda.invoke({ rawPath: '/throw' })).rejects.toThrow('RangeError: refused')
  })
})
