import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import type { RunnableToolFunctionWithParse } from 'openai/lib/RunnableFunction'
import { beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { all } from '../src/kit.ts'
import { createRelay, pixel, weather } from './relay.ts'

const relay = createRelay({
  model: 'model-a',
  models: ['model-b', 'meta-llama/Llama-3.1-8B'],
  systemPrompt: 'Be kind.',
  maxOutputTokens: 4000,
})
const user = (content: string) => ({ role: 'user' as const, content })
const tools = [{ type: 'function' as const, function: weather }]
let client: OpenAI

beforeAll(() => {
  client = new OpenAI({ baseURL: relay.url, apiKey: 'any', maxRetries: 0 })
})

describe('answers', () => {
  test('a whole answer', async () => {
    const completion = await client.chat.completions.create({ model: 'model-a', messages: [user('hi')] })

    expect(completion).toMatchObject({
      id: expect.stringMatching(/^chatcmpl-[\w-]{22}$/) as string,
      object: 'chat.completion',
      model: 'model-a',
      choices: [
        { index: 0, message: { role: 'assistant', refusal: null }, logprobs: null, finish_reason: 'stop' },
      ],
    })
    expect(Math.abs(completion.created - Date.now() / 1000)).toBeLessThan(60)
    expect(completion.choices[0]?.message.content).toMatch(/\w/)
    const { prompt_tokens: input, completion_tokens: output, total_tokens: total } = completion.usage!
    expect(input).toBeGreaterThan(0)
    expect(total).toBe(input + output)
  })

  test('a stream says the same, and its chunks share one id, model and time', async () => {
    const asked = { model: 'model-b', messages: [user('Tell me about rivers')] }
    const whole = await client.chat.completions.create(asked)

    const chunks = await all(await client.chat.completions.create({ ...asked, stream: true }))

    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(
      whole.choices[0]?.message.content,
    )
    expect(new Set(chunks.map(({ id, created, model }) => `${id} ${created} ${model}`)).size).toBe(1)
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: 'assistant', content: '' })
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe('stop')
    expect(chunks.some((chunk) => 'usage' in chunk)).toBe(false)
  })

  test('usage comes where it was asked for', async () => {
    const chunks = await all(
      await client.chat.completions.create({
        model: 'model-a',
        messages: [user('hi')],
        stream: true,
        stream_options: { include_usage: true },
      }),
    )

    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true)
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { total_tokens: expect.any(Number) as number },
    })
  })

  test('the helper puts a stream together', async () => {
    const deltas: string[] = []
    const stream = client.chat.completions
      .stream({ model: 'model-a', messages: [user('hi')], stream_options: { include_usage: true } })
      .on('content', (delta) => deltas.push(delta))

    const completion = await stream.finalChatCompletion()

    expect(await stream.finalContent()).toBe(deltas.join(''))
    expect(completion.choices[0]?.finish_reason).toBe('stop')
    expect((await stream.totalUsage()).total_tokens).toBeGreaterThan(0)
    expect((await stream.finalMessage()).role).toBe('assistant')
  })

  test('a developer, a name, images and whatever else is new reach the upstream', async () => {
    const body = {
      model: 'model-a',
      messages: [
        { role: 'developer' as const, content: 'Rhyme.' },
        {
          role: 'user' as const,
          name: 'Ann',
          content: [
            { type: 'text' as const, text: 'What is this?' },
            { type: 'image_url' as const, image_url: { url: pixel, detail: 'low' as const } },
            { type: 'image_url' as const, image_url: { url: 'https://images.example/cat.png' } },
          ],
        },
      ],
      top_k: 40,
      logit_bias: { '50256': -100 },
      metadata: { trace: 'x' },
      reasoning: { effort: 'low' },
    }

    await client.chat.completions.create(body)

    const { messages, ...asked } = relay.asked
    const [, system, developer, question] = [undefined, ...(messages as { role: string; content: unknown }[])]
    expect(system).toEqual({ role: 'system', content: 'Be kind.' })
    expect(developer).toMatchObject({
      role: expect.stringMatching(/^(?:developer|system)$/) as string,
      content: 'Rhyme.',
    })
    expect(question).toEqual(body.messages[1])
    expect(asked).toMatchObject({
      top_k: 40,
      logit_bias: { '50256': -100 },
      metadata: { trace: 'x' },
      reasoning: { effort: 'low' },
    })
  })

  test('a reasoning answer has its thoughts apart', async () => {
    const asked = {
      model: 'model-a',
      messages: [user('Think about rivers')],
      reasoning_effort: 'high' as const,
    }
    const whole = await client.chat.completions.create(asked)
    const chunks = await all(await client.chat.completions.create({ ...asked, stream: true }))

    const thoughts = chunks.map(
      ({ choices }) => (choices[0]?.delta as { reasoning_content?: string } | undefined)?.reasoning_content,
    )
    expect(thoughts.join('')).not.toBe('')
    expect(whole.choices[0]?.message).toMatchObject({ reasoning_content: thoughts.join('') })
  })

  test('a refusal is a refusal', async () => {
    const asked = { model: 'model-a', messages: [user('fault:refusal')] }
    const whole = await client.chat.completions.create(asked)
    const streamed = await client.chat.completions.stream(asked).finalMessage()

    for (const message of [whole.choices[0]?.message, streamed]) {
      expect(message?.refusal).toMatch(/sorry/)
      expect(message?.content || null).toBeNull()
    }
  })
})

