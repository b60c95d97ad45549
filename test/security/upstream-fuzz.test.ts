import { afterEach, expect, test, vi } from 'vitest'
import { createRandom } from '../../simulator/random.ts'
import { type ChatError, createHandler } from '../../src/index.ts'
import { createOpenAI } from '../../src/upstreams/openai.ts'
import { http, soon, textOf } from '../src/kit.ts'
import { size } from './size.ts'
import { upstreamAnswer, type UpstreamAnswer } from './upstream-bodies.ts'

afterEach(() => void vi.restoreAllMocks())

function toResponse({ status, type, pieces, broken }: UpstreamAnswer): Response {
  const rest = [...pieces]
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = rest.shift()
      if (piece) controller.enqueue(piece)
      else if (broken) controller.error(new TypeError('terminated'))
      else controller.close()
    },
  })
  return new Response(status === 204 ? null : body, { status, headers: { 'content-type': type } })
}

const ui = [{ id: 'm1', role: 'user', parts: [{ type: 'text', text: 'hi' }] }]
const conversation = [{ role: 'user', content: 'hi' }]
const look = { type: 'function', function: { name: 'look', parameters: { type: 'object' } } }

/** A request of each dialect, as a stream and as a document, with the pattern of what ends its stream. */
const requests = {
  'events stream': ['/chat', { prompt: 'hi' }, /"type":"(?:finish|error)"/g],
  'events document': ['/chat', { prompt: 'hi', stream: false }],
  'openai stream': [
    '/v1/chat/completions',
    { messages: conversation, stream: true, tools: [look], logprobs: true },
    /"finish_reason":"|"error":\{/g,
  ],
  'openai document': ['/v1/chat/completions', { messages: conversation, logprobs: true }],
  'ai-sdk stream': ['/api/chat', { id: 'c', messages: ui }, /"type":"(?:finish|error)"/g],
} satisfies Record<string, readonly [string, object, RegExp?]>

/** Frames of a stream, without what the model said: that can look like the end of a stream. */
function framesOf(text: string): string {
  return text
    .split('\n')
    .map((line) => /^data: (.*)$/.exec(line)?.[1])
    .filter((data) => data !== undefined && data !== '[DONE]')
    .map((data) => {
      const frame = JSON.parse(data!) as Record<string, unknown> // it matched
      const [choice] = (frame['choices'] as { finish_reason?: string | null }[] | undefined) ?? []
      const kept = { type: frame['type'], error: frame['error'] && {}, finish_reason: choice?.finish_reason }
      return JSON.stringify(kept)
    })
    .join('\n')
}

async function attack(seed: number): Promise<void> {
  const random = createRandom(seed)
  const api = random() < 0.5 ? 'chat-completions' : 'responses'
  const answer = upstreamAnswer(random, api)
  for (const [name, [url, body, terminal]] of Object.entries<readonly [string, object, RegExp?]>(requests)) {
    const where = `seed ${seed}, ${api}, ${name}`
    const errors: ChatError[] = []
    const fetch = async () => toResponse(answer)
    const upstream = createOpenAI({ api, apiKey: 'none', baseURL: 'http://model.test/v1', fetch })
    const onError = (error: ChatError) => void errors.push(error)
    const handler = createHandler({ upstream, model: 'm', retries: 0, onError, lingerMs: 0 })
    const started = performance.now()

    const reply = await soon(handler(http(url, { body })), 20_000)
    const text = await soon(textOf(reply), 20_000)
    await soon(reply.settled, 20_000)

    const took = performance.now() - started
    expect(took, `${where} hangs`).toBeLessThan(size(10_000, 2000))
    expect(
      errors.map(({ code, cause }) => (code === 'internal' ? cause : undefined)).filter(Boolean),
      where,
    ).toEqual([])
    expect(text.includes('"code":"internal"'), `${where}: ${text.slice(0, 300)}`).toBe(false)
    expect([200, 400, 404, 413, 415, 422, 429, 502, 503], where).toContain(reply.status)
    if (terminal && reply.status === 200)
      expect(framesOf(text).match(terminal), `${where} has one end`).toHaveLength(1)
    if (!terminal) expect(() => void JSON.parse(text), where).not.toThrow()
  }
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
}

test('whatever an upstream answers is no crash, no internal error and no hang', async () => {
  const rejections: unknown[] = []
  const onRejection = (reason: unknown): void => void rejections.push(reason)
  process.on('unhandledRejection', onRejection)
  const first = Number(process.env['SECURITY_SEED'] ?? 1)
  try {
    for (let seed = first; seed < first + size(500, 12_000); seed++) await attack(seed)
  } finally {
    process.off('unhandledRejection', onRejection)
  }
  expect(rejections).toEqual([])
}, 3_600_000)
