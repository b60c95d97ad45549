import { afterAll, beforeAll, expect, test } from 'vitest'
import { createGetTime } from '../../handlers/tools.ts'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { streamChat } from '../../src/chat.ts'
import { createToolbox, type Tool } from '../../src/tools.ts'
import type { ChatDelta } from '../../src/types.ts'
import { createOpenAI } from '../../src/upstreams/openai.ts'
import { all, asking, textIn } from './kit.ts'
import { of } from './tools-kit.ts'

let simulator: Simulator

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
})

afterAll(() => simulator.close())

function ask(question: string, tools: readonly Tool[]): Promise<ChatDelta[]> {
  const upstream = createOpenAI({ baseURL: simulator.url, apiKey: 'any' })
  const options = { upstream, signal: new AbortController().signal, id: 'r1', tools: createToolbox(tools) }
  return all(streamChat(asking(question), options))
}

const tools = [createGetTime(() => Date.UTC(2026, 0, 1, 12))]

test('a model asks for the time, is told it, and says it', async () => {
  const deltas = await ask('What time is it in Europe/Paris?', tools)

  const calls = of('tool-call', deltas)
  expect(calls[0]).toMatchObject({ index: 0, name: 'get_time', server: true })
  expect(calls.map((piece) => piece.arguments).join('')).toBe('{"timeZone":"Europe/Paris"}')
  expect(of('tool-result', deltas)).toEqual([
    {
      type: 'tool-result',
      id: calls[0]?.id,
      result: {
        timeZone: 'Europe/Paris',
        weekday: 'Thursday',
        date: '2026-01-01',
        time: '13:00:00',
        offset: 'GMT+01:00',
      },
    },
  ])
  expect(textIn(deltas)).toContain('**get_time** says: timeZone is Europe/Paris')
  expect(textIn(deltas)).toContain('time is 13:00:00')
  expect(of('usage', deltas)).toHaveLength(1)
  expect(deltas.at(-1)).toEqual({ type: 'finish', reason: 'stop' })
})

test('a model hears of a mistake in its call as well', async () => {
  const deltas = await ask('What time is it in Middle/Earth?', tools)

  expect(of('tool-result', deltas)).toMatchObject([{ isError: true }])
  expect(textIn(deltas)).toContain('There is no time zone "Middle/Earth".')
})

test('a question without a tool in it is answered at once', async () => {
  const deltas = await ask('Why is the sky blue?', tools)

  expect(of('tool-call', deltas)).toEqual([])
  expect(textIn(deltas)).toContain('sky')
})
