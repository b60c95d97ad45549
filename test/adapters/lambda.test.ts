import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import { type FunctionUrlEvent, type LambdaStream, serve, toLambda } from '../../adapters/lambda.ts'
import { createHandler, type Handler, type HttpReply } from '../../src/index.ts'
import { fixed } from './host.ts'
import { createScript, saying } from './script.ts'

type Head = { readonly statusCode: number; readonly headers: Readonly<Record<string, string>> }

/** A response stream that takes everything, and remembers it. */
function fakeStream() {
  const writes: (string | Uint8Array)[] = []
  const listeners = new Map<string, (error: unknown) => void>()
  const heads: Head[] = []
  const end = vi.fn<() => void>()
  const stream: LambdaStream = {
    write: (chunk) => writes.push(chunk) > 0,
    on: (event, listener) => listeners.set(event, listener),
    once: () => {},
    off: () => {},
    end,
  }
  const from = (out: LambdaStream, head: Head): LambdaStream => {
    heads.push(head)
    return out
  }
  const fail = (): void => listeners.get('error')?.(new Error('reset'))
  return { stream, from, heads, writes, end, fail }
}

const post = (body: string, more: Partial<FunctionUrlEvent> = {}): FunctionUrlEvent => ({
  rawPath: '/chat',
  rawQueryString: '',
  headers: { 'content-type': 'application/json', ...more.headers },
  requestContext: { http: { method: 'POST' } },
  body,
  ...(more.isBase64Encoded ? { isBase64Encoded: true } : {}),
})

async function invoke(
  handler: Handler,
  event: FunctionUrlEvent = post('{"prompt":"hi"}'),
  remainingMs = 60_000,
) {
  const fake = fakeStream()
  const context = { getRemainingTimeInMillis: () => remainingMs }
  await serve(handler, { event, context, stream: fake.stream, from: fake.from })
  const pieces = fake.writes.map((chunk) =>
    typeof chunk === 'string' ? chunk : new TextDecoder().decode(chunk),
  )
  return { ...fake, head: fake.heads[0], pieces, text: pieces.join('') }
}

/** A handler whose answers consist of these frames. */
function framing(...frames: readonly string[]): Handler {
  async function* body(): AsyncGenerator<string> {
    yield* frames
  }
  return async () => ({ status: 200, headers: {}, body: body(), settled: Promise.resolve() })
}

const chat = createHandler({ model: 'm', upstream: saying('Hél', 'lo 🌍') })

describe('what it writes', () => {
  test('is the head, forced by an empty write, and every small frame as it is', async () => {
    const frames = ['id: 1\n\n', 'é'.repeat(1365), '🌍', 'x']

    const { head, pieces, end } = await invoke(framing(...frames))

    expect(head?.statusCode).toBe(200)
    expect(pieces).toEqual(['', ...frames])
    expect(end).toHaveBeenCalledTimes(1)
  })

  test('is a large frame in small pieces, the same bytes, and no character in halves', async () => {
    const unit = fc.constantFrom('a', 'é', '€', '🌍', '👩‍👩‍👧')
    const frame = fc
      .tuple(fc.array(unit, { minLength: 1, maxLength: 8 }), fc.nat(1500), fc.nat(2))
      .map(([units, times, shift]) => 'x'.repeat(shift) + units.join('').repeat(times + 1))
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { maxLength: 4 }), async (frames) => {
        const { writes, pieces } = await invoke(framing(...frames))

        const bytes = Buffer.concat(writes.map((chunk) => Buffer.from(chunk)))
        expect(bytes.equals(Buffer.from(frames.join('')))).toBe(true)
        expect(Math.max(0, ...pieces.map(({ length }) => length))).toBeLessThanOrEqual(1365)
        expect(pieces.slice(1)).not.toContain('')
        for (const piece of pieces) expect(piece).not.toContain('\ufffd') // a half that was encoded
      }),
      { numRuns: 50 },
    )
  })

  test('is a stream of events, or a document, with the status and headers of the handler', async () => {
    const streamed = await invoke(chat)
    const document = await invoke(chat, post('{"prompt":"hi","stream":false}'))

    expect(streamed.head?.headers).toMatchObject({ 'content-type': 'text/event-stream; charset=utf-8' })
    expect(streamed.text).toMatch(/"lo 🌍"\}\n\nid: 4\ndata: \{"type":"finish","reason":"stop"\}\n\n$/)
    expect(JSON.parse(document.text)).toMatchObject({ text: 'Héllo 🌍' })
  })

  test('is an error as JSON when the handler breaks its promise and rejects', async () => {
    const { head, text, end } = await invoke(() => Promise.reject(new Error('secret')))

    expect(head?.statusCode).toBe(500)
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'internal' } })
    expect(text).not.toContain('secret')
    expect(end).toHaveBeenCalledTimes(1)
  })
})

