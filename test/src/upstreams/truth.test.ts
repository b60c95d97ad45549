import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Simulator, startSimulator } from '../../../simulator/index.ts'
import { streamChat } from '../../../src/chat.ts'
import { createHandler } from '../../../src/handler.ts'
import type { ChatDelta, Upstream } from '../../../src/types.ts'
import { createOpenAI } from '../../../src/upstreams/openai.ts'
import { all, asking, deltasIn, http, soon, textIn, textOf, until } from '../kit.ts'

let simulator: Simulator
let upstream: Upstream
let patient: Upstream

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
  const limits = { headersTimeoutMs: 1000, firstDeltaTimeoutMs: 700, idleTimeoutMs: 400 }
  upstream = createOpenAI({ apiKey: 'any', baseURL: simulator.url, ...limits })
  patient = createOpenAI({ apiKey: 'any', baseURL: simulator.url })
})

afterAll(() => simulator.close())

interface Row {
  /** The code of the error at the end, or the reason of the finish. Default `stop`. */
  readonly end?: string
  /** The HTTP status of our own answer. Default 200. */
  readonly status?: number
  /** How often the upstream is asked, when one retry is allowed. Default 1. */
  readonly asked?: number
  /** Something in the text. Default: the last words of every whole answer. */
  readonly text?: string | RegExp
  /** The simulator holds the connection open: we have to close it. */
  readonly hangsUp?: true
  readonly usage?: false
  readonly calls?: 2
}

/** Bad before the first delta: an HTTP status, and nothing said. */
function refused(end: string, status: number, asked = 1): Row {
  return { end, status, asked, text: /^$/, usage: false }
}
/** Bad after the first delta: what was said stays, and nothing is asked again. */
function broken(end: string): Row {
  return { end, text: /^.{5,}/, usage: false }
}
const calls: Row = { end: 'tool-calls', calls: 2, text: /^$/ }

