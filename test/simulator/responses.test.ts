import OpenAI from 'openai'
import type { ResponseCreateParamsStreaming } from 'openai/resources/responses/responses'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { responseFaults } from '../../simulator/faults/responses.ts'
import { startSimulator } from '../../simulator/index.ts'
import type { Simulator } from '../../simulator/index.ts'
import { ask } from './raw.ts'

let simulator: Simulator
let client: OpenAI

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
  client = new OpenAI({ baseURL: simulator.url, apiKey: 'any', maxRetries: 0 })
})

afterAll(() => simulator.close())

const city = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }
const weather = {
  type: 'function',
  name: 'get_weather',
  description: 'Get the current weather in a city',
  parameters: city,
  strict: false,
} as const
const thinking = { effort: 'low', summary: 'auto' } as const

type Asked = Partial<ResponseCreateParamsStreaming>

function stream(input: string, more: Asked = {}) {
  return client.responses.stream({ model: 'm', input, ...more, stream: true })
}

interface Told {
  readonly type: string
  readonly sequence_number: number
  readonly delta?: unknown
}

async function eventsOf(input: string, more: Asked = {}): Promise<Told[]> {
  const told: Told[] = []
  for await (const event of await client.responses.create({ model: 'm', input, ...more, stream: true })) {
    told.push(event)
  }
  return told
}

/** What the deltas of one type add up to. */
function joined(events: readonly Told[], type: string): string {
  return events.map((event) => (event.type === `response.${type}.delta` ? event.delta : '')).join('')
}

describe('the official client reads it to its end', () => {
  test('a text', async () => {
    const final = await stream('Why is the sky blue?').finalResponse()
    const events = await eventsOf('Why is the sky blue?')

    expect(final).toMatchObject({ status: 'completed', model: 'simulator', object: 'response', error: null })
    expect(final.output_text).toContain('sky')
    expect(final.output_text).toBe(joined(events, 'output_text'))
    expect(final.usage).toMatchObject({ input_tokens: 13, total_tokens: 13 + final.usage!.output_tokens })
  })

  test('thinking, told as a summary where one is asked for', async () => {
    const final = await stream('Why?', { reasoning: thinking }).finalResponse()
    const silent = await stream('Why?', { reasoning: { effort: 'low' } }).finalResponse()
    const events = await eventsOf('Why?', { reasoning: thinking })
    const untold = await eventsOf('Why?', { reasoning: { effort: 'low' } })

    expect(joined(untold, 'reasoning_summary_text')).toBe('')
    const said = joined(events, 'reasoning_summary_text')
    expect(final.output[0]).toMatchObject({ type: 'reasoning', summary: [{ text: said }] })
    expect(silent.output[0]).toMatchObject({ type: 'reasoning', summary: [] })
    expect(said).toContain('The user wrote “Why?”.')
    expect(final.usage?.output_tokens_details.reasoning_tokens).toBeGreaterThan(10)
  })

  test('a refusal', async () => {
    const final = await stream('fault:refusal').finalResponse()

    const refusal = "I'm sorry, I can't help with that."
    expect(final.output).toMatchObject([{ type: 'message', content: [{ type: 'refusal', refusal }] }])
    expect(final.output_text).toBe('')
  })

  test('calls of tools, and the answer to their results', async () => {
    const input = 'What is the weather in Oslo?'
    const final = await stream(input, { tools: [weather] }).finalResponse()
    const [call] = final.output
    if (call?.type !== 'function_call') return expect.fail('there is no call')

    const answer = await client.responses
      .stream({
        model: 'm',
        tools: [weather],
        input: [
          { role: 'user', content: input },
          { type: 'function_call', call_id: call.call_id, name: call.name, arguments: call.arguments },
          { type: 'function_call_output', call_id: call.call_id, output: '{"temperature":3}' },
        ],
      })
      .finalResponse()

    expect(call).toMatchObject({ name: 'get_weather', arguments: '{"city":"Oslo"}', status: 'completed' })
    expect(answer.output_text).toContain('**get_weather** says: temperature is 3')
  })

  test.each([
    ['a limit', 'Hello', { max_output_tokens: 5 }, 'max_output_tokens'],
    ['a filter', 'fault:content-filter', {}, 'content_filter'],
    ['something else', 'fault:finish-other;finish=tired', {}, 'tired'],
  ])('what %s stops is not complete', async (_, input, more, reason) => {
    const final = await stream(input, more).finalResponse()

    expect(final).toMatchObject({ status: 'incomplete', incomplete_details: { reason } })
    expect(final.output.at(-1)).toMatchObject({ status: 'incomplete' })
  })

  test('the same question has the same answer in both APIs', async () => {
    const messages = [{ role: 'user', content: 'List three ideas' } as const]
    const chat = await client.chat.completions.create({ model: 'm', messages })

    const { output_text } = await stream('List three ideas').finalResponse()

    expect(output_text).toBe(chat.choices[0]?.message.content)
  })

  test('what its tokens weigh, where that is asked for', async () => {
    const events = await eventsOf('Hi', { include: ['message.output_text.logprobs'] })

    const [first] = events.filter(({ type }) => type === 'response.output_text.delta')
    expect(first).toMatchObject({ logprobs: [{ token: first?.delta, top_logprobs: [] }] })
  })
})