describe('sources', () => {
  const cited = ['https://a.example/', 'https://b.example/', 'https://c.example/']
  const relayed = createRelay({
    model: 'model-a',
    async *upstream() {
      for (const url of cited) {
        yield { type: 'source', url }
        yield { type: 'text', text: '[]' }
      }
      yield { type: 'finish', reason: 'stop' }
    },
  })

  test('are all there when the helper has put a stream together', async () => {
    const other = client.withOptions({ baseURL: relayed.url })

    const { content, ...message } = await other.chat.completions
      .stream({ model: 'model-a', messages: [user('hi')] })
      .finalMessage()

    expect(content).toBe('[][][]')
    expect(message).toMatchObject({ annotations: cited.map((url) => ({ url_citation: { url } })) })
  })
})

describe('tools', () => {
  const asked = { model: 'model-a', messages: [user('What is the weather in Rome?')], tools }

  test('a call arrives whole, streamed or not', async () => {
    const whole = await client.chat.completions.create(asked)
    const streamed = await client.chat.completions.stream(asked).finalChatCompletion()

    for (const { choices } of [whole, streamed]) {
      const { message, finish_reason: reason } = choices[0]!
      expect(reason).toBe('tool_calls')
      expect(message.content).toBeNull()
      expect(message.tool_calls).toMatchObject([
        {
          id: expect.stringMatching(/^call_/) as string,
          type: 'function',
          function: { name: 'get_weather', arguments: '{"city":"Rome"}' },
        },
      ])
    }
  })

  test.each([false, true])('runTools goes on until there is an answer (stream: %j)', async (stream) => {
    const run = ({ city }: { city: string }): string => `21 degrees in ${city}`
    const parse = (text: string): { city: string } => JSON.parse(text) as { city: string }
    const fn = { ...weather, function: run, parse }
    const runnable: RunnableToolFunctionWithParse<{ city: string }>[] = [{ type: 'function', function: fn }]
    const before = relay.simulator.requests.length
    const body = { ...asked, tools: runnable }
    const runner = stream
      ? client.chat.completions.runTools({ ...body, stream: true })
      : client.chat.completions.runTools(body)

    const content = await runner.finalContent()

    expect(content).toMatch(/21 degrees in Rome/)
    expect(relay.simulator.requests.length - before).toBe(2)
    expect((relay.asked['messages'] as { role: string }[]).map(({ role }) => role)).toEqual([
      'system',
      'user',
      'assistant',
      'tool',
    ])
  })

  test('what the client says of its tools reaches the upstream as it was', async () => {
    const strict = [{ type: 'function' as const, function: { ...weather, strict: true } }]

    await client.chat.completions.create({
      ...asked,
      tools: strict,
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      parallel_tool_calls: false,
    })

    expect(relay.asked).toMatchObject({
      tools: strict,
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      parallel_tool_calls: false,
    })
  })
})

test('an answer in a schema is parsed', async () => {
  const format = zodResponseFormat(z.object({ city: z.string(), days: z.number() }), 'trip')
  const asked = { model: 'model-a', messages: [user('Plan a trip to Rome')], response_format: format }

  const parsed = await client.chat.completions.parse(asked)
  const streamed = await client.chat.completions.stream(asked).finalMessage()

  for (const message of [parsed.choices[0]?.message, streamed]) {
    expect(message && 'parsed' in message && message.parsed).toEqual({
      city: expect.any(String) as string,
      days: expect.any(Number) as number,
    })
  }
  expect(relay.asked['response_format']).toMatchObject({
    type: 'json_schema',
    json_schema: { name: 'trip', strict: true },
  })
})

describe('models', () => {
  test('are listed', async () => {
    const page = await client.models.list()

    expect(page.object).toBe('list')
    expect(page.data.map(({ id }) => id)).toEqual(['model-a', 'model-b', 'meta-llama/Llama-3.1-8B'])
    expect(page.data[0]).toEqual({ id: 'model-a', object: 'model', created: 0, owned_by: 'deltarelay' })
  })

  test('are found by name, one with a slash too', async () => {
    expect((await client.models.retrieve('meta-llama/Llama-3.1-8B')).id).toBe('meta-llama/Llama-3.1-8B')
  })
})
