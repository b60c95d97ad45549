import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startSimulator } from '../../simulator/index.ts'
import type { Simulator } from '../../simulator/index.ts'
import { ask, chat, events } from './raw.ts'

let simulator: Simulator
let client: OpenAI

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
  client = new OpenAI({ baseURL: simulator.url, apiKey: 'any', maxRetries: 0 })
})

afterAll(() => simulator.close())

const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Get the current weather in a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
} as const
const stocks = {
  type: 'function',
  function: {
    name: 'stock_price',
    description: 'Look up a share',
    parameters: { type: 'object', properties: { ticker: { enum: ['ACME', 'INIT'] } }, required: ['ticker'] },
  },
} as const
const ask1 = (content: string) => [{ role: 'user', content }] as const satisfies readonly object[]

test('the official client reads a stream to its end', async () => {
  const runner = client.chat.completions.stream({
    model: 'gpt-x',
    messages: [...ask1('Why is the sky blue?')],
    stream_options: { include_usage: true },
  })

  const final = await runner.finalChatCompletion()

  expect(final.model).toBe('simulator')
  expect(final.choices[0]?.message.content).toContain('sky')
  expect(final.choices[0]?.finish_reason).toBe('stop')
  expect(final.usage?.total_tokens).toBeGreaterThan(20)
})

test('without stream the same answer comes in one piece', async () => {
  const messages = [...ask1('Compare tea and coffee')]

  const whole = await client.chat.completions.create({ model: 'm', messages })
  const streamed = await client.chat.completions.stream({ model: 'm', messages }).finalChatCompletion()

  expect(whole.choices[0]?.message.content).toBe(streamed.choices[0]?.message.content)
  expect(whole.id).toBe(streamed.id)
})

test('models are listed, and any model can be retrieved', async () => {
  const list = await client.models.list()
  const one = await client.models.retrieve('anything')

  expect(list.data.map(({ id }) => id)).toEqual(['simulator'])
  expect(one).toMatchObject({ id: 'anything', object: 'model' })
})

test('a stream has a role first, usage before [DONE], and one identity throughout', async () => {
  const answer = await ask(simulator, chat('Hello', { stream_options: { include_usage: true } }))

  const all = events(answer.text) as { id: string; created: number; model: string; usage: object | null }[]
  const chunks = all.slice(0, -1)
  expect(answer.headers['content-type']).toBe('text/event-stream; charset=utf-8')
  expect(all.at(-1)).toBe('[DONE]')
  expect(chunks[0]).toMatchObject({
    choices: [{ delta: { role: 'assistant', content: '' }, finish_reason: null }],
  })
  expect(chunks.at(-2)).toMatchObject({ choices: [{ delta: {}, finish_reason: 'stop' }], usage: null })
  expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 8 } })
  expect(new Set(chunks.map(({ id, created, model }) => `${id} ${created} ${model}`)).size).toBe(1)
})

test('without include_usage no chunk mentions usage', async () => {
  const answer = await ask(simulator, chat('Hello'))

  expect(answer.text).not.toContain('usage')
})

test('the same seed and body give the same bytes, another seed gives others', async () => {
  const twin = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity, seed: 1 })
  const other = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity, seed: 2 })
  const body = chat('Tell me a story about rivers')

  const [first, second, third] = await Promise.all([ask(simulator, body), ask(twin, body), ask(other, body)])

  expect(second.text).toBe(first.text)
  expect(third.text).not.toBe(first.text)
  await twin.close()
  await other.close()
})

test('tools that the prompt mentions are called, several at once', async () => {
  const final = await client.chat.completions
    .stream({
      model: 'm',
      messages: [...ask1('What is the weather in Rome, and the stock of INIT?')],
      tools: [weather, stocks],
    })
    .finalChatCompletion()

  const calls = final.choices[0]?.message.tool_calls?.map((call) => call.type === 'function' && call.function)
  expect(final.choices[0]?.finish_reason).toBe('tool_calls')
  expect(calls).toMatchObject([
    { name: 'get_weather', arguments: '{"city":"Rome"}' },
    { name: 'stock_price', arguments: '{"ticker":"INIT"}' },
  ])
})

test.each([
  ['auto', 'Good news, please', 0],
  ['none', 'What is the weather?', 0],
  ['required', 'Anything', 1],
  [{ type: 'function', function: { name: 'stock_price' } } as const, 'Anything', 1],
] as const)('tool_choice %j with “%s” makes %i calls', async (choice, content, count) => {
  const answer = await client.chat.completions.create({
    model: 'm',
    messages: [...ask1(content)],
    tools: [weather, stocks],
    tool_choice: choice,
  })

  expect(answer.choices[0]?.message.tool_calls ?? []).toHaveLength(count)
})