describe('a body', () => {
  const prompt = '{"prompt":"grüß dich"}'
  const encoded = { isBase64Encoded: true }
  const typed = (type: string) => ({ headers: { 'content-type': `application/json; ${type}` } })

  test.each<[string, FunctionUrlEvent]>([
    ['as text', post(prompt)],
    ['in base64', post(Buffer.from(prompt).toString('base64'), encoded)],
    ['after a byte order mark', post(`\ufeff${prompt}`)],
    ['after a byte order mark, in base64', post(Buffer.from(`\ufeff${prompt}`).toString('base64'), encoded)],
    ['that says it is UTF-8', post(prompt, typed('charset="UTF-8"'))],
    ['that says it is not compressed', post(prompt, { headers: { 'content-encoding': 'Identity' } })],
  ])('%s is understood', async (_, event) => {
    const script = createScript()
    const asking = invoke(createHandler({ model: 'm', upstream: script.upstream }), event)
    await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
    script.asked[0]?.finish()

    expect((await asking).head?.statusCode).toBe(200)
    expect(script.asked[0]?.request.messages).toEqual([{ role: 'user', content: 'grüß dich' }])
  })

  test.each<[string, FunctionUrlEvent, number, string, RegExp]>([
    ['that is no base64', post('{"prompt"!', encoded), 400, 'invalid-json', /base64/],
    ['that is none', { ...post(''), body: undefined }, 400, 'invalid-json', /empty/],
    [
      'in UTF-16',
      post(prompt, typed('charset=utf-16')),
      415,
      'unsupported-media-type',
      /UTF-8; got charset "utf-16"/,
    ],
    [
      'that is compressed',
      post(prompt, { headers: { 'content-encoding': 'gzip' } }),
      415,
      'unsupported-media-type',
      /not be compressed; got content encoding "gzip"/,
    ],
    [
      'that is too large',
      post(JSON.stringify({ prompt: 'é'.repeat(140_000) })),
      413,
      'body-too-large',
      /262144/,
    ],
  ])('%s is refused with a sentence', async (_, event, status, code, message) => {
    const { head, text } = await invoke(chat, event)

    expect(head?.statusCode).toBe(status)
    expect(JSON.parse(text)).toEqual({ error: { code, message: expect.stringMatching(message) } })
  })
})

