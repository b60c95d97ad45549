import type { IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { createNodeFetch } from '../../adapters/node.ts'
import { cause, certificate, type Origin, post, serve } from './origin.ts'

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
