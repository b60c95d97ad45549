import { describe, expect, test, vi } from 'vitest'
import { createNodeFetch } from '../../adapters/node.ts'
import { soon, until } from '../src/kit.ts'
import { cause, certificate, post, serve } from './origin.ts'

describe('a request', () => {
  test('says what it was told to, and its answer what the server did', async () => {
    let body = ''
    const { url, requests } = await serve((response, request) => {
      request.setEncoding('utf8').on('data', (piece: string) => (body += piece))
      request.on('end', () => {
        response.writeHead(418, 'So it is', [
          ['x-many', '1'],
          ['x-many', '2'],
          ['set-cookie', 'a=1'],
          ['set-cookie', 'b=2'],
        ] as never) // a list of lists, which its type does not know
        response.end('{"no":"coffee"}')
      })
    })

    const response = await createNodeFetch()(`${url}?q=1`, post)

    expect(body).toBe(post.body)
    expect(requests[0]).toMatchObject({ method: 'POST', url: '/v1?q=1', headers: { 'x-a': 'b' } })
    expect(requests[0]?.headers['content-length']).toBe('12')
    expect(response).toMatchObject({ ok: false, status: 418, statusText: 'So it is', redirected: false })
    expect(response.headers.get('x-many')).toBe('1, 2')
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(await response.json()).toEqual({ no: 'coffee' })
  })

  test.each([new URL('http://localhost/'), new Request('http://localhost/')])(
    'takes an address as %o too',
    async (input) => {
      const { url } = await serve((response) => void response.end('yes'))
      const { port } = new URL(url)
      const address = input instanceof URL ? input : new Request(`http://localhost:${port}/`)
      if (input instanceof URL) input.port = port

      expect(await (await createNodeFetch()(address)).text()).toBe('yes')
    },
  )

  test.each([301, 302, 303, 307, 308])('is not sent on to where a redirect (%i) points', async (status) => {
    const { url, requests } = await serve((response) => {
      response.writeHead(status, { location: '/elsewhere' }).end()
    })

    const error = await createNodeFetch()(url, post).catch((caught: unknown) => caught)

    expect(cause(error).message).toBe('unexpected redirect')
    expect(requests).toHaveLength(1)
  })

  test('that nobody takes is a TypeError with the reason', async () => {
    const { url, server } = await serve(() => {})
    await new Promise((resolve) => server.close(resolve))

    const error = await createNodeFetch()(url, post).catch((caught: unknown) => caught)

    expect(cause(error).code).toBe('ECONNREFUSED')
  })

  test('that is reset is not sent again, on a connection that was kept either', async () => {
    const { url, requests } = await serve((response, { socket }) => {
      if (requests.length === 1) response.end('first')
      else socket.resetAndDestroy()
    })
    const fetch = createNodeFetch()
    await (await fetch(url, post)).text()

    const error = await fetch(url, post).catch((caught: unknown) => caught)

    expect(cause(error).code).toBe('ECONNRESET')
    expect(requests).toHaveLength(2)
  })
})

