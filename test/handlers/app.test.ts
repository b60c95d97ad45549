import { afterEach, expect, test } from 'vitest'
import { createApp } from '../../handlers/app.ts'
import { readOptions } from '../../handlers/options.ts'
import { createHandler, type HttpRequest } from '../../src/index.ts'
import { type Host, host } from '../adapters/host.ts'
import { dial, split } from '../adapters/raw.ts'
import { saying } from '../adapters/script.ts'

let running: Host | undefined
afterEach(() => running?.close())

test.each(['GET http://[/healthz', 'GET http://[', 'POST //[/chat', 'GET /%ff', 'GET /nowhere', 'OPTIONS *'])(
  'the address of %s is answered as JSON, or with nothing, never with a web page',
  async (line) => {
    running = await host(createApp(createHandler({ model: 'm', upstream: saying('hi') }), readOptions({})))
    const wire = await dial(running.port)

    wire.send(`${line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)

    const { status, headers, body } = split(await wire.closed)
    expect([204, 400, 404]).toContain(status)
    expect(body).not.toMatch(/<html/i)
    if (body) expect(JSON.parse(body)).toMatchObject({ error: { code: expect.any(String) } })
    expect(headers).not.toHaveProperty('x-powered-by')
    if (line.includes('healthz'))
      expect([status, headers['content-type']]).toEqual([400, 'application/json; charset=utf-8'])
  },
)

test.each([
  ['0', '203.0.113.9', '127.0.0.1'],
  ['1', '203.0.113.9', '203.0.113.9'],
  // The client sent the first of them.
  ['1', '1.1.1.1, 203.0.113.9', '203.0.113.9'],
  ['2', '1.1.1.1, 203.0.113.9, 10.0.0.2', '203.0.113.9'],
  ['1', undefined, '127.0.0.1'],
])('behind %s proxies and with X-Forwarded-For: %s, the client is %s', async (count, forwarded, address) => {
  const seen: HttpRequest[] = []
  const handler = createHandler({ model: 'm', upstream: saying('hi') })
  const options = readOptions({ TRUSTED_PROXIES: count })
  running = await host(createApp((request) => (seen.push(request), handler(request)), options))

  for (const path of ['/models', '/%ff'])
    await fetch(running.url + path, { headers: forwarded ? { 'x-forwarded-for': forwarded } : {} })

  expect(seen.map((request) => request.address)).toEqual([address, address])
})
