import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { streamChat } from '../../../src/chat.ts'
import type { ChatDelta } from '../../../src/types.ts'
import { withBoundedRefusals } from '../../../src/upstreams/body.ts'
import { createOpenAI } from '../../../src/upstreams/openai.ts'
import { all, asking, soon, until } from '../kit.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void // what the flag brings

const open: Server[] = []

afterEach(async () => {
  for (const server of open.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

interface Origin {
  readonly url: string
  readonly asked: () => number
  /** Whether the last connection that asked has been closed. */
  readonly closed: () => boolean
}

async function serve(answer: (response: ServerResponse) => void): Promise<Origin> {
  let asked = 0
  let closed = false
  const server = createServer((request, response) => {
    closed = false
    request.socket.on('close', () => (closed = true))
    request.resume().on('end', () => {
      asked++
      answer(response)
    })
  })
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/v1`, asked: () => asked, closed: () => closed }
}

function ask({ url }: Origin, headersTimeoutMs: number, signal = new AbortController().signal) {
  const upstream = createOpenAI({ apiKey: 'k-test', baseURL: url, headersTimeoutMs })
  return all<ChatDelta>(streamChat(asking(), { upstream, signal, id: 'r' }))
}

const json = { 'content-type': 'application/json' }
const refusal = '{"error":{"param":"model","message":"No such model."'

describe('a document that stalls, whatever is collected as garbage meanwhile', () => {
  let collecting: ReturnType<typeof setInterval>
  beforeEach(() => void (collecting = setInterval(collectGarbage, 20)))
  afterEach(() => clearInterval(collecting))

  const statuses = [500, 400, 200]
  const stalling = (status: number): Promise<Origin> =>
    serve((response) => void response.writeHead(status, json).write(refusal))

  test.each(statuses)(
    'ends when the time for headers is over, and so does its connection (%i)',
    async (status) => {
      const origin = await stalling(status)

      const deltas = await soon(ask(origin, 400), 3000)

      expect(deltas.at(-1)).toMatchObject({ type: 'error', code: 'upstream-timeout' })
      await until(origin.closed, 1000)
    },
  )

  test.each(statuses)('ends when it is aborted, and so does its connection (%i)', async (status) => {
    const origin = await stalling(status)
    const controller = new AbortController()
    const running = ask(origin, 60_000, controller.signal)
    await until(() => origin.asked() === 1)
    await new Promise((resolve) => setTimeout(resolve, 200)) // its beginning is being read, and garbage collected

    controller.abort()

    expect((await soon(running, 1000)).at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
    await until(origin.closed, 1000)
  })
})

describe('a refusal that is large', () => {
  const MiB = 1024 * 1024

  test('is closed after its beginning', async () => {
    let sent = 0
    const piece = 'x'.repeat(64 * 1024)
    const origin = await serve((response) => {
      response.writeHead(400, { 'content-type': 'text/plain' })
      const send = (): void => {
        while (sent < 200 * MiB && !response.destroyed) {
          sent += piece.length
          if (!response.write(piece)) return void response.once('drain', send)
        }
        response.end()
      }
      send()
    })

    const deltas = await soon(ask(origin, 10_000), 5000)

    expect(deltas.at(-1)).toMatchObject({ code: 'upstream-rejected' })
    await until(origin.closed, 1000)
    // Far less than all of it: what the buffers of two sockets take.
    expect(sent).toBeLessThan(32 * MiB)
  })

  test('is read to 64 KiB and no further', async () => {
    const cancel = vi.fn<() => void>()
    let pulled = 0
    const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
      pulled += 1000
      controller.enqueue(new Uint8Array(1000).fill(120))
    }
    const endless = new ReadableStream({ pull, cancel }, { highWaterMark: 0 })
    const bounded = withBoundedRefusals(async () => new Response(endless, { status: 500 }))

    const response = await bounded('http://localhost/')

    expect(response.status).toBe(500)
    expect(await response.text()).toBe('x'.repeat(64 * 1024))
    expect(pulled).toBeLessThan(64 * 1024 + 1000)
    expect(cancel).toHaveBeenCalledTimes(1)
  })
})

describe('a refusal of any shape is an error of the upstream', () => {
  const rows: Record<string, [string, (response: ServerResponse) => void]> = {
    'compressed, with its words': [
      'upstream-rejected',
      (response) =>
        void response.writeHead(400, { ...json, 'content-encoding': 'gzip' }).end(gzipSync(`${refusal}}}`)),
    ],
    'compressed, they say': [
      'upstream-auth',
      (response) => void response.writeHead(401, { ...json, 'content-encoding': 'gzip' }).end('no gzip'),
    ],
    'without a body': ['upstream-unavailable', (response) => void response.writeHead(500, json).end()],
    'cut in its body': [
      'upstream-auth',
      (response) =>
        void response
          .writeHead(401, { ...json, 'content-length': 999 })
          .write(refusal, () => response.destroy()),
    ],
    'with a reason in another alphabet': [
      'upstream-auth',
      (response) => void response.socket?.end('HTTP/1.1 401 Нет\r\ncontent-length: 2\r\n\r\n{}'),
    ],
    'with a status that nobody knows': [
      'upstream-unavailable',
      (response) => void response.writeHead(799, json).end(`${refusal}}}`),
    ],
    'that is 204': ['upstream-bad-response', (response) => void response.writeHead(204, json).end()],
    'that is 205': ['upstream-bad-response', (response) => void response.writeHead(205, json).end()],
    'that is 304': ['upstream-bad-response', (response) => void response.writeHead(304, json).end()],
    'that is an empty document': [
      'upstream-bad-response',
      (response) => void response.writeHead(200, json).end(),
    ],
  }

  test.each(Object.entries(rows))('%s', async (name, [code, answer]) => {
    const origin = await serve(answer)

    const last = (await soon(ask(origin, 5000))).at(-1)

    expect(last).toMatchObject({ type: 'error', code })
    if (name.endsWith('words'))
      expect(last).toMatchObject({ message: expect.stringContaining('No such model') })
  })
})