describe('its signal', () => {
  const reason = new Error('enough')

  test('that has aborted before: nothing is sent', async () => {
    const { url, sockets } = await serve(() => {})

    await expect(createNodeFetch()(url, { ...post, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)

    expect(sockets).toHaveLength(0)
  })

  test.each(['HTTP_PROXY', 'NOTHING'])(
    'that aborts before anything was sent is seen (%s): nothing is sent',
    async (name) => {
      const { url, requests } = await serve(() => {})
      vi.stubEnv(name, url)
      const controller = new AbortController()

      const asking = createNodeFetch()(url, { ...post, signal: controller.signal })
      controller.abort(reason)

      await expect(soon(asking)).rejects.toBe(reason)
      await new Promise(setImmediate)
      expect(requests).toHaveLength(0)
    },
  )

  test('ends the wait for a proxy that does not answer', async () => {
    const proxy = await serve(() => {})
    let asked = false
    proxy.server.on('connect', () => void (asked = true))
    vi.stubEnv('HTTPS_PROXY', proxy.url)
    const controller = new AbortController()
    const asking = createNodeFetch()('https://model.test/v1', { ...post, signal: controller.signal })
    asking.catch(() => {})
    await until(() => asked)

    controller.abort(reason)

    await expect(soon(asking)).rejects.toBe(reason)
    for (const socket of proxy.sockets) socket.destroy()
  })

  test('ends the wait for an answer, and its connection', async () => {
    const { url, sockets, requests } = await serve(() => {})
    const controller = new AbortController()
    const asking = createNodeFetch()(url, { ...post, signal: controller.signal })
    asking.catch(() => {})
    await until(() => requests.length === 1)

    controller.abort(reason)

    await expect(soon(asking)).rejects.toBe(reason)
    await until(() => sockets.every(({ destroyed }) => destroyed))
  })

  test.each(['in the middle of a read', 'between two reads'])('ends the body, %s', async (when) => {
    const { url, sockets } = await serve((response) => void response.write('first'))
    const controller = new AbortController()
    const response = await createNodeFetch()(url, { ...post, signal: controller.signal })
    const reader = response.body!.getReader()
    await reader.read()
    const reading = when.startsWith('in') ? reader.read() : undefined
    reading?.catch(() => {})

    controller.abort(reason)

    await until(() => sockets.every(({ destroyed }) => destroyed))
    await expect(soon(reading ?? reader.read())).rejects.toBe(reason)
  })

  test('that aborts after the end does nothing to the connection, which is somebody else by then', async () => {
    const { url, sockets } = await serve((response) => void response.end('all'))
    const fetch = createNodeFetch()
    const controller = new AbortController()
    const { signal } = controller
    const listening = vi.spyOn(signal, 'removeEventListener')
    const response = await fetch(url, { ...post, signal })
    const reader = response.body!.getReader()
    while (!(await reader.read()).done);
    await until(() => listening.mock.calls.length > 0)

    controller.abort(reason)
    await reader.cancel()

    expect(await (await fetch(url, post)).text()).toBe('all')
    expect(sockets).toHaveLength(1)
  })
})

describe('connections', () => {
  test('are as many as there are readers at a time: 80 answers to 16', async () => {
    const { url, sockets } = await serve((response) => {
      response.write('data: 1\n\n')
      setTimeout(() => response.end('data: [DONE]\n\n'), 2)
    })
    const fetch = createNodeFetch()
    async function client(): Promise<void> {
      for (let answer = 0; answer < 5; answer++) {
        const reader = (await fetch(url, post)).body!.getReader()
        while (!(await reader.read()).done);
      }
    }

    await Promise.all(Array.from({ length: 16 }, client))

    expect(sockets.length).toBeLessThanOrEqual(16)
  })

  test('no limit of their number lets one wait', async () => {
    const { url, requests } = await serve((response) => void response.write('open'))
    const fetch = createNodeFetch()

    const responses = await soon(Promise.all(Array.from({ length: 300 }, () => fetch(url, post))))

    expect(requests).toHaveLength(300)
    for (const { body } of responses) await body?.getReader().cancel()
  })

  test('one that nobody uses is closed after four seconds, and one that is silent in an answer is not', async () => {
    const { url, server, sockets } = await serve((response, { url: path }) => {
      if (path?.endsWith('quick')) response.end('all')
      else response.write('first')
    })
    server.keepAliveTimeout = 60_000 // it is not the server that closes
    const fetch = createNodeFetch()
    const reader = (await fetch(`${url}/slow`, post)).body!.getReader()
    await reader.read()
    await (await fetch(`${url}/quick`, post)).text()
    expect(sockets).toHaveLength(2)

    await until(() => sockets[1]!.destroyed, 6000)

    expect(sockets[0]!.destroyed).toBe(false)
    await reader.cancel()
  })

  test('one that is cancelled is closed', async () => {
    const { url, sockets } = await serve((response) => void response.write('open'))
    const reader = (await createNodeFetch()(url, post)).body!.getReader()
    await reader.read()

    await reader.cancel()

    expect(await reader.read()).toEqual({ value: undefined, done: true })
    await until(() => sockets.every(({ destroyed }) => destroyed))
  })
})

describe('a server with a certificate', () => {
  test('that nobody vouches for is refused', async () => {
    const { url, requests } = await serve((response) => void response.end('yes'), certificate)

    const error = await createNodeFetch()(url, post).catch((caught: unknown) => caught)

    expect(cause(error).code).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
    expect(requests).toHaveLength(0)
  })
})
