import { Agent } from 'node:http'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { faults } from '../../simulator/faults.ts'
import { responseFaults } from '../../simulator/faults/responses.ts'
import { startSimulator } from '../../simulator/index.ts'
import type { Simulator } from '../../simulator/index.ts'
import { ask, chat, events } from './raw.ts'

let simulator: Simulator

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
})

afterAll(() => simulator.close())

interface Row {
  readonly status?: number
  readonly header?: readonly [string, string]
  readonly has?: RegExp
  readonly lacks?: RegExp
  readonly ended?: 'complete' | 'cut' | 'open'
  readonly until?: string
  readonly body?: object
}

const done = 'data: [DONE]\n\n'
const threeTokens = /^(?:data: .*\n\n){4}$/

const rows: Record<string, Row> = {
  'rate-limit;retryAfter=3600': {
    status: 429,
    header: ['retry-after', '3600'],
    has: /"code":"rate_limit_exceeded"/,
  },
  'no-quota': { status: 429, has: /"code":"insufficient_quota"/ },
  'server-error;status=502': { status: 502, has: /"type":"server_error"/ },
  'overloaded;status=529': { status: 529, header: ['retry-after', '2'] },
  unauthorized: { status: 401, has: /"code":"invalid_api_key"/ },
  forbidden: { status: 403, has: /"param":null/ },
  'unknown-model': { status: 404, has: /"code":"model_not_found"/ },
  'context-length': { status: 400, has: /"code":"context_length_exceeded"/ },
  'reject-stream-options': {
    status: 400,
    body: { stream_options: { include_usage: true } },
    has: /Unrecognized request argument supplied: stream_options/,
  },
  'reject-max-tokens': {
    status: 400,
    body: { max_tokens: 5 },
    has: /Unsupported parameter: 'max_tokens' .* Use 'max_completion_tokens' instead.*"code":"unsupported_parameter"/,
  },
  'reject-field;field=top_p': { status: 400, body: { top_p: 1 }, has: /"param":"top_p"/ },
  'redirect;to=http://127.0.0.1:9/there': {
    status: 307,
    header: ['location', 'http://127.0.0.1:9/there'],
    has: /^$/,
  },
  html: { header: ['content-type', 'text/html; charset=utf-8'], has: /^<!doctype html>/ },
  'empty-body': { header: ['content-type', 'text/event-stream; charset=utf-8'], has: /^$/ },
  'json-instead-of-stream': {
    header: ['content-type', 'application/json'],
    has: /"object":"chat.completion"/,
  },
  'wrong-content-type': { header: ['content-type', 'text/plain'], has: /\[DONE\]\n\n$/ },
  reset: { ended: 'cut', has: /^$/ },
  'slow-headers;ms=1': { has: /\[DONE\]\n\n$/ },
  'stall-after-headers': { ended: 'open', until: '', has: /^$/ },
  'stall;after=3': { ended: 'open', until: '\n\n', has: threeTokens },
  'pause;ms=1': { has: /\[DONE\]\n\n$/ },
  'comment-drip;ms=1': { ended: 'open', until: ': PROCESSING\n\n: PROCESSING', lacks: /data/ },
  cut: { ended: 'cut', has: threeTokens },
  fin: { ended: 'cut', has: threeTokens },
  eof: { header: ['connection', 'close'], has: threeTokens, lacks: /finish_reason":"/ },
  truncated: { header: ['transfer-encoding', 'chunked'], has: threeTokens },
  burst: { has: /"content":"9999 "/ },
  'trickle;ms=0': { has: /"content":"H".*\n\n.*"content":"[a-z]"/, lacks: /"content":"[^"]{3}/ },
  endless: { ended: 'open', until: 'and so on', has: /and so on/, lacks: /DONE/ },
  'huge-line;bytes=200000': { has: /x{200000}$/ },
  'huge-event;bytes=200000': { has: /"content":"x{200000}"[^]*\[DONE\]\n\n$/ },
  'split-utf8': { has: /"content":" 👋"/ },
  'invalid-utf8': { has: /"content":"\ufffd"/ },
  bom: { has: /^\ufeffdata: / },
  crlf: { has: /\r\n\r\ndata: \[DONE\]\r\n\r\n$/, lacks: /[^\r]\n/ },
  'split-crlf': { has: /\r\n\r\ndata: \[DONE\]\r\n\r\n$/, lacks: /[^\r]\n/ },
  'cr-only': { has: /\r\rdata: \[DONE\]\r\r$/, lacks: /\n/ },
  'no-done': { has: /"finish_reason":"stop".*\n\n$/, lacks: /DONE/ },
  'done-without-finish': { has: /\[DONE\]\n\n$/, lacks: /finish_reason":"/ },
  'malformed-json': { has: /"finish_[^}]*\n\n$/, lacks: /DONE/ },
  'no-final-blank-line': { has: /"finish_reason":"stop"\}\]\}$/ },
  'error-object': {
    has: /\{"error":\{"message":"[^"]+","type":"server_error","param":null,"code":null\}\}\n\n$/,
  },
  'error-string': { has: /\{"error":"[^"]+"\}\n\n$/ },
  'error-no-type': { has: /\{"error":\{"message":"[^"]+"\}\}\n\n$/ },
  'error-no-message': { has: /\{"error":\{"message":null,/ },
  'error-event': { has: /\n\nevent: error\ndata: \{"error":/ },
  'error-then-done': { has: /\{"error":.*\n\ndata: \[DONE\]\n\n$/ },
  'finish-error': { has: /"finish_reason":"error"\}\],"error":\{"code":502.*\n\ndata: \[DONE\]/ },
  'finish-other;finish=odd': { has: /"finish_reason":"odd"/ },
  'content-filter;after=1': { has: /"finish_reason":"content_filter"/ },
  refusal: { has: /"delta":\{"refusal":" sorry"\}/, lacks: /"delta":\{"content"/ },
  'empty-answer': { has: /^data: .*"content":"".*\n\ndata: .*"delta":\{\}.*\n\ndata: \[DONE\]\n\n$/ },
  'empty-choices': { has: /^data: \{"id":"",.*"choices":\[\],"prompt_filter_results"/ },
  'no-delta': { has: /"choices":\[\{"index":0,"finish_reason":null,"content_filter_results"/ },
  'usage-after-finish': {
    has: /"finish_reason":"stop".*\n\n.*"choices":\[\],"usage":\{.*\n\ndata: \[DONE\]/,
  },
  'usage-late': { ended: 'open', until: '"finish_reason":"stop"', lacks: /DONE/ },
  'no-usage': { body: { stream_options: { include_usage: true } }, has: /DONE/, lacks: /prompt_tokens/ },
  'null-data': { has: /data: null\n\ndata: 1\n\ndata: "text"\n\ndata: \[\]\n\ndata: \{\}\n\n/ },
  'empty-data': { has: /\n\ndata:\n\n/ },
  'split-surrogate': { has: /"content":"\\ud83d".*\n\n.*"content":"\\ude00"/ },
  'lone-surrogate': { has: /"content":"\\ud83d"/, lacks: /\\ude00/ },
  'no-space': { has: /^data:\{[^]*\ndata:\[DONE\]\n\n$/, lacks: /data: / },
  'multi-line-data': { has: /^data: \{\ndata: {2}"id"/ },
  'named-events': { has: /^id: 1\nevent: message\nretry: 1000\ndata: / },
  'after-done': { has: /\[DONE\]\n\ndata: .*one more thing/ },
  'open-after-done': { ended: 'open', until: done, has: /\[DONE\]\n\n$/ },
  'extra-choice': { has: /"index":1,"delta":\{"content":"another answer"\}/ },
  'unknown-fields': { has: /"delta":\{"content":"[^"]+","x_unknown"/ },
  'reasoning-field': { has: /"delta":\{"reasoning":" think"\}[^]*"delta":\{"content"/ },
  'content-parts': { has: /"content":\[\{"type":"text","text":" in parts"\}\]/ },
  'no-index-tools': { has: /"tool_calls":\[\{"id":"call_/, lacks: /"tool_calls":\[\{"index"/ },
  'same-index-tools': { has: /"index":0,"id"[^]*"index":0,"id"/, lacks: /"index":1/ },
  'index-from-one-tools': { has: /"index":2/, lacks: /"tool_calls":\[\{"index":0/ },
  'empty-id-tools': { has: /"id":"","function":|"function":\{"name":"","arguments"/ },
  'no-id-tools': { has: /"name":"get_time"/, lacks: /call_/ },
  'late-id-tools': {
    has: /"name":"get_weather","arguments":""\}\}[^]*"function":\{"arguments":"[^}]*\}*"\},"id":"call_/,
  },
  'whole-tools': { has: /"arguments":"\{\\"city\\":\\"Paris\\"\}"/ },
  'truncated-arguments': { has: /"finish_reason":"tool_calls"/ },
  'wrong-arguments': { has: /"arguments":"\{\\"unexpected\\":"/ },
  'unknown-tool': { has: /"name":"no_such_get_weather"/ },
  'tool-loop': { has: /"finish_reason":"tool_calls"/ },
  'tools-finish-stop': { has: /"tool_calls"[^]*"finish_reason":"stop"/ },
}

const elsewhere = [
  'no-response',
  'close-after-idle',
  'gzip',
  'wrong-charset',
  ...responseFaults.map(({ name }) => name),
]

test('every fault has a test', () => {
  const tested = [...Object.keys(rows).map((spec) => spec.split(';')[0]), ...elsewhere]

  expect(tested.toSorted()).toEqual(faults.map(({ name }) => name).toSorted())
})

test.each(Object.entries(rows))('fault:%s', async (spec, row) => {
  const answer = await ask(simulator, chat(`Hello fault:${spec}`, row.body), { until: row.until })

  expect(answer.ended).toBe(row.ended ?? 'complete')
  expect(answer.text).toMatch(row.has ?? /./)
  expect(answer.text).not.toMatch(row.lacks ?? /^never$/)
  expect(answer.headers[row.header?.[0] ?? '']).toBe(row.header?.[1])
  expect(answer.status).toBe(spec === 'reset' ? undefined : (row.status ?? 200))
})

test('no-response takes the request and stays silent until the client leaves', async () => {
  const leaving = new AbortController()
  const fresh = await startSimulator()
  const asking = fetch(`${fresh.url}/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'x', 'x-simulator-fault': 'no-response' },
    body: JSON.stringify(chat('Hello')),
    signal: leaving.signal,
  })
  await expect.poll(() => fresh.openStreams()).toBe(1)

  leaving.abort()

  await expect(asking).rejects.toThrow()
  await fresh.requests[0]?.done
  expect(fresh.requests[0]).toMatchObject({ hungUp: true, tokens: 0, fault: 'no-response' })
  await fresh.close()
})

test('close-after-idle resets the kept connection when it is used again', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })

  const first = await ask(simulator, chat('Hello fault:close-after-idle'), { agent })
  const second = await ask(simulator, chat('Hello'), { agent })
  const third = await ask(simulator, chat('Hello'), { agent })

  expect([first, second, third].map(({ ended }) => ended)).toEqual(['complete', 'cut', 'complete'])
  agent.destroy()
})

test('gzip is a compressed body that says so', async () => {
  const answer = await ask(simulator, chat('fault:gzip'))

  expect(answer.headers['content-encoding']).toBe('gzip')
  expect(gunzipSync(answer.bytes).toString().endsWith(done)).toBe(true)
})

test('wrong-charset is ISO 8859-1', async () => {
  const answer = await ask(simulator, chat('fault:wrong-charset'))

  expect(answer.headers['content-type']).toBe('text/event-stream; charset=iso-8859-1')
  expect(answer.bytes.toString('latin1')).toContain('"content":"üß"')
})

test('truncated arguments are not JSON', async () => {
  const answer = await ask(simulator, chat('fault:truncated-arguments', { stream: false }))

  const { choices } = JSON.parse(answer.text) as {
    choices: { message: { tool_calls: { function: { arguments: string } }[] } }[]
  }
  const [whole, truncated] = choices[0]?.message.tool_calls ?? []
  expect(JSON.parse(whole?.function.arguments ?? '')).toEqual({ city: 'Paris' })
  expect(() => JSON.parse(truncated?.function.arguments ?? '') as unknown).toThrow(SyntaxError)
})

test('times=n fails the same request n times, then lets it through', async () => {
  const body = chat('Hello fault:server-error;times=2')

  const statuses = [await ask(simulator, body), await ask(simulator, body), await ask(simulator, body)]
  const another = await ask(simulator, chat('Something else fault:server-error;times=2'))

  expect(statuses.map(({ status }) => status)).toEqual([500, 500, 200])
  expect(another.status).toBe(500)
})

test('a fault is named by the body first, then the header, then the prompt, then the option', async () => {
  const broken = await startSimulator({ fault: 'forbidden', firstTokenMs: 0, tokensPerSecond: Infinity })
  const simulated = { simulator: { fault: 'server-error', status: 503 } }
  const headers = { 'x-simulator-fault': 'rate-limit; retryAfter=9' }

  const answers = [
    await ask(broken, chat('fault:unauthorized', simulated), { headers }),
    await ask(broken, chat('fault:unauthorized'), { headers }),
    await ask(broken, chat('fault:unauthorized')),
    await ask(broken, chat('Hello')),
  ]

  expect(answers.map(({ status }) => status)).toEqual([503, 429, 401, 403])
  await broken.close()
})

test.each(['reject-stream-options', 'reject-max-tokens', 'reject-field'])(
  '%s lets a request pass that does not have the field',
  async (name) => {
    const answer = await ask(simulator, chat(`Hello fault:${name}`))

    expect(answer.text.endsWith(done)).toBe(true)
  },
)

test.each(['cut', 'fin', 'stall', 'eof'])('%s also spoils an answer in one piece', async (name) => {
  const answer = await ask(simulator, chat(`fault:${name};after=1`, { stream: false }), { until: '{' })

  expect(answer.text).toHaveLength(64)
  expect(() => JSON.parse(answer.text) as unknown).toThrow(SyntaxError)
})

test('a fault about events is refused where there are none', async () => {
  const answer = await ask(simulator, chat('fault:no-done', { stream: false }))

  expect(answer.status).toBe(400)
  expect(answer.text).toContain('stream_only_fault')
})

test('a tool-loop goes on after the tools have answered', async () => {
  const messages = [
    { role: 'user', content: 'fault:tool-loop' },
    {
      role: 'assistant',
      tool_calls: [{ id: 'c', type: 'function', function: { name: 'get_time', arguments: '{}' } }],
    },
    { role: 'tool', tool_call_id: 'c', content: 'noon' },
  ]

  const answer = await ask(simulator, { model: 'm', stream: true, messages })

  expect(answer.text).toContain('"finish_reason":"tool_calls"')
})

test('a redirect leads to another name of the same server by default', async () => {
  const answer = await ask(simulator, chat('fault:redirect'))

  expect(answer.headers['location']).toBe(
    `${simulator.url.slice(0, -3).replace('127.0.0.1', 'localhost')}/redirected`,
  )
})

test('fault:list tells all of them', async () => {
  const answer = await ask(simulator, chat('fault:list'))

  const text = (events(answer.text) as { choices?: { delta: { content?: string } }[] }[])
    .map((event) => event.choices?.[0]?.delta.content ?? '')
    .join('')
  expect(text.match(/^\| `fault:[a-z0-9-]+/gm)).toHaveLength(faults.length)
})
