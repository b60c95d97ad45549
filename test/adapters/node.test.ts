import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { brotliCompressSync, constants, createGzip, deflateSync, gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createNodeFetch } from '../../adapters/node.ts'
import { soon, until } from '../src/kit.ts'

const open: Server[] = []

afterEach(async () => {
  vi.unstubAllEnvs()
  for (const server of open.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

interface Origin {
  readonly url: string
  readonly server: Server
  /** Connections so far, open or not. */
  readonly sockets: Socket[]
  readonly requests: IncomingMessage[]
}

type Answer = (response: ServerResponse, request: IncomingMessage) => void

async function serve(answer: Answer, tls?: { readonly key: Buffer; readonly cert: Buffer }): Promise<Origin> {
  const sockets: Socket[] = []
  const requests: IncomingMessage[] = []
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    requests.push(request)
    answer(response, request)
  }
  const server = tls ? createTlsServer(tls, listener) : createServer(listener)
  server.on('connection', (socket: Socket) => sockets.push(socket))
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `${tls ? 'https' : 'http'}://localhost:${port}/v1`, server, sockets, requests }
}

const post: RequestInit = { method: 'POST', body: '{"say":"ü"}', headers: { 'x-a': 'b' } }
const certificate = {
  key: readFileSync(new URL('tls/key.pem', import.meta.url)),
  cert: readFileSync(new URL('tls/cert.pem', import.meta.url)),
}

function cause(error: unknown): NodeJS.ErrnoException {
  expect(error).toBeInstanceOf(TypeError)
  return (error as TypeError).cause as NodeJS.ErrnoException // of this fetch
}

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
    const { url, sockets } = await serve((response, { url: path }) => {
      if (path?.endsWith('quick')) response.end('all')
      else response.write('first')
    })
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

describe('a body', () => {
  test('that arrives together is one piece', async () => {
    const { url } = await serve((response) => {
      for (let at = 0; at < 100; at++) response.write(`data: ${at}\n\n`)
      response.end()
    })
    const reader = (await createNodeFetch()(url, post)).body!.getReader()

    let pieces = 0
    let text = ''
    for (;;) {
      const { value, done } = await reader.read()
      if (done) break
      pieces++
      text += Buffer.from(value).toString()
    }

    expect(text).toBe(Array.from({ length: 100 }, (_, at) => `data: ${at}\n\n`).join(''))
    expect(pieces).toBeLessThan(20)
  })

  test('that nobody reads is left with the server', async () => {
    const MiB = 1024 * 1024
    let sent = 0
    const piece = 'x'.repeat(64 * 1024)
    const { url } = await serve((response) => {
      const send = (): void => {
        while (sent < 100 * MiB) {
          sent += piece.length
          if (!response.write(piece)) return void response.once('drain', send)
        }
        response.end()
      }
      send()
    })
    const reader = (await createNodeFetch()(url, post)).body!.getReader()
    await reader.read()
    let before = -1
    await until(() => {
      const still = before === sent
      before = sent
      return still
    })

    expect(sent).toBeLessThan(20 * MiB)
    let size = 0
    for (let read = await reader.read(); !read.done; read = await reader.read()) size += read.value.length
    expect(size).toBeGreaterThan(90 * MiB)
  })

  test.each([
    ['gzip', () => createGzip({ flush: constants.Z_SYNC_FLUSH })],
    ['X-GZIP', () => createGzip({ flush: constants.Z_SYNC_FLUSH })],
  ] as const)('in %s is given as it comes, before its end', async (encoding, create) => {
    const zip = create()
    const { url } = await serve((response) => {
      response.writeHead(200, { 'content-encoding': encoding })
      zip.pipe(response)
    })
    zip.write('first')
    const reader = (await createNodeFetch()(url, post)).body!.getReader()

    expect(Buffer.from((await soon(reader.read())).value!).toString()).toBe('first')
    zip.end('last')
    expect(Buffer.from((await soon(reader.read())).value!).toString()).toBe('last')
    expect((await soon(reader.read())).done).toBe(true)
  })

  test.each([
    ['deflate', deflateSync('whole')],
    ['br', brotliCompressSync('whole')],
    ['identity', Buffer.from('whole')],
    ['gzip, br', brotliCompressSync(gzipSync('whole'))],
  ] as const)('in %s is read', async (encoding, bytes) => {
    const { url } = await serve((response) => {
      response.writeHead(200, { 'content-encoding': encoding }).end(bytes)
    })

    expect(await (await createNodeFetch()(url, post)).text()).toBe('whole')
  })

  test.each([
    ['is cut', {}, (response: ServerResponse) => response.write('half', () => response.destroy())],
    [
      'is shorter than it says',
      { 'content-length': '99' },
      (response: ServerResponse) => response.write('half', () => response.socket?.end()),
    ],
    [
      'is not compressed as it says',
      { 'content-encoding': 'gzip' },
      (response: ServerResponse) => response.end('no gzip'),
    ],
  ] as const)('that %s fails where it breaks', async (_, headers, write) => {
    const { url } = await serve((response) => {
      response.writeHead(200, headers)
      write(response)
    })

    const response = await createNodeFetch()(url, post)

    await expect(soon(response.text())).rejects.toThrow(/./)
  })
})

test('a body in an encoding that nobody asked for, and that is not known, is an error', async () => {
  const { url, sockets } = await serve((response) => {
    response.writeHead(200, { 'content-encoding': 'zstd' }).write('?')
  })

  const error = await createNodeFetch()(url, post).catch((caught: unknown) => caught)

  expect(cause(error).message).toBe('unknown content-encoding zstd')
  await until(() => sockets.every(({ destroyed }) => destroyed))
})

describe('a server with a certificate', () => {
  test('that nobody vouches for is refused', async () => {
    const { url, requests } = await serve((response) => void response.end('yes'), certificate)

    const error = await createNodeFetch()(url, post).catch((caught: unknown) => caught)

    expect(cause(error).code).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
    expect(requests).toHaveLength(0)
  })
})

/** A proxy as companies have them: forwards `http:`, tunnels for `https:`, notes what it was asked. */
async function serveProxy(): Promise<Origin & { readonly seen: string[] }> {
  const seen: string[] = []
  const proxy = await serve((response, request) => {
    seen.push(`${request.method} ${request.url} ${request.headers['proxy-authorization'] ?? ''}`)
    response.end('by proxy')
  })
  proxy.server.on('connect', (request: IncomingMessage, client: Socket, head: Buffer) => {
    seen.push(`CONNECT ${request.url} ${request.headers['proxy-authorization'] ?? ''}`)
    const { port, hostname } = new URL(`http://${request.url}`)
    const target = connect(Number(port), hostname, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      target.write(head)
      target.pipe(client).pipe(target)
    })
    client.on('close', () => target.destroy()).on('error', () => {})
    target.on('close', () => client.destroy()).on('error', () => {})
  })
  return { ...proxy, seen }
}

