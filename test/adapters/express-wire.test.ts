import { request as ask } from 'node:http'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { fixed, type Host, hosts } from './host.ts'
import { bare, dial, post, split } from './raw.ts'
import { createScript, saying } from './script.ts'

let running: Host | undefined

afterEach(async () => {
  await running?.close()
  running = undefined
})

const finish = '"type":"finish"'

describe.each(hosts)('on %s', (_, listen) => {
  test.each(['HTTP/1.0', 'HTTP/1.1'])('an %s client gets the whole answer', async (version) => {
    running = await listen({ ...fixed, upstream: saying('Hél', 'lo') })
    const wire = await dial(running.port)

    wire.send(`GET /stream?prompt=hi ${version}\r\nHost: localhost\r\nConnection: close\r\n\r\n`)

    const { status, headers, body } = split(await wire.closed)
    expect(status).toBe(200)
    expect(headers['transfer-encoding']).toBe(version === 'HTTP/1.0' ? undefined : 'chunked')
    expect(headers['connection']).toBe('close')
    expect(body).toBe(
      'retry: 1390\nid: reply-1.0\n\n' +
        'id: reply-1.1\ndata: {"type":"start","id":"reply-1","model":"test-model","createdAt":1700000000000}\n\n' +
        'id: reply-1.2\ndata: {"type":"text","text":"Hél"}\n\n' +
        'id: reply-1.3\ndata: {"type":"text","text":"lo"}\n\n' +
        'id: reply-1.4\ndata: {"type":"finish","reason":"stop"}\n\n',
    )
  })

  test('an HTTP/1.0 client gets its tokens one by one', async () => {
    const script = createScript()
    running = await listen({ upstream: script.upstream, acceptWaitMs: 0 })
    const wire = await dial(running.port)

    wire.send('GET /stream?prompt=hi HTTP/1.0\r\n\r\n')
    await wire.until('retry: 1')
    await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
    script.asked[0]?.say('one')
    await wire.until('"one"')
    script.asked[0]?.say('two')
    await wire.until('"two"')
    script.asked[0]?.finish()

    expect((await wire.closed).endsWith('data: {"type":"finish","reason":"stop"}\n\n')).toBe(true)
  })

  // Node takes a FIN of the client for its end: documented, and cheaper than to pay for an answer nobody reads.
  test('a client that half-closes after its request counts as gone', async () => {
    const script = createScript()
    running = await listen({ upstream: script.upstream, acceptWaitMs: 0, lingerMs: 0 })
    const wire = await dial(running.port)

    wire.send(post('/chat', { prompt: 'hi' }))
    await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
    script.asked[0]?.say('one')
    await wire.until('"one"')
    wire.socket.end()

    await vi.waitUntil(() => script.asked[0]?.signal.aborted, { timeout: 10_000 })
    await wire.closed
    await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 10_000 })
  })

  test('pipelined requests are answered in their order, each asked when its turn has come', async () => {
    const script = createScript()
    running = await listen({ upstream: script.upstream })
    const wire = await dial(running.port)

    wire.send(post('/chat', { prompt: 'first' }) + post('/chat', { prompt: 'second' }) + bare('GET /healthz'))
    await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
    script.asked[0]?.say('one')
    await wire.until('"one"')
    expect(script.asked).toHaveLength(1)
    script.asked[0]?.finish()
    await vi.waitUntil(() => script.asked.length === 2, { timeout: 10_000 })
    script.asked[1]?.say('two')
    script.asked[1]?.finish()

    const text = await wire.until('"status":"ok"')
    expect(text.indexOf('"one"')).toBeLessThan(text.indexOf('"two"'))
    expect(script.asked.map(({ request }) => request.messages[0]?.content)).toEqual(['first', 'second'])
    wire.leave()
  })

  test('a client that leaves takes its pipelined requests with it', async () => {
    const script = createScript()
    running = await listen({ upstream: script.upstream, lingerMs: 0, acceptWaitMs: 0 })
    const wire = await dial(running.port)

    wire.send(post('/chat', { prompt: 'first' }) + post('/chat', { prompt: 'second' }))
    await wire.until('200 OK')
    await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
    wire.leave('RST')

    await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 10_000 })
    await vi.waitUntil(() => script.asked.every(({ signal }) => signal.aborted), { timeout: 10_000 })
    expect(script.asked.map(({ request }) => request.messages[0]?.content)).toEqual(['first'])
  })

  test('a connection is used again after a stream', async () => {
    running = await listen({ upstream: saying('hi') })
    const wire = await dial(running.port)

    for (const times of [1, 2, 3]) {
      wire.send(post('/chat', { prompt: 'hi' }))
      await wire.until(finish, times)
      await wire.until('\r\n0\r\n\r\n', times)
    }

    expect(running.sockets.size).toBe(1)
    wire.leave()
  })

  test('silence is filled with comments, which carry no id', async () => {
    const script = createScript()
    running = await listen({ upstream: script.upstream, acceptWaitMs: 0, heartbeatMs: 20 })
    const wire = await dial(running.port)

    wire.send(bare('GET /stream?prompt=hi', ['Connection: close']))
    await wire.until(': \n\n', 2)
    script.asked[0]?.say('one')
    await wire.until('"one"')
    await wire.until(': \n\n', 4)
    script.asked[0]?.finish()

    const { body } = split(await wire.closed)
    expect(body.replaceAll(': \n\n', '').match(/^id: .*$/gm)).toHaveLength(4)
  })

  test('a client that asks for permission to send its body gets it', async () => {
    running = await listen({ upstream: saying('hi') })

    const asking = ask(`${running.url}/chat`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', expect: '100-continue' },
    })
    asking.flushHeaders()
    asking.once('continue', () => asking.end('{"prompt":"hi"}'))
    const status = await new Promise((resolve) =>
      asking.once('response', (response) => resolve(response.resume().statusCode)),
    )

    expect(status).toBe(200)
  })
})
