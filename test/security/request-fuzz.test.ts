import { Agent, request as send } from 'node:http'
import { connect } from 'node:net'
import express from 'express'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ChatError, createMemoryStore, createOpenAI } from '../../src/index.ts'
import { passedFields } from '../../src/dialects/openai-known.ts'
import { understoodFields } from '../../src/dialects/openai-pass.ts'
import { type Host, host, relay } from '../adapters/host.ts'
import { createRandom, garbled, mutated, type Random } from './mutations.ts'
import { size } from './size.ts'

const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_201)
const REQUESTS = Number(process.env['FUZZ_REQUESTS'] ?? size(5000, 200_000))
const AT_ONCE = 12
/** Nothing may take longer than 2 s. Time in which this process, the service's as well, has no processor does not count. */
const HANG_MS = 2000
const TICK_MS = 50

/** Statuses of 500 and above that are planned: the upstream failed, or there is no room. */
const planned = [502, 503, 504]

const png = 'data:image/png;base64,iVBORw0KGgo='
const call = { id: 'c1', type: 'function', function: { name: 'look', arguments: '{"at":"sky"}' } }
const schema = { type: 'object', properties: { at: { type: 'string' } }, required: ['at'] }

/** Bodies that are answered, by the paths that take them. */
const bodies: readonly (readonly [path: string, body: unknown])[] = [
  ['/chat', { prompt: 'hi' }],
  ['/chat', { messages: [{ role: 'user', content: 'hi' }], stream: false, temperature: 1, stop: ['x'], max_tokens: 9 }],
  ['/v1/chat/completions', { model: 'test-model', messages: [{ role: 'user', content: 'hi' }] }],
  ['/v1/chat/completions', {
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', name: 'Ann', content: [{ type: 'text', text: 'see' }, { type: 'image_url', image_url: { url: png, detail: 'low' } }] },
      { role: 'assistant', content: null, tool_calls: [call], reasoning_content: 'hm' },
      { role: 'tool', tool_call_id: 'c1', content: 'clouds' },
      { role: 'user', content: [{ type: 'input_audio', input_audio: { data: 'UklGRg==', format: 'wav' } }, { type: 'file', file: { file_id: 'f' } }] },
    ],
    stream: true, stream_options: { include_usage: true }, top_k: 5, logit_bias: { 1: 2 }, metadata: { a: 'b' },
    tools: [{ type: 'function', function: { name: 'look', description: 'Looks', parameters: { $defs: { a: schema }, ...schema }, strict: true } }],
    tool_choice: { type: 'function', function: { name: 'look' } }, parallel_tool_calls: false, logprobs: true, top_logprobs: 2,
    response_format: { type: 'json_schema', json_schema: { name: 'a', schema } }, reasoning: { effort: 'low' }, thinking: { type: 'enabled' },
  }],
  ['/api/chat', { id: 'chat-1', trigger: 'submit-message', messages: [{ id: 'm1', role: 'user', parts: [{ type: 'text', text: 'hi' }] }] }],
  ['/api/chat', {
    id: 'chat-2',
    messages: [
      { id: 'm1', role: 'user', parts: [{ type: 'text', text: 'hi' }, { type: 'file', mediaType: 'image/png', url: png }] },
      { id: 'm2', role: 'assistant', parts: [
        { type: 'step-start' }, { type: 'reasoning', text: 'hm' }, { type: 'text', text: 'Let me look' },
        { type: 'tool-look', toolCallId: 'c1', state: 'output-available', input: { at: 'sky' }, output: { is: 'blue' } },
        { type: 'dynamic-tool', toolName: 'look', toolCallId: 'c2', state: 'output-error', input: {}, errorText: 'no' },
      ] },
    ],
  }],
] // prettier-ignore

const paths = [
  '/', '/healthz', '/readyz', '/chat', '/chat/', '/stream', '/stream?prompt=hi', '/stream?prompt=', '/v1/models', '/v1/models/x', '/models', '/v1',
  '/v1/chat/completions', '/v1/responses', '/chat/completions', '/api/chat', '/api/chat/chat-1/stream', '/api/chat/chat-1/stop', '/api/chat/chat-1',
  '/api/chat/chat-1/stream?startIndex=-1', '/chat/ID', '/chat/ID/stop', '/api/chat/ID/stream?startIndex=2', '/chat/ID?last_event_id=1', '/../etc/passwd',
  '//evil.example/chat', '/chat/%00', '/chat/%ff', '/api/chat/%E0%A4%A/stream', '/chat?a=%', '/%2e%2e/', '/v1/models/%', '/stream?last_event_id=ID.1',
] // prettier-ignore