describe('its end', () => {
  test('comes after everything of the reply has ended', async () => {
    let settle = (): void => {}
    const settled = new Promise<void>((resolve) => (settle = resolve))
    const fake = fakeStream()
    const reply: HttpReply = { status: 200, headers: {}, body: 'x', settled }
    const context = { getRemainingTimeInMillis: () => 60_000 }
    const serving = serve(async () => reply, {
      event: post(''),
      context,
      stream: fake.stream,
      from: fake.from,
    })
    await vi.waitUntil(() => fake.writes.length === 2, { timeout: 10_000 })
    expect(fake.end).not.toHaveBeenCalled()

    settle()

    await serving
    expect(fake.end).toHaveBeenCalledTimes(1)
  })

  test('is an error of ours, a while before the function would be cut off', async () => {
    const script = createScript()
    const handler = createHandler({ ...fixed, upstream: script.upstream })
    const since = stopwatch()
    const serving = invoke(handler, post('{"prompt":"hi"}'), 2000)
    await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
    script.asked[0]?.say('Hel')

    const { text, end } = await serving

    expect(since()).toBeLessThan(2000)
    expect(text).toMatch(/"Hel"\}\n\nid: 3\ndata: \{"type":"error","code":"deadline",.*\n\n$/)
    expect(script.asked[0]?.signal.aborted).toBe(true)
    expect(end).toHaveBeenCalledTimes(1)
  })

  test.each<[string, Partial<HttpReply>]>([
    [
      'a body that goes on for ever',
      {
        body: (async function* () {
          yield 'x'
          await new Promise(() => {})
        })(),
      },
    ],
    ['a reply that never settles', { settled: new Promise(() => {}) }],
  ])(
    'comes in time for %s',
    async (_, more) => {
      const reply: HttpReply = { status: 200, headers: {}, body: 'x', settled: Promise.resolve(), ...more }
      const since = stopwatch()

      const { text, end } = await invoke(async () => reply, post(''), 1200)

      expect(text).toBe('x')
      expect(since()).toBeLessThan(1200)
      expect(end).toHaveBeenCalledTimes(1)
    },
    5000,
  )

  test('is HTTP 504, in time, when there is no answer at all; what comes later is freed', async () => {
    let release = (): void => {}
    const late = new Promise<void>((resolve) => (release = resolve))
    const freed = vi.fn<() => void>()
    const body = { next: () => new Promise<never>(() => {}), return: freed }
    const handler = async (): Promise<HttpReply> => {
      await late // as a store that does not answer
      return { status: 200, headers: {}, body: body as never, settled: Promise.resolve() }
    }
    const since = stopwatch()

    const { head, text, end } = await invoke(handler, post(''), 1200)
    release()

    expect(since()).toBeLessThan(1200)
    expect(head?.statusCode).toBe(504)
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'deadline' } })
    expect(end).toHaveBeenCalledTimes(1)
    await vi.waitUntil(() => freed.mock.calls.length === 1, { timeout: 10_000 })
  })

  test('comes when the stream itself fails', async () => {
    const script = createScript()
    const fake = fakeStream()
    const handler = createHandler({ ...fixed, upstream: script.upstream, acceptWaitMs: 0, lingerMs: 0 })
    const context = { getRemainingTimeInMillis: () => 60_000 }
    const serving = serve(handler, {
      event: post('{"prompt":"hi"}'),
      context,
      stream: fake.stream,
      from: fake.from,
    })
    await vi.waitUntil(() => fake.heads.length === 1, { timeout: 10_000 })

    fake.fail()

    await serving
    expect(fake.end).toHaveBeenCalledTimes(1)
    expect(script.asked[0]?.signal.aborted).toBe(true)
  })
})

test.each([
  {},
  { requestContext: {} },
  { Records: [] },
  { version: '1.0', httpMethod: 'GET', requestContext: { stage: 'x' } },
])('the event %j is no HTTP request: whoever invoked the function is told so', async (event) => {
  const fake = fakeStream()
  const options = { context: { getRemainingTimeInMillis: () => 1000 }, stream: fake.stream, from: fake.from }

  const serving = serve(chat, { ...options, event: event as unknown as FunctionUrlEvent }) // which it is not

  await expect(serving).rejects.toMatchObject({
    name: 'TypeError',
    message: expect.stringContaining('call it at its function URL'),
  })
  expect(fake.writes).toEqual([])
})

test('outside of the runtime it says what it needs', () => {
  expect(() => toLambda(chat)).toThrow(/needs the Node.js runtime of AWS Lambda/)
})
