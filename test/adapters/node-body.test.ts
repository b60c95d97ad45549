import type { ServerResponse } from 'node:http'
import { brotliCompressSync, constants, createGzip, deflateSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { createNodeFetch } from '../../adapters/node.ts'
import { soon, until } from '../src/kit.ts'
import { cause, post, serve } from './origin.ts'

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
    let looks = 0
    // For a while, because what is sent next takes a moment too.
    await until(() => {
      looks = before === sent ? looks + 1 : 0
      before = sent
      return looks === 40
    }, 20_000)

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