// What goes wrong in streaming upstreams, U1 to U32; a few of them have several shapes.
const rows: Record<string, Row> = {
  'U1 rate-limit;retryAfter=3600': refused('rate-limited', 429),
  'U1 rate-limit;retryAfter=0': refused('rate-limited', 429, 2),
  'U1 rate-limit;retryAfter=0;times=1': { asked: 2 },
  'U1 no-quota': refused('rate-limited', 429),
  'U2 server-error': refused('upstream-unavailable', 502, 2),
  'U2 server-error;times=1': { asked: 2 },
  'U2 overloaded;status=529;retryAfter=0': refused('upstream-unavailable', 503, 2),
  'U2 unauthorized': refused('upstream-auth', 502),
  'U2 forbidden': refused('upstream-auth', 502),
  'U2 unknown-model': refused('upstream-rejected', 404),
  'U2 context-length': refused('upstream-rejected', 400),
  'U3 reset': refused('upstream-unreachable', 502, 2),
  'U4 no-response': { ...refused('upstream-timeout', 504), hangsUp: true },
  'U5 stall-after-headers': { ...refused('upstream-timeout', 504), hangsUp: true },
  'U5 stall': { ...broken('upstream-timeout'), hangsUp: true },
  'U6 comment-drip;ms=20': { ...refused('upstream-timeout', 504), hangsUp: true },
  'U6 comment-drip;after=3;ms=20': { ...broken('upstream-timeout'), hangsUp: true },
  'U7 no-done': {},
  'U7 done-without-finish': { end: 'upstream-incomplete', usage: false },
  'U8 cut': broken('upstream-truncated'),
  'U8 cut;after=0': refused('upstream-truncated', 502, 2),
  'U8 fin': broken('upstream-truncated'),
  'U8 fin;after=0;times=1': { asked: 2 },
  'U8 truncated': broken('upstream-truncated'),
  'U9 eof': broken('upstream-truncated'),
  'U10 malformed-json': broken('upstream-malformed'),
  'U11 no-final-blank-line': { usage: false },
  'U12 error-object': broken('upstream-error'),
  'U12 error-object;after=0': refused('upstream-error', 502, 2),
  'U12 error-then-done': broken('upstream-error'),
  'U12 error-event': broken('upstream-error'),
  'U13 error-string': broken('upstream-error'),
  'U13 error-no-type': broken('upstream-error'),
  'U13 error-no-message': broken('upstream-error'),
  'U14 finish-error': broken('upstream-error'),
  'U15 empty-choices': {},
  'U16 no-delta': {},
  'U17 usage-after-finish': {},
  'U17 usage-late': { usage: false, hangsUp: true },
  'U18 no-usage': { usage: false },
  'U19 null-data': {},
  'U19 empty-data': {},
  'U20 split-utf8': { text: /[一-龥]/ },
  'U21 split-surrogate': { text: '😀' },
  'U21 lone-surrogate': { text: '\ud83d' },
  'U21 invalid-utf8': { text: '\ufffd' },
  'U22 bom': {},
  'U22 crlf': {},
  'U22 split-crlf': {},
  'U22 cr-only': {},
  'U22 no-space': {},
  'U22 multi-line-data': {},
  'U22 named-events': {},
  'U23 huge-line;bytes=2000000': broken('upstream-too-large'),
  'U23 huge-event;bytes=2000000': broken('upstream-too-large'),
  'U23 huge-event;bytes=1000000': {},
  'U24 after-done': {},
  'U24 open-after-done': { hangsUp: true },
  'U25 extra-choice': {},
  'U26 no-index-tools': calls,
  'U26 same-index-tools': calls,
  'U26 index-from-one-tools': calls,
  'U26 empty-id-tools': calls,
  'U26 late-id-tools': calls,
  'U26 no-id-tools': calls,
  'U26 whole-tools': calls,
  'U26 tools-finish-stop': { ...calls, end: 'stop' },
  'U27 truncated-arguments': calls,
  'U28 redirect': refused('upstream-bad-response', 502),
  'U29 gzip': {},
  'U29 wrong-charset': {},
  'U29 wrong-content-type': {},
  'U29 html': refused('upstream-bad-response', 502, 2),
  'U29 empty-body': refused('upstream-bad-response', 502, 2),
  'U29 json-instead-of-stream': refused('upstream-bad-response', 502, 2),
  'U30 burst': { text: '9998 9999' },
  'U30 trickle;ms=0': {},
  'U31 refusal': { text: /^$/ },
  'U31 reasoning-field': {},
  'U31 content-parts': { text: ' in parts' },
  'U31 unknown-fields': {},
  'U31 finish-other': { end: 'other' },
  'U31 content-filter': { end: 'content-filter', text: /^.{5,}/ },
  'U31 empty-answer': { text: /^$/ },
}

const closing = 'and start again.*'

function check(deltas: readonly ChatDelta[], { end = 'stop', text = closing, usage, calls }: Row): void {
  const last = deltas.at(-1)
  expect(last).toMatchObject(/-/.test(end) && last?.type === 'error' ? { code: end } : { reason: end })
  if (typeof text === 'string') expect(textIn(deltas)).toContain(text)
  else expect(textIn(deltas)).toMatch(text)
  expect(deltas.some(({ type }) => type === 'usage')).toBe(usage !== false)
  const indices = deltas.flatMap((delta) => (delta.type === 'tool-call' ? delta.index : []))
  expect(new Set(indices)).toEqual(new Set(calls ? [0, 1] : []))
}

