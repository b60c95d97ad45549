import { getEventListeners } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { streamChat } from '../../../src/chat.ts'
import type { ChatDelta, ChatRequest, Upstream } from '../../../src/types.ts'
import { createOpenAI, type OpenAIOptions } from '../../../src/upstreams/openai.ts'
import { all, asking, soon, textIn, until } from '../kit.ts'

const open: Server[] = []

afterEach(async () => {
  for (const server of open.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

type Body = Readonly<Record<string, unknown>>
type Answer = (response: ServerResponse, body: Body, request: IncomingMessage) => void

interface Origin {
  readonly url: string
  readonly bodies: Body[]
  readonly headers: IncomingMessage['headers'][]
  readonly connections: () => number
}

async function serve(answer: Answer): Promise<Origin> {
  const bodies: Body[] = []
  const headers: IncomingMessage['headers'][] = []
  let connections = 0
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8')
    request.on('data', (piece: string) => (text += piece))
    request.on('end', () => {
      const body = JSON.parse(text || '{}') as Body
      bodies.push(body)
      headers.push(request.headers)
      answer(response, body, request)
    })
  })
  server.on('connection', () => connections++)
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/v1`, bodies, headers, connections: () => connections }
}

const chunk = (delta: object, finish: string | null = null): string => {
  return `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`
}
const hello = chunk({ content: 'Hello' })
const finish = chunk({}, 'stop')
const done = 'data: [DONE]\n\n'
const sse = { 'content-type': 'text/event-stream' }

const whole: Answer = (response) => {
  response.writeHead(200, sse)
  response.end(hello + finish + done)
}

function refuse(response: ServerResponse, message: string, more: object = {}): void {
  response.writeHead(400, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ error: { message, type: 'invalid_request_error', ...more } }))
}

function upstreamAt({ url }: Origin, options: Partial<OpenAIOptions> = {}): Upstream {
  return createOpenAI({ apiKey: 'k-test', baseURL: url, ...options })
}

function ask(
  upstream: Upstream,
  request: ChatRequest = asking(),
  signal?: AbortSignal,
): Promise<ChatDelta[]> {
  const options = { upstream, signal: signal ?? new AbortController().signal, id: 'r' }
  return soon(all(streamChat(request, options)), 8000)
}

test('everything that was asked is on the wire, in the words of the API, and nothing else', async () => {
  const origin = await serve(whole)
  const upstream = upstreamAt(origin, { organization: 'org-1', project: 'proj-1' })

  await ask(
    upstream,
    asking('hi', {
      temperature: 0.5,
      topP: 0.9,
      maxOutputTokens: 7,
      stop: ['END'],
      seed: 3,
      presencePenalty: 1,
      frequencyPenalty: -1,
      reasoningEffort: 'low',
    }),
  )
  await ask(upstream)

  const question = { model: 'm', messages: [{ role: 'user', content: 'hi' }], stream: true }
  const usage = { stream_options: { include_usage: true } }
  expect(origin.bodies).toEqual([
    {
      ...question,
      ...usage,
      temperature: 0.5,
      top_p: 0.9,
      max_tokens: 7,
      stop: ['END'],
      seed: 3,
      presence_penalty: 1,
      frequency_penalty: -1,
      reasoning_effort: 'low',
    },
    { ...question, ...usage },
  ])
  expect(origin.headers[0]).toMatchObject({
    authorization: 'Bearer k-test',
    'openai-organization': 'org-1',
    'openai-project': 'proj-1',
  })
})

test.each([
  ['with [DONE]', 0],
  ['a moment after [DONE]', 15],
])('twenty answers in a row use one connection, when the body ends %s', async (_, ms) => {
  const origin = await serve((response) => {
    response.writeHead(200, sse).write(hello + finish + done)
    if (ms === 0) response.end()
    else setTimeout(() => response.end(), ms)
  })
  const upstream = upstreamAt(origin)

  for (let i = 0; i < 20; i++) {
    expect(textIn(await ask(upstream))).toBe('Hello')
    // The platform's fetch gives a connection back a moment after it gave the end of the body.
    await new Promise((resolve) => setTimeout(resolve, 10))
  }

  expect(origin.bodies).toHaveLength(20)
  expect(origin.connections()).toBe(1)
})

describe('without a key of its own', () => {
  const key = 'Canary7f3a9b2e41d8'
  afterEach(() => void vi.unstubAllEnvs())

  test("it uses the package's environment variable, and repeats it as little as any other", async () => {
    vi.stubEnv('OPENAI_API_KEY', key)
    const origin = await serve((response, _, { headers: { authorization = '' } }) => {
      if (origin.bodies.length === 1)
        return refuse(response, `No such key: ${authorization.slice(7)}`, { param: 'model' })
      response.writeHead(401, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ error: { message: authorization } }))
    })
    const upstream = createOpenAI({ baseURL: origin.url })

    const rejected = (await ask(upstream)).at(-1)
    const refused = (await ask(upstream)).at(-1)

    expect(origin.headers.map(({ authorization }) => authorization)).toEqual(
      Array.from({ length: 2 }, () => `Bearer ${key}`),
    )
    expect(rejected).toMatchObject({ code: 'upstream-rejected' })
    expect(refused).toMatchObject({ code: 'upstream-auth' })
    expect(JSON.stringify([rejected, refused])).not.toContain(key)
  })

  test('it says so at once where there is no such variable either', () => {
    vi.stubEnv('OPENAI_API_KEY', undefined)

    expect(() => createOpenAI({ baseURL: 'http://127.0.0.1:9/v1' })).toThrow(/OPENAI_API_KEY.*\./s)
  })
})

test.each([301, 302, 303, 307, 308])('a redirect (%i) is not followed', async (status) => {
  const elsewhere = await serve(whole)
  const origin = await serve((response) => {
    response.writeHead(status, { location: `${elsewhere.url}/chat/completions` })
    response.end()
  })

  const deltas = await ask(upstreamAt(origin))

  expect(deltas.at(-1)).toMatchObject({ code: 'upstream-bad-response', retryable: false })
  expect(elsewhere.connections()).toBe(0)
})

describe('what a server does not understand', () => {
  const noUsage: Answer = (response, body, request) => {
    if ('stream_options' in body) return refuse(response, 'Unrecognized request argument: stream_options')
    whole(response, body, request)
  }

  function noField(...fields: string[]): Answer {
    return (response, body, request) => {
      const field = fields.find((name) => name in body)
      if (!field) return whole(response, body, request)
      refuse(response, `Unsupported parameter: '${field}'.`, { param: field, code: 'unsupported_parameter' })
    }
  }

  const limited = asking('hi', { maxOutputTokens: 5 })

  test.each<[string, Answer, ChatRequest, string]>([
    ['a usage report', noUsage, asking(), 'stream_options'],
    ['max_tokens', noField('max_tokens'), limited, 'max_tokens'],
  ])('is left out from then on: %s', async (_, answer, request, field) => {
    const origin = await serve(answer)
    const upstream = upstreamAt(origin)

    expect(textIn(await ask(upstream, request))).toBe('Hello')
    expect(textIn(await ask(upstream, request))).toBe('Hello')

    expect(origin.bodies.map((body) => field in body)).toEqual([true, false, false])
  })

  test('is learned by every request that was under way at the time', async () => {
    const origin = await serve(noField('stream_options', 'max_tokens'))
    const upstream = upstreamAt(origin)

    const answers = await Promise.all(Array.from({ length: 5 }, () => ask(upstream, limited)))

    expect(answers.map((deltas) => textIn(deltas))).toEqual(Array.from({ length: 5 }, () => 'Hello'))
    expect(origin.bodies.at(-1)).toMatchObject({ max_completion_tokens: 5 })
  })

  test('is not asked for again and again when both names of a limit are refused', async () => {
    const origin = await serve(noField('max_tokens', 'max_completion_tokens'))

    const deltas = await ask(upstreamAt(origin, { headersTimeoutMs: 1000 }), limited)

    expect(deltas.at(-1)).toMatchObject({ code: 'upstream-rejected' })
    expect(origin.bodies.length).toBeLessThanOrEqual(3)
  })

  test('is a refusal like any other when it is something else', async () => {
    const origin = await serve((response) =>
      refuse(response, "Invalid 'temperature'.", { param: 'temperature' }),
    )

    const deltas = await ask(upstreamAt(origin))

    expect(deltas.at(-1)).toMatchObject({ code: 'upstream-rejected' })
    expect(origin.bodies).toHaveLength(1)
  })
})

describe('its clocks', () => {
  const holding: Record<string, [Answer, string]> = {
    'before the headers': [() => {}, 'upstream-timeout'],
    'after the headers': [(response) => response.writeHead(200, sse).flushHeaders(), 'upstream-timeout'],
    'in the middle': [(response) => response.writeHead(200, sse).write(hello), 'upstream-timeout'],
    'in the middle of an event': [
      (response) => response.writeHead(200, sse).write(hello + hello.slice(0, 20)),
      'upstream-timeout',
    ],
    'in a refusal': [
      (response) => response.writeHead(500, { 'content-type': 'application/json' }).write('{"error'),
      'upstream-timeout',
    ],
    'in a JSON document': [
      (response) => response.writeHead(200, { 'content-type': 'application/json' }).write('{"choices'),
      'upstream-timeout',
    ],
  }

  test.each(Object.entries(holding))(
    'a server that falls silent %s is given up',
    async (_, [answer, code]) => {
      let closed = false
      const origin = await serve((response, body, request) => {
        response.on('close', () => (closed = true))
        answer(response, body, request)
      })
      const limits = { headersTimeoutMs: 300, firstDeltaTimeoutMs: 300, idleTimeoutMs: 300 }

      const deltas = await ask(upstreamAt(origin, limits))

      expect(deltas.at(-1)).toMatchObject({ type: 'error', code })
      await until(() => closed, 1000)
    },
  )

  test.each(Object.entries(holding))('an abort ends the silence %s at once', async (_, [answer]) => {
    let closed = false
    const origin = await serve((response, body, request) => {
      response.on('close', () => (closed = true))
      answer(response, body, request)
    })
    const controller = new AbortController()
    const running = ask(upstreamAt(origin), asking(), controller.signal)
    await until(() => origin.bodies.length === 1)
    await new Promise((resolve) => setTimeout(resolve, 50)) // the pieces that came are being read

    controller.abort()

    expect((await soon(running, 500)).at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
    await until(() => closed, 500)
  })

  test.each([
    ['comments', ': waiting\n\n'],
    ['finish reasons', finish],
  ])('after the finish reason, %s do not keep an answer open', async (_, frame) => {
    let beat: ReturnType<typeof setInterval> | undefined
    const origin = await serve((response) => {
      response.writeHead(200, sse).write(hello + finish)
      beat = setInterval(() => response.write(frame), 300)
      response.on('close', () => clearInterval(beat))
    })
    const began = performance.now()

    const deltas = await ask(upstreamAt(origin))

    expect(deltas.at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(performance.now() - began).toBeLessThan(4000)
  })

  test('a slow reader is not a silent server', async () => {
    const origin = await serve((response) => {
      response.writeHead(200, sse).write(hello)
      setTimeout(() => response.write(hello), 700)
      setTimeout(() => response.end(finish + done), 800)
    })
    const upstream = upstreamAt(origin, { idleTimeoutMs: 400 })
    const { signal } = new AbortController()
    const types: string[] = []

    for await (const { type } of upstream(asking(), { signal })) {
      types.push(type)
      if (type === 'text') await new Promise((resolve) => setTimeout(resolve, 600))
    }

    expect(types).toEqual(['text', 'text', 'finish'])
  })
})

describe('an answer that is left', () => {
  /** Says one word and is silent, until the connection is closed. */
  async function silent(): Promise<Origin & { readonly closed: () => boolean }> {
    let closed = false
    const origin = await serve((response) => {
      response.on('close', () => (closed = true))
      response.writeHead(200, sse)
      response.write(hello)
    })
    return { ...origin, closed: () => closed }
  }

  const request: ChatRequest = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }

  test.each([
    ['before it is asked for', 0],
    ['between two words', 1],
    ['while the next word is waited for', 2],
  ])('%s says nothing more, and closes its connection', async (_, reads) => {
    const origin = await silent()
    const { signal } = new AbortController()
    const batches = upstreamAt(origin)(request, { signal }).batches!()[Symbol.asyncIterator]()
    if (reads > 0) expect((await batches.next()).value).toEqual([{ type: 'text', text: 'Hello' }])
    const pending = reads > 1 ? batches.next() : undefined

    expect(await soon(batches.return!())).toEqual({ value: undefined, done: true })

    if (pending) expect(await soon(pending)).toEqual({ value: undefined, done: true })
    expect(await soon(batches.next())).toEqual({ value: undefined, done: true })
    expect(origin.bodies).toHaveLength(Math.min(reads, 1))
    if (reads > 0) await until(origin.closed)
  })

  test('while the server is asked says nothing more, and closes its connection', async () => {
    let closed = false
    const origin = await serve((response) => void response.on('close', () => (closed = true)))
    const { signal } = new AbortController()
    const batches = upstreamAt(origin)(request, { signal }).batches!()[Symbol.asyncIterator]()
    const pending = batches.next()
    await until(() => origin.bodies.length > 0)

    await soon(batches.return!())

    expect(await soon(pending)).toEqual({ value: undefined, done: true })
    await until(() => closed)
  })

  test('as its server takes it says nothing more, and leaves no timer and no listener', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true })
    onTestFinished(() => void vi.useRealTimers())
    const origin = await silent()
    const { signal } = new AbortController()
    const batches = upstreamAt(origin)(request, {
      signal,
      onAccept: () => void batches.return!(),
    }).batches!()[Symbol.asyncIterator]()

    expect(await batches.next()).toEqual({ value: undefined, done: true })

    expect(vi.getTimerCount()).toBe(0)
    expect(getEventListeners(signal, 'abort')).toEqual([])
    await until(origin.closed)
  })
})
