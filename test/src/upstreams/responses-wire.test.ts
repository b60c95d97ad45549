import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopwatch } from '../../stopwatch.ts'
import { type Simulator, startSimulator } from '../../../simulator/index.ts'
import { streamChat } from '../../../src/chat.ts'
import type { ChatDelta, ChatRequest, Upstream } from '../../../src/types.ts'
import { createOpenAI, type OpenAIOptions } from '../../../src/upstreams/openai.ts'
import { all, asking, soon, textIn, until } from '../kit.ts'

let simulator: Simulator
let upstream: Upstream
let hasty: Upstream

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
  upstream = responsesAt(simulator.url)
  hasty = responsesAt(simulator.url, { firstDeltaTimeoutMs: 700, idleTimeoutMs: 400, headersTimeoutMs: 1000 })
})

afterAll(() => simulator.close())

function responsesAt(baseURL: string, options: Partial<OpenAIOptions> = {}): Upstream {
  return createOpenAI({ api: 'responses', apiKey: 'k-Canary7f3a9b2e41d8', baseURL, ...options })
}

function ask(
  request: ChatRequest | string,
  chosen = upstream,
  signal = new AbortController().signal,
): Promise<ChatDelta[]> {
  const question = typeof request === 'string' ? asking(request) : request
  return soon(all(streamChat(question, { upstream: chosen, signal, id: 'r', retries: 0 })), 8000)
}

const closing = 'and start again.*'
const weather = {
  name: 'get_weather',
  description: 'Get the current weather in a city',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
}

describe('through the Responses API', () => {
  test('an answer is what Chat Completions would have said, and costs the same', async () => {
    const chat = createOpenAI({ apiKey: 'any', baseURL: simulator.url })

    const deltas = await ask('Compare tea and coffee')

    expect(deltas.slice(1)).toEqual((await ask('Compare tea and coffee', chat)).slice(1))
    expect(textIn(deltas)).toContain(closing)
    expect(deltas.slice(-2)).toMatchObject([
      { type: 'usage', inputTokens: 11 },
      { type: 'finish', reason: 'stop' },
    ])
    expect(simulator.requests.at(-2)).toMatchObject({ method: 'POST', path: '/v1/responses' })
  })

  test('reasoning comes before the answer, and is counted', async () => {
    const deltas = await ask(asking('Why?', { reasoningEffort: 'low' }))

    expect(textIn(deltas, 'reasoning')).toContain('The user wrote “Why?”.')
    expect(deltas.findLastIndex(({ type }) => type === 'reasoning')).toBeLessThan(
      deltas.findIndex(({ type }) => type === 'text'),
    )
    expect(deltas.find(({ type }) => type === 'usage')).toMatchObject({ reasoningTokens: expect.any(Number) })
  })

  test('a refusal is one', async () => {
    const deltas = await ask('fault:refusal')

    expect(textIn(deltas, 'refusal')).toBe("I'm sorry, I can't help with that.")
    expect(textIn(deltas)).toBe('')
    expect(deltas.at(-1)).toEqual({ type: 'finish', reason: 'stop' })
  })

  test('what a token weighs is told with it', async () => {
    const deltas = await ask(asking('Hi', { logprobs: true }))

    const [first] = deltas.flatMap((delta) => (delta.type === 'text' ? [delta] : []))
    expect(first).toMatchObject({ logprobs: [{ token: first?.text, top_logprobs: [] }] })
  })

  test('a tool is called, and its result is answered', async () => {
    const question = asking('What is the weather in Oslo?', { tools: [weather] })

    const asked = await ask(question)
    const pieces = asked.flatMap((delta) => (delta.type === 'tool-call' ? delta : []))
    const call = {
      id: pieces[0]?.id ?? '',
      name: 'get_weather',
      arguments: pieces.map((piece) => piece.arguments).join(''),
    }
    const answered = await ask({
      ...question,
      messages: [
        ...question.messages,
        { role: 'assistant', content: '', toolCalls: [call] },
        { role: 'tool', toolCallId: call.id, content: '{"temperature":3}' },
      ],
    })

    expect(pieces[0]).toMatchObject({ index: 0, id: /^call_/.exec(call.id)?.input, name: 'get_weather' })
    expect(call.arguments).toBe('{"city":"Oslo"}')
    expect(asked.at(-1)).toEqual({ type: 'finish', reason: 'tool-calls' })
    expect(textIn(answered)).toContain('**get_weather** says: temperature is 3')
  })

  test('an image, a schema and a limit arrive', async () => {
    const url = 'https://images.example/cat.png'
    const deltas = await ask({
      model: 'm',
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: 'Look' },
            { type: 'image', url },
          ],
        },
      ],
      responseFormat: {
        type: 'json_schema',
        json_schema: { name: 'a', schema: { type: 'object', properties: { ok: { type: 'boolean' } } } },
      },
      maxOutputTokens: 500,
    })

    expect(textIn(deltas)).toBe('{"ok":true}')
    expect(simulator.requests.at(-1)?.body).toMatchObject({
      input: [{ content: [{ type: 'input_text' }, { type: 'input_image', image_url: url }] }],
      max_output_tokens: 500,
    })
  })

  test('what it cannot say is refused before anything is sent', async () => {
    const before = simulator.requests.length

    const deltas = await ask(asking('hi', { seed: 7 }))

    expect(deltas.at(-1)).toMatchObject({
      code: 'invalid-request',
      message: expect.stringContaining('`seed`'),
    })
    expect(simulator.requests).toHaveLength(before)
  })
})

