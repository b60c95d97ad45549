import { afterEach, expect, test } from 'vitest'
import { createApp } from '../../handlers/app.ts'
import { readOptions } from '../../handlers/options.ts'
import { createHandler } from '../../src/index.ts'
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