test('events are numbered, named, and in the order of the API', async () => {
  const answer = await ask(
    simulator,
    { model: 'm', stream: true, input: 'Hello', reasoning: thinking },
    { path: '/responses' },
  )

  const blocks = answer.text.trim().split('\n\n')
  const events = blocks.map((block) => JSON.parse(block.replace(/^event: .*\ndata: /, '')) as Told)
  expect(events.map(({ sequence_number }) => sequence_number)).toEqual([...events.keys()])
  expect(blocks.map((block) => block.split('\n')[0])).toEqual(events.map(({ type }) => `event: ${type}`))
  const order = events.map(({ type }) => type.replace('response.', ''))
  expect(order.filter((type, at) => type !== order[at - 1])).toEqual([
    'created',
    'in_progress',
    'output_item.added',
    'reasoning_summary_part.added',
    'reasoning_summary_text.delta',
    'reasoning_summary_text.done',
    'reasoning_summary_part.done',
    'output_item.done',
    'output_item.added',
    'content_part.added',
    'output_text.delta',
    'output_text.done',
    'content_part.done',
    'output_item.done',
    'completed',
  ])
})

describe('what it does not do is refused', () => {
  test.each<[string, object, string]>([
    ['an answer in one piece', { input: 'Hi' }, 'stream'],
    ['a request without input', { stream: true }, 'input'],
    [
      'a conversation it should remember',
      { stream: true, input: 'Hi', previous_response_id: 'r' },
      'previous_response_id',
    ],
    ['a field of the other API', { stream: true, input: 'Hi', seed: 1 }, 'seed'],
    [
      'a part of the other API',
      { stream: true, input: [{ role: 'user', content: [{ type: 'text' }] }] },
      'input[0].content[0].type',
    ],
    ['an item nobody knows', { stream: true, input: [{ type: 'thought' }] }, 'input[0].type'],
    ['a fault of the other API', { stream: true, input: 'fault:no-delta' }, 'simulator.fault'],
  ])('%s', async (_, body, param) => {
    const answer = await ask(simulator, { model: 'm', ...body }, { path: '/responses' })

    expect(answer.status).toBe(400)
    expect(JSON.parse(answer.text)).toMatchObject({ error: { param } })
  })

  test('a fault of this API, in the other one', async () => {
    const messages = [{ role: 'user', content: 'fault:response-failed' }]

    const answer = await ask(simulator, { model: 'm', stream: true, messages })

    expect([answer.status, answer.text]).toEqual([400, expect.stringContaining('the other API')])
  })
})

const faults: Record<string, { has: RegExp; lacks?: RegExp; ended?: string }> = {
  'response-failed;code=rate_limit_exceeded': {
    has: /"status":"failed","error":\{"code":"rate_limit_exceeded"[^]*\}\n\n$/,
    lacks: /response\.completed/,
  },
  'response-error': {
    has: /event: error\ndata: \{"type":"error","code":"server_error"/,
    lacks: /completed"/,
  },
  'keepalive-events': { has: /event: keepalive\n[^]*response\.completed/ },
  'unnamed-events': { has: /^data: [^]*"response\.completed"/, lacks: /^event:/m },
  'truncated;after=2': { has: /(?:response\.output_text\.delta[^]*){2}/, lacks: /completed"/ },
  'cut;after=0': { has: /content_part\.added/, lacks: /output_text\.delta/, ended: 'cut' },
  'malformed-json': { has: /event: response\.output_text\.delta\ndata: \{"type"[^\n]*[^}]\n\n$/ },
  'done-without-finish': { has: /output_item\.done/, lacks: /event: response\.completed/ },
  'multi-line-data': { has: /^event: response\.created\ndata: \{\ndata: {2}"type"/ },
  'burst;count=20': { has: /"delta":"19 "[^]*response\.completed/ },
  'rate-limit': { has: /"code":"rate_limit_exceeded"/ },
}

test.each(Object.entries(faults))(
  'fault:%s',
  async (spec, { has, lacks = /^never$/, ended = 'complete' }) => {
    const body = { model: 'm', stream: true, input: `Hello fault:${spec}` }

    const answer = await ask(simulator, body, { path: '/responses' })

    expect(answer.text).toMatch(has)
    expect(answer.text).not.toMatch(lacks)
    expect(answer.ended).toBe(ended)
  },
)

test('every fault of this API has a test', () => {
  const tested = Object.keys(faults).map((spec) => spec.split(';')[0])

  expect(tested).toEqual(expect.arrayContaining(responseFaults.map(({ name }) => name)))
})