test('a tool result is answered in words', async () => {
  const answer = await client.chat.completions.create({
    model: 'm',
    tools: [weather],
    messages: [
      ...ask1('Weather in Rome?'),
      {
        role: 'assistant',
        tool_calls: [{ id: 'c1', type: 'function', function: { name: 'get_weather', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: 'c1', content: '{"temperature":21,"sky":"clear"}' },
    ],
  })

  expect(answer.choices[0]?.message.content).toContain(
    '**get_weather** says: temperature is 21, sky is clear.',
  )
})

test('thinking comes before the answer when it is asked for', async () => {
  const asked = await ask(simulator, chat('Hello', { reasoning_effort: 'low' }))
  const declined = await ask(simulator, chat('Think about it', { reasoning_effort: 'none' }))

  expect(asked.text.indexOf('reasoning_content')).toBeGreaterThan(0)
  expect(asked.text.indexOf('reasoning_content')).toBeLessThan(asked.text.indexOf('"content":"H'))
  expect(declined.text).not.toContain('reasoning_content')
})

test.each(['max_tokens', 'max_completion_tokens'])(
  '%s cuts the answer with finish_reason length',
  async (name) => {
    const answer = await client.chat.completions.create({ model: 'm', messages: [...ask1('Hi')], [name]: 3 })

    expect(answer).toMatchObject({ choices: [{ finish_reason: 'length' }], usage: { completion_tokens: 3 } })
  },
)

test('tokens:n in the prompt asks for an answer of that length', async () => {
  const answer = await client.chat.completions.create({ model: 'm', messages: [...ask1('tokens:1234')] })

  expect(answer.usage?.completion_tokens).toBe(1234)
})

test('a JSON schema for the answer is followed', async () => {
  const schema = { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } } }
  const answer = await client.chat.completions.create({
    model: 'm',
    messages: [...ask1('5 days in Oslo')],
    response_format: { type: 'json_schema', json_schema: { name: 'trip', schema } },
  })

  expect(JSON.parse(answer.choices[0]?.message.content ?? '')).toEqual({ city: 'Oslo', days: 5 })
})

test.each([
  [{}, null, 'you must provide a model parameter'],
  [{ model: 'm' }, 'messages', 'Missing required'],
  [{ model: 'm', messages: [] }, 'messages', 'empty array'],
  [{ model: 'm', messages: [{ role: 'bot', content: '' }] }, 'messages[0].role', "'bot'"],
  [{ model: 'm', messages: [{ role: 'user', content: 1 }] }, 'messages[0].content', 'string'],
  [{ ...chat('x'), temperature: 3 }, 'temperature', 'decimal'],
  [{ ...chat('x'), n: 2 }, 'n', 'integer 1'],
  [{ ...chat('x'), stream: false, stream_options: {} }, 'stream_options', 'only allowed'],
  [chat('fault:nonsense'), 'simulator.fault', 'rate-limit'],
  [chat('fault:cut;after=x'), 'simulator', 'after=x'],
])('a wrong request is refused in the shape of OpenAI: %j', async (body, param, message) => {
  const answer = await ask(simulator, body)

  const { error } = JSON.parse(answer.text) as { error: { message: string } }
  expect(answer.status).toBe(400)
  expect(error).toMatchObject({ type: 'invalid_request_error', param })
  expect(error.message).toContain(message)
})

test.each([
  ['POST', '/v1/chat/completions', {}, 401],
  ['GET', '/v1/models', {}, 401],
  ['GET', '/models', { authorization: 'x' }, 200],
  ['GET', '/v1/nothing', { authorization: 'x' }, 404],
  ['GET', '/v1/chat/completions', { authorization: 'x' }, 405],
  ['POST', '/chat/completions', { authorization: 'x' }, 400],
  ['GET', '/', {}, 200],
])('%s %s with %j is answered %i', async (method, path, headers, status) => {
  const response = await fetch(new URL(path, simulator.url), { method, headers })

  expect(response.status).toBe(status)
  expect(response.headers.get('content-type')).toBe('application/json')
  await response.json()
})

test('a client that leaves ends the answer at once', async () => {
  const slow = await startSimulator({ firstTokenMs: 0, tokensPerSecond: 1e-9 })

  const answer = await ask(slow, chat('Hello'), { until: '"content":"H' })
  await slow.requests[0]?.done

  expect(answer.ended).toBe('open')
  expect(slow.requests[0]).toMatchObject({ closed: true, hungUp: true, tokens: 1 })
  expect(slow.openStreams()).toBe(0)
  await slow.close()
})

test('requests are kept as they came', async () => {
  const fresh = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity, now: () => 5_000 })

  const answer = await ask(fresh, chat('Hello'), { headers: { 'x-mark': '1' } })
  await fresh.requests[0]?.done

  expect(answer.text).toContain('"created":5,')
  expect(fresh.requests).toHaveLength(1)
  expect(fresh.requests[0]).toMatchObject({
    method: 'POST',
    path: '/v1/chat/completions',
    headers: { 'x-mark': '1' },
    body: chat('Hello'),
    hungUp: false,
    closedAt: 5_000,
  })
  await fresh.close()
})

test('close ends everything that is open, and can be called twice', async () => {
  const closing = await startSimulator()
  const waiting = ask(closing, chat('fault:stall-after-headers'), { until: 'never' })
  await expect.poll(() => closing.openStreams()).toBe(1)

  await Promise.all([closing.close(), closing.close()])

  expect((await waiting).ended).toBe('cut')
  expect(closing.openStreams()).toBe(0)
})