describe('a proxy', () => {
  const url = 'http://model.test/v1'

  test.each(['HTTP_PROXY', 'http_proxy'])('of %s is asked', async (name) => {
    const proxy = await serveProxy()
    vi.stubEnv(name, proxy.url.replace('http://', 'http://me:secret@').replace('/v1', ''))

    expect(await (await createNodeFetch()(url, post)).text()).toBe('by proxy')

    expect(proxy.seen).toEqual([`POST ${url} Basic ${btoa('me:secret')}`])
  })

  test('is asked again on the same connection', async () => {
    const proxy = await serveProxy()
    vi.stubEnv('HTTP_PROXY', proxy.url)
    const fetch = createNodeFetch()

    for (let time = 0; time < 3; time++) await (await fetch(url, post)).text()

    expect(proxy.seen).toHaveLength(3)
    expect(proxy.sockets).toHaveLength(1)
  })

  test.each(['HTTPS_PROXY', 'https_proxy'])('of %s is a tunnel, and checks nothing less', async (name) => {
    const proxy = await serveProxy()
    const secure = await serve((response) => void response.end('yes'), certificate)
    vi.stubEnv(name, proxy.url)

    const error = await createNodeFetch()(secure.url, post).catch((caught: unknown) => caught)

    expect(cause(error).code).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
    expect(proxy.seen).toEqual([`CONNECT ${new URL(secure.url).host} `])
    expect(secure.requests).toHaveLength(0)
  })

  test('of ALL_PROXY alone is not asked: it may speak anything', async () => {
    const proxy = await serveProxy()
    const origin = await serve((response) => void response.end('direct'))
    vi.stubEnv('ALL_PROXY', proxy.url)

    expect(await (await createNodeFetch()(origin.url, post)).text()).toBe('direct')
    vi.stubEnv('HTTPS_PROXY', proxy.url)
    vi.stubEnv('ALL_PROXY', 'socks5://127.0.0.1:9')
    expect(await (await createNodeFetch()(origin.url, post)).text()).toBe('direct')

    expect(proxy.seen).toEqual([])
  })

  test('is not asked where that is not wanted', async () => {
    const proxy = await serveProxy()
    const origin = await serve((response) => void response.end('direct'))
    vi.stubEnv('HTTP_PROXY', proxy.url)

    expect(await (await createNodeFetch({ proxies: false })(origin.url, post)).text()).toBe('direct')
  })

  test('that is not there is a TypeError with the reason', async () => {
    const { url: gone, server } = await serve(() => {})
    await new Promise((resolve) => server.close(resolve))
    vi.stubEnv('HTTP_PROXY', gone)

    const error = await createNodeFetch()(url, post).catch((caught: unknown) => caught)

    expect(cause(error).code).toBe('ECONNREFUSED')
  })

  test.each(['localhost', '*', '.other.test,localhost', 'localhost:PORT'])(
    'is passed by for NO_PROXY=%s',
    async (list) => {
      const proxy = await serveProxy()
      const origin = await serve((response) => void response.end('direct'))
      vi.stubEnv('HTTP_PROXY', proxy.url)
      vi.stubEnv('NO_PROXY', list.replace('PORT', new URL(origin.url).port))

      expect(await (await createNodeFetch()(origin.url, post)).text()).toBe('direct')

      expect(proxy.seen).toEqual([])
    },
  )
})
