import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { streamChat } from '../../../src/chat.ts'
import type { ChatDelta, UpstreamDelta } from '../../../src/types.ts'
import { createOpenAI, type OpenAIOptions } from '../../../src/upstreams/openai.ts'
import { all, asking, textIn } from '../kit.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const chunk = (delta: object, finish_reason: string | null = null): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] })}\n\n`
const done = 'data: [DONE]\n\n'
const word = chunk({ content: 'w' }, 'stop')
const call = chunk({ tool_calls: [{ index: 0, id: 'a', function: { name: 'f', arguments: '{}' } }] })

/** What comes: a text, a time without anything in milliseconds, or how the body ends (null: well); else it stays open. */
type Step = string | number | Error | null

function upstreamOf(steps: readonly Step[], options: Partial<OpenAIOptions> = {}) {
  const left = [...steps]
  const cancelled = vi.fn<() => void>()
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      let step = left.shift()
      while (typeof step === 'number') {
        await new Promise((resolve) => setTimeout(resolve, step as number)) // narrowed in the line above
        step = left.shift()
      }
      if (step === null) controller.close()
      else if (step instanceof Error) controller.error(step)
      else if (step !== undefined) controller.enqueue(new TextEncoder().encode(step))
      else await new Promise(() => {})
    },
    cancel: cancelled,
  })
  const fetch = async (): Promise<Response> =>
    new Response(body, { headers: { 'content-type': 'text/event-stream' } })
  const upstream = createOpenAI({ apiKey: 'any', baseURL: 'http://localhost/v1', fetch, ...options })
  return { upstream, cancelled }
}

async function ask(steps: readonly Step[], options: Partial<OpenAIOptions> = {}): Promise<ChatDelta[]> {
  const { upstream } = upstreamOf(steps, options)
  const answer = all(streamChat(asking(), { upstream, signal: new AbortController().signal, id: 'r' }))
  await vi.advanceTimersByTimeAsync(600_000)
  return answer
}

const drip = Array.from({ length: 8 }, () => [500, word]).flat()

describe('words after a finish reason', () => {
  test.each<[string, readonly Step[], string, object]>([
    ['are all heard, until [DONE]', [word, ...drip, done], 'wwwwwwwww', { reason: 'stop' }],
    ['are all heard, until the body ends', [word, ...drip, null], 'wwwwwwwww', { reason: 'stop' }],
    ['that stop coming are no whole answer', [word, ...drip], 'wwwwwwwww', { code: 'upstream-truncated' }],
    [
      'that break off are no whole answer',
      [word, ...drip, new TypeError('terminated')],
      'wwwwwwwww',
      { code: 'upstream-truncated' },
    ],
    ['that never come are none', [word], 'w', { reason: 'stop' }],
    ['that come too late are not waited for', [word, 2500, word, done], 'w', { reason: 'stop' }],
    ['can be a call', [word, 1500, call, done], 'w', { reason: 'stop' }],
    ['can be a call that is cut', [word, 1500, call], 'w', { code: 'upstream-truncated' }],
    [
      'can be a call, and then its own reason',
      [word, 1500, call, chunk({}, 'tool_calls')],
      'w',
      { reason: 'tool-calls' },
    ],
    ['that are "null" ended nothing', [chunk({ content: 'w' }, 'null')], 'w', { code: 'upstream-timeout' }],
  ])('%s', async (_, steps, text, end) => {
    const deltas = await ask(steps)

    expect(textIn(deltas)).toBe(text)
    expect(deltas.at(-1)).toMatchObject(end)
  })
})

describe('events without words of the Responses API', () => {
  const told = (type: string, more: object = {}): string =>
    `data: ${JSON.stringify({ type: `response.${type}`, ...more })}\n\n`
  const looking = Array.from({ length: 6 }, () => [40_000, told('web_search_call.searching')]).flat()
  const end = [told('output_text.delta', { delta: 'w' }), told('completed', { response: {} })]

  test('are signs of life', async () => {
    const deltas = await ask([told('created'), ...looking, ...end], { api: 'responses' })

    expect(textIn(deltas)).toBe('w')
    expect(deltas.at(-1)).toMatchObject({ reason: 'stop' })
  })

  test.each([': waiting\n\n', 'data: {"type":"keepalive"}\n\n'])('are not: %j', async (frame) => {
    const steps = [told('created'), ...Array.from({ length: 6 }, () => [40_000, frame]).flat(), ...end]

    expect((await ask(steps, { api: 'responses' })).at(-1)).toMatchObject({ code: 'upstream-timeout' })
  })
})

describe('a body that stays open after [DONE]', () => {
  const open = [word, done]

  /** Reads to the finish, and asks for what follows: the clocks stand still meanwhile. */
  async function finished(signal: AbortSignal) {
    const { upstream, cancelled } = upstreamOf(open)
    const answer = upstream(asking(), { signal })[Symbol.asyncIterator]()
    const types: UpstreamDelta['type'][] = []
    for (let next = await answer.next(); !next.done; next = await answer.next()) {
      types.push(next.value.type)
      if (next.value.type === 'finish') break
    }
    expect(types).toEqual(['text', 'finish'])
    const end = answer.next()
    await vi.advanceTimersByTimeAsync(1)
    return { end, cancelled }
  }

  test('does not hold anybody who stops', async () => {
    const controller = new AbortController()
    const { end, cancelled } = await finished(controller.signal)
    expect(cancelled).not.toHaveBeenCalled()

    controller.abort()

    expect(await end).toMatchObject({ done: true })
    expect(cancelled).toHaveBeenCalledTimes(1)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  })

  test('is given up after a fifth of a second', async () => {
    const { end, cancelled } = await finished(new AbortController().signal)

    await vi.advanceTimersByTimeAsync(210)

    expect(await end).toMatchObject({ done: true })
    expect(cancelled).toHaveBeenCalledTimes(1)
  })
})