interface Row {
  /** The code of the error at the end, or the reason of the finish. Default `stop`. */
  readonly end?: string
  readonly text?: string | RegExp
  /** The simulator holds the connection open: we have to close it. */
  readonly hangsUp?: true
}
const broken = (end: string): Row => ({ end, text: /^.{5,}/ })
const refused = (end: string): Row => ({ end, text: /^$/ })

const rows: Record<string, Row> = {
  'content-filter': { end: 'content-filter', text: /^.{5,}/ },
  'finish-other;finish=tired': { end: 'other' },
  'response-failed': broken('upstream-error'),
  'response-failed;code=rate_limit_exceeded': broken('rate-limited'),
  'response-failed;after=0': { end: 'upstream-error', text: /^$/ },
  'response-error': broken('upstream-error'),
  'response-error;code=rate_limit_exceeded': broken('rate-limited'),
  'error-object': broken('upstream-error'),
  'error-event': broken('upstream-error'),
  'rate-limit;retryAfter=0': refused('rate-limited'),
  'server-error': refused('upstream-unavailable'),
  unauthorized: refused('upstream-auth'),
  'unknown-model': refused('upstream-rejected'),
  reset: refused('upstream-unreachable'),
  redirect: refused('upstream-bad-response'),
  html: refused('upstream-bad-response'),
  'json-instead-of-stream': refused('upstream-bad-response'),
  'empty-body': refused('upstream-bad-response'),
  'no-response': { ...refused('upstream-timeout'), hangsUp: true },
  'stall-after-headers': { ...refused('upstream-timeout'), hangsUp: true },
  stall: { ...broken('upstream-timeout'), hangsUp: true },
  'comment-drip;after=3;ms=20': { ...broken('upstream-timeout'), hangsUp: true },
  cut: broken('upstream-truncated'),
  fin: broken('upstream-truncated'),
  eof: broken('upstream-truncated'),
  truncated: broken('upstream-truncated'),
  'truncated;after=9999': broken('upstream-truncated'),
  'done-without-finish': { end: 'upstream-truncated' },
  'malformed-json': broken('upstream-malformed'),
  'huge-line;bytes=2000000': broken('upstream-too-large'),
  'no-final-blank-line': {},
  'open-after-done': { hangsUp: true },
  'after-done': {},
  'keepalive-events': {},
  'unnamed-events': {},
  'named-events': {},
  'null-data': {},
  'empty-data': {},
  'multi-line-data': {},
  'split-utf8': { text: /[一-龥]/ },
  'split-crlf': {},
  burst: { text: '9998 9999' },
  'trickle;ms=0': {},
  gzip: {},
  'empty-answer': { text: /^$/ },
  'whole-tools': { end: 'tool-calls', text: /^$/ },
  'truncated-arguments': { end: 'tool-calls', text: /^$/ },
}

test.each(Object.entries(rows))('%s', async (fault, { end = 'stop', text = closing, hangsUp }) => {
  // Short clocks only where they are what is tested: a busy machine is slow, too.
  const deltas = await ask(`fault:${fault}`, end === 'upstream-timeout' ? hasty : upstream)

  const last = deltas.at(-1)
  expect(last).toMatchObject(last?.type === 'error' ? { code: end } : { type: 'finish', reason: end })
  if (typeof text === 'string') expect(textIn(deltas)).toContain(text)
  else expect(textIn(deltas)).toMatch(text)
  const request = simulator.requests.at(-1)
  await until(() => request?.closed === true, 1500)
  if (hangsUp) expect(request?.hungUp).toBe(true)
})

test('the last event ends an answer of the Responses API at once, although the connection stays open', async () => {
  const began = stopwatch()

  for await (const { type } of upstream(asking('fault:open-after-done'), {
    signal: new AbortController().signal,
  })) {
    if (type !== 'finish') continue
    // A finish reason alone would be followed by a wait of two seconds for the usage.
    expect(began()).toBeLessThan(1000)
  }

  expect.assertions(1)
})

test('a limit ends an answer of the Responses API', async () => {
  const deltas = await ask(asking('Hello', { maxOutputTokens: 5 }))

  expect(deltas.filter(({ type }) => type === 'text')).toHaveLength(5)
  expect(deltas.slice(-2)).toMatchObject([
    { type: 'usage', outputTokens: 5 },
    { type: 'finish', reason: 'length' },
  ])
})

test('an abort ends an answer of the Responses API, and its connection', async () => {
  const controller = new AbortController()
  const running = ask('fault:stall', upstream, controller.signal)
  await until(() => simulator.requests.at(-1)?.tokens === 3)

  controller.abort()

  expect((await soon(running, 500)).at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
  await until(() => simulator.requests.at(-1)?.hungUp === true, 500)
})
