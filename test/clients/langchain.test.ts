import { AIMessageChunk, HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages'
import { tool } from '@langchain/core/tools'
import { ChatOpenAI } from '@langchain/openai'
import { beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { all, soon } from '../src/kit.ts'
import { createRelay, pixel } from './relay.ts'

const relay = createRelay({ model: 'model-a', models: '*' })
let model: ChatOpenAI

function create(more: Partial<ConstructorParameters<typeof ChatOpenAI>[0] & object> = {}): ChatOpenAI {
  const configuration = { baseURL: relay.url }
  return new ChatOpenAI({ model: 'model-a', apiKey: 'any', maxRetries: 0, configuration, ...more })
}

beforeAll(() => {
  model = create()
})

const weather = tool(({ city }) => `21 degrees in ${city}`, {
  name: 'get_weather',
  description: 'The weather in a city',
  schema: z.object({ city: z.enum(['Paris', 'Rome']) }),
})

test('invoke gives an answer with its usage', async () => {
  const answer = await model.invoke([new SystemMessage('Be kind.'), new HumanMessage('hi')])

  expect(answer.text).toMatch(/\w/)
  expect(answer.response_metadata).toMatchObject({ finish_reason: 'stop', model_name: 'model-a' })
  expect(answer).toHaveProperty('usage_metadata.total_tokens', expect.any(Number))
})

test('stream gives the same in pieces, and the usage', async () => {
  const asked = [new HumanMessage('Tell me about rivers')]
  const whole = await model.invoke(asked)

  const chunks = await all(await model.stream(asked))
  const joined = chunks.reduce((sum, chunk) => sum.concat(chunk))

  expect(chunks.length).toBeGreaterThan(5)
  expect(joined.text).toBe(whole.text)
  expect(joined.response_metadata).toMatchObject({ finish_reason: 'stop' })
  expect(joined.usage_metadata).toEqual(whole.usage_metadata)
})

test('a bound tool is called, and its result makes an answer', async () => {
  const bound = model.bindTools([weather])
  const question = new HumanMessage('What is the weather in Rome?')

  const asked = await bound.invoke([question])
  const streamed = (await all(await bound.stream([question]))).reduce((sum, chunk) => sum.concat(chunk))
  const call = asked.tool_calls![0]!
  const result = (await weather.invoke(call as never)) as ToolMessage // a call makes it give a message
  const answer = await bound.invoke([question, asked, result])

  expect(call).toMatchObject({
    name: 'get_weather',
    args: { city: 'Rome' },
    id: expect.stringMatching(/^call_/) as string,
  })
  expect(streamed).toBeInstanceOf(AIMessageChunk)
  expect(streamed.tool_calls).toEqual(asked.tool_calls)
  expect(answer.text).toMatch(/21 degrees in Rome/)
})

const trip = z.object({ city: z.string(), days: z.number() })

test.each(['jsonSchema', 'functionCalling'] as const)('structured output comes by %s', async (method) => {
  const structured = model.withStructuredOutput(trip, { method, name: 'trip' })

  expect(await structured.invoke('Plan a trip')).toEqual({
    city: expect.any(String) as string,
    days: expect.any(Number) as number,
  })
})

test('structured output asks for JSON of any shape where that is wanted', async () => {
  const structured = model.withStructuredOutput(trip, { method: 'jsonMode', name: 'trip' })

  // Any JSON is no trip: only the way there is ours.
  await structured.invoke('Plan a trip in JSON').catch(() => undefined)

  expect(relay.asked['response_format']).toEqual({ type: 'json_object' })
})

test('reasoning is kept apart from the answer', async () => {
  const thinking = create({ modelKwargs: { reasoning_effort: 'high' } })

  const answer = (await all(await thinking.stream('Think about rivers'))).reduce((sum, chunk) =>
    sum.concat(chunk),
  )

  expect(answer.additional_kwargs['reasoning_content']).toMatch(/\w/)
  expect(answer.text).not.toContain(String(answer.additional_kwargs['reasoning_content']))
})

test('images and fields of a vendor reach the upstream', async () => {
  const content = [
    { type: 'text' as const, text: 'What is this?' },
    { type: 'image_url' as const, image_url: { url: pixel } },
  ]

  await create({ modelKwargs: { top_k: 40 }, temperature: 0.5, maxTokens: 50, stop: ['END'] }).invoke([
    new HumanMessage({ content, name: 'Ann' }),
  ])

  expect(relay.asked).toMatchObject({
    messages: [{ role: 'user', name: 'Ann', content }],
    top_k: 40,
    temperature: 0.5,
    max_tokens: 50,
    stop: ['END'],
  })
})

test.each([
  ['context-length', { name: 'ContextOverflowError' }],
  ['rate-limit', { status: 429, code: 'rate_limit_exceeded' }],
  ['server-error', { status: 502 }],
])('fault:%s is an error of its own', async (fault, fields) => {
  await expect(model.invoke(`fault:${fault}`)).rejects.toMatchObject(fields)
})

test('an answer that is cut is an error', async () => {
  const stream = await model.stream('fault:cut')

  await expect(all(stream)).rejects.toMatchObject({ code: 'upstream-truncated', type: 'server_error' })
})

test('an abort ends the request to the upstream', async () => {
  const before = relay.simulator.requests.length
  const controller = new AbortController()
  const stream = await model.stream('fault:stall and leave', { signal: controller.signal })

  await expect(
    (async () => {
      for await (const chunk of stream) if (chunk.text !== '') controller.abort()
    })(),
  ).rejects.toThrow(/abort/i)

  const request = relay.simulator.requests[before]!
  await soon(request.done)
  expect(request.hungUp).toBe(true)
})