describe('how an answer ends, and what it costs', () => {
  test.each(Object.entries(rows))('%s', async (name, row) => {
    const { status = 200, asked = 1, hangsUp } = row
    const content = `fault:${name.replace(/^U\d+ /, '')}`
    const { signal } = new AbortController()
    const before = simulator.requests.length

    // Short clocks only where they are what is tested: a busy machine is slow, too.
    const chosen = row.end === 'upstream-timeout' ? upstream : patient
    const options = { upstream: chosen, signal, id: 'r', retries: 1, random: () => 0 }
    const deltas = await soon(all(streamChat(asking(content), options)), 8000)

    check(deltas, row)
    const requests = simulator.requests.slice(before)
    expect(requests).toHaveLength(asked)
    await until(() => requests.every(({ closed }) => closed), 1500)
    if (hangsUp) expect(requests.at(-1)?.hungUp).toBe(true)

    // The same through the service: what failed before its first word is a status.
    const handler = createHandler({ upstream: chosen, model: 'm', retries: 1 })
    const spoken = name.includes('times=1') ? `${content} once more` : content
    const reply = await soon(handler(http('/chat', { body: { prompt: spoken } })), 8000)
    const body = await soon(textOf(reply), 8000)
    await soon(reply.settled)

    expect(reply.status).toBe(status)
    if (status === 200) check(deltasIn(body), row)
    else expect(JSON.parse(body)).toMatchObject({ error: { code: row.end } })
    expect(simulator.requests).toHaveLength(before + 2 * asked)
  })

  test('U1 what the client is asked to wait is at most a minute', async () => {
    const handler = createHandler({ upstream, model: 'm', retries: 0 })

    const prompt = 'fault:rate-limit;retryAfter=3600'
    const { headers } = await handler(http('/chat', { body: { prompt } }))

    expect(headers['retry-after']).toBe('60')
  })

  test('U2 the key and the words of a refusal stay with us', async () => {
    const { signal } = new AbortController()

    const deltas = await all(streamChat(asking('fault:unauthorized'), { upstream, signal, id: 'r' }))

    expect(JSON.stringify(deltas)).not.toContain('Incorrect API key')
  })

  test('U3 nobody listens: the upstream cannot be reached', async () => {
    const gone = await startSimulator()
    await gone.close()
    const closed = createOpenAI({ apiKey: 'any', baseURL: gone.url })
    const { signal } = new AbortController()

    const deltas = await all(streamChat(asking(), { upstream: closed, signal, id: 'r' }))

    expect(deltas.at(-1)).toMatchObject({ type: 'error', code: 'upstream-unreachable', retryable: true })
  })

  test('U32 a kept connection that is gone costs one more try and nothing else', async () => {
    const other = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
    try {
      const { signal } = new AbortController()
      const idle = createOpenAI({ apiKey: 'any', baseURL: other.url })
      const options = { upstream: idle, signal, id: 'r', retries: 1, random: () => 0 }
      await all(streamChat(asking('fault:close-after-idle'), options))
      await until(() => other.requests.every(({ closed }) => closed))
      await new Promise((resolve) => setTimeout(resolve, 20)) // the connection is given back

      const deltas = await all(streamChat(asking('and now?'), options))

      check(deltas, {})
      expect(other.requests.map(({ fault }) => fault)).toEqual([
        'close-after-idle',
        'close-after-idle',
        undefined,
      ])
    } finally {
      await other.close()
    }
  })

  test('an upstream that never stops ends with the time the answer may take', async () => {
    const handler = createHandler({ upstream, model: 'm', totalTimeoutMs: 300 })
    const before = simulator.requests.length

    const reply = await handler(http('/chat', { body: { prompt: 'fault:endless' } }))
    const deltas = deltasIn(await soon(textOf(reply)))

    expect(deltas.at(-1)).toMatchObject({ type: 'error', code: 'deadline' })
    await until(() => simulator.requests.slice(before).every(({ hungUp }) => hungUp), 1000)
  })

  test('an answer that grows too large ends there', async () => {
    const handler = createHandler({ upstream, model: 'm', maxReplyBytes: 5000 })

    const reply = await handler(http('/chat', { body: { prompt: 'fault:endless' } }))
    const deltas = deltasIn(await soon(textOf(reply)))

    expect(deltas.at(-1)).toMatchObject({ type: 'error', code: 'reply-too-large' })
    expect(textIn(deltas).length).toBeLessThanOrEqual(5000)
  })
})