const methods = ['GET', 'POST', 'DELETE', 'HEAD', 'OPTIONS', 'PUT', 'PATCH', 'TRACE', 'PROPFIND', 'M-SEARCH']

const headers: Readonly<Record<string, readonly string[]>> = {
  'content-type': ['application/json', 'application/json; charset=utf-8', 'text/plain', 'application/json; charset=utf-16', 'x', 'multipart/form-data'],
  'content-encoding': ['gzip', 'identity', 'br', 'x'],
  'last-event-id': ['0', '1', '999999999999999', '-1', 'ID.1', 'ID.2', 'x.y', '1e3', '9'.repeat(300), ''],
  'idempotency-key': ['k1', 'k2', 'k3', 'k'.repeat(300), 'é', ''],
  'x-on-disconnect': ['cancel', 'linger', 'continue', 'x'],
  origin: ['http://evil.example', 'null', 'x'],
  'sec-fetch-site': ['cross-site', 'same-origin', 'none'],
  accept: ['text/event-stream', 'application/json', '*/*'],
  host: ['localhost', 'evil.example', '127.0.0.1', ''],
  authorization: ['Bearer x', 'Basic !!!'],
  expect: ['100-continue'],
} // prettier-ignore

interface Attempt {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Failures that nobody planned, as the service reports them. */
const internal: ChatError[] = []
/** Names of fields that reached the upstream and are on no list. */
const strangers = new Set<string>()
const known = new Set([...understoodFields, ...Object.keys(passedFields)].map(String))
const ids: string[] = ['none']
let upstream: Host
let server: Host
let ticks = 0
/** Requests that wait for their answer: when they began, and how they are given up. */
const waiting = new Set<{ readonly since: number; readonly giveUp: () => void }>()
const clock = setInterval(() => {
  ticks++
  for (const { since, giveUp } of waiting) if ((ticks - since) * TICK_MS > HANG_MS) giveUp()
}, TICK_MS)

/** Gives up a request that takes too long. Call what it returns when it has ended. */
function watch(giveUp: () => void): () => void {
  const entry = { since: ticks, giveUp }
  waiting.add(entry)
  return () => waiting.delete(entry)
}
const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE })

beforeAll(async () => {
  let count = 0
  const chunk = (delta: object, reason: string | null = null) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: reason }] })}\n\n`
  upstream = await host((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (piece: string) => (text += piece))
    request.on('end', () => {
      for (const name of Object.keys(JSON.parse(text) as object)) if (!known.has(name)) strangers.add(name)
      if (++count % 23 === 0) return response.writeHead(500).end('{"error":{"message":"no"}}')
      if (count % 29 === 0) return response.destroy()
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.end(`${chunk({ content: 'a' })}${chunk({ content: 'b' })}${chunk({}, 'stop')}data: [DONE]\n\n`)
    })
  })
  const onError = (error: ChatError): void => {
    if (error.code === 'internal') internal.push(error)
  }
  server = await host(
    express().use(
      relay({
        upstream: createOpenAI({ baseURL: `${upstream.url}/v1`, apiKey: 'sk-upstream-0123456789' }),
        retries: 0,
        store: createMemoryStore({ ttlMs: 1000 }),
        bodyTimeoutMs: 300,
        lingerMs: 100,
        onError,
        page: { read: async (name) => `<p>${name}</p>`, info: { simulated: false, model: 'm', models: ['m'] } },
        tools: [{ name: 'look', schema: { type: 'object' } }, { name: 'own', schema: { type: 'object' }, execute: () => 1 }],
      }),
    ),
  ) // prettier-ignore
})
afterAll(async () => {
  clearInterval(clock)
  agent.destroy()
  await Promise.all([server.close(), upstream.close()])
})

function choose(random: Random): Attempt {
  const id = random.pick(ids)
  const named = (text: string): string => text.replaceAll('ID', id)
  const [path, body] = random.pick(bodies)
  const good = random.chance(0.75)
  let text = JSON.stringify(random.chance(0.85) ? mutated(body, random) : body)
  if (random.chance(0.15)) text = garbled(text, random)
  const chosen: Record<string, string> = { 'content-type': 'application/json' }
  for (const [name, values] of Object.entries(headers)) {
    if (random.chance(good ? 0.03 : 0.15)) chosen[name] = named(random.pick(values))
  }
  const method = good ? 'POST' : random.pick(methods)
  return { method, path: named(good ? path : random.pick(paths)), headers: chosen, body: text }
}

/** Sends a request, and resolves with its status when its answer is over. */
function ask({ method, path, headers: fields, body }: Attempt): Promise<number> {
  return new Promise((resolve, reject) => {
    const bodiless = method === 'GET' || method === 'HEAD'
    const length = bodiless ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const request = send(
      { host: '127.0.0.1', port: server.port, method, path, agent, headers: { ...fields, ...length } },
      (response) => {
        const id = response.headers['x-reply-id']
        if (typeof id === 'string') ids[ids.length % 20] = id
        response.on('data', () => {}).on('end', () => resolve(response.statusCode ?? 0))
        response.on('error', reject)
      },
    ) // prettier-ignore
    request.on(
      'close',
      watch(() => request.destroy(new Error('hang'))),
    )
    request.on('error', (error: NodeJS.ErrnoException) => {
      // The service may answer and close before it has read everything.
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') resolve(0)
      else reject(error)
    })
    request.end(bodiless ? undefined : body)
  })
}

/** Writes bytes that are more or less HTTP, and resolves with the statuses that come before the connection is closed. */
function askRaw(bytes: string): Promise<readonly number[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, '127.0.0.1')
    let text = ''
    const ended = watch(() => socket.destroy(new Error('hang')))
    socket.on('data', (piece) => (text += piece.toString('latin1')))
    socket.on('error', (error) => {
      if (error.message === 'hang') reject(error)
    })
    socket.on('close', () => {
      ended()
      resolve([...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status)))
    })
    socket.end(bytes, 'latin1')
  })
}

function raw(random: Random): string {
  const { method, path, body } = choose(random)
  const length = random.pick([body.length, body.length, 0, -1, 5, 1e9])
  const text = [
    `${method} ${path} ${random.pick(['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/9.9', ''])}`,
    `Host: ${random.pick(['localhost', 'a b', ''])}`,
    ...(random.chance(0.2) ? ['Host: evil.example'] : []),
    ...(random.chance(0.2) ? ['Transfer-Encoding: chunked'] : [`Content-Length: ${length}`]),
    ...(random.chance(0.1) ? [`X-${'y'.repeat(random.pick([10, 20_000]))}: z`] : []),
    'Content-Type: application/json',
    '',
    body,
  ].join(random.pick(['\r\n', '\r\n', '\r\n', '\n', '\r']))
  return random.chance(0.4) ? garbled(text, random) : text
}

test(`${REQUESTS} requests of all kinds: no crash, nothing unplanned, no hang`, async () => {
  const statuses = new Map<number, number>()
  const began = performance.now()
  let slowest = 0
  let next = 0

  async function work(): Promise<void> {
    while (next < REQUESTS) {
      const index = next++
      const random = createRandom(SEED + index * 7919)
      const isRaw = random.chance(0.12)
      const attempt = isRaw ? raw(random) : choose(random)
      const about = (): string =>
        `seed ${SEED}, request ${index}: ${JSON.stringify(attempt).slice(0, 2000)}`
      const started = ticks
      const answers = await (typeof attempt === 'string' ? askRaw(attempt) : ask(attempt).then((one) => [one])).catch(
        (error: unknown) => expect.fail(`${String(error)}; ${about()}`),
      ) // prettier-ignore
      slowest = Math.max(slowest, (ticks - started) * TICK_MS)
      for (const status of answers) {
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
        if (status >= 500 && !planned.includes(status)) expect.fail(`status ${status}; ${about()}`)
      }
      if (internal.length > 0) expect.fail(`${String(internal[0]?.cause)}; ${about()}`)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))

  const health = await fetch(`${server.url}/healthz`)
  expect(health.status).toBe(200)
  expect([...strangers]).toEqual([])
  expect(slowest).toBeLessThanOrEqual(HANG_MS)
  // Some of everything: a fuzz whose requests are all refused at the door tests only the door.
  for (const status of [200, 400, 404, 405, 415, 422, 502]) expect(statuses.get(status) ?? 0).toBeGreaterThan(REQUESTS / 1000)
  if (process.env['SECURITY_FULL'] === '1') {
    const all = [...statuses].sort(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`)
    console.log(`${REQUESTS} requests in ${((performance.now() - began) / 1000).toFixed(0)} s, slowest ${slowest.toFixed(0)} ms; ${all.join(', ')}`)
  }
}, size(240_000, 7_200_000)) // prettier-ignore
