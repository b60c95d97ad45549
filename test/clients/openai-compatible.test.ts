import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, generateText, isStepCount, Output, streamText, tool } from 'ai'
import { beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { soon } from '../src/kit.ts'
import { createRelay, pixel } from './relay.ts'

const relay = createRelay({ model: 'model-a' })
let provider: ReturnType<typeof createOpenAICompatible>

beforeAll(() => {
  provider = createOpenAICompatible({
    name: 'deltarelay',
    baseURL: relay.url,
    includeUsage: true,
    supportsStructuredOutputs: true,
  })
})

const tools = {
  get_weather: tool({
    description: 'The weather in a city',
    inputSchema: z.object({ city: z.enum(['Paris', 'Rome']) }),
    execute: ({ city }) => `21 degrees in ${city}`,
  }),
}

const ask = (prompt: string) => ({ model: provider('model-a'), prompt, maxRetries: 0 })

test('generateText gives the answer and its usage', async () => {
  const { text, finishReason, usage, response } = await generateText(ask('hi'))

  expect(text).toMatch(/\w/)
  expect(finishReason).toBe('stop')
  expect(usage.totalTokens).toBe(usage.inputTokens! + usage.outputTokens!)
  expect(response.modelId).toBe('model-a')
})

test('streamText gives the same in pieces', async () => {
  const whole = await generateText(ask('Tell me about rivers'))

  const { textStream, finishReason, usage } = streamText(ask('Tell me about rivers'))
  const pieces: string[] = []
  for await (const piece of textStream) pieces.push(piece)

  expect(pieces.length).toBeGreaterThan(5)
  expect(pieces.join('')).toBe(whole.text)
  expect(await finishReason).toBe('stop')
  expect((await usage).totalTokens).toBe(whole.usage.totalTokens)
})

test.each(['generateText', 'streamText'])('%s runs tools until there is an answer', async (name) => {
  const asked = { ...ask('What is the weather in Rome?'), tools, stopWhen: isStepCount(3) }
  const result = name === 'generateText' ? await generateText(asked) : streamText(asked)

  const steps = await result.steps

  expect(steps).toHaveLength(2)
  expect(steps[0]?.finishReason).toBe('tool-calls')
  expect(steps[0]?.toolCalls[0]).toMatchObject({ toolName: 'get_weather', input: { city: 'Rome' } })
  expect(await result.text).toMatch(/21 degrees in Rome/)
})

test.each(['generateText', 'streamText'])('%s tells reasoning from the answer', async (name) => {
  const asked = { ...ask('Think about rivers'), providerOptions: { deltarelay: { reasoningEffort: 'high' } } }
  const result = name === 'generateText' ? await generateText(asked) : streamText(asked)

  const thoughts = await result.reasoningText

  expect(thoughts).toMatch(/\w/)
  expect(await result.text).not.toContain(thoughts)
})

test('an object in a schema', async () => {
  const schema = z.object({ city: z.string(), days: z.number() })

  const { output } = await generateText({ ...ask('Plan a trip'), output: Output.object({ schema }) })

  expect(output).toEqual({ city: expect.any(String) as string, days: expect.any(Number) as number })
  expect(relay.asked).toHaveProperty('response_format.type', 'json_schema')
})

test('images and options of the provider reach the upstream', async () => {
  await generateText({
    model: provider('model-a'),
    instructions: 'Be brief.',
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: 'What is this?' },
          { type: 'file', data: pixel, mediaType: 'image/png' },
        ],
      },
    ],
    maxOutputTokens: 50,
    providerOptions: { deltarelay: { top_k: 40 } },
  })

  expect(relay.asked).toMatchObject({
    messages: [
      { role: 'system', content: 'Be brief.' },
      {
        role: 'user',
        content: [
          { type: 'text', text: 'What is this?' },
          { type: 'image_url', image_url: { url: pixel } },
        ],
      },
    ],
    max_tokens: 50,
    top_k: 40,
  })
})

test.each([
  ['context-length', 400, false],
  ['rate-limit', 429, true],
  ['server-error', 502, true],
])('fault:%s is an error with its status', async (fault, statusCode, isRetryable) => {
  const error: unknown = await generateText(ask(`fault:${fault}`)).catch((thrown: unknown) => thrown)

  expect(APICallError.isInstance(error)).toBe(true)
  expect(error).toMatchObject({ statusCode, isRetryable })
  expect((error as Error).message).toMatch(/model's server/)
})

test('an answer that is cut is an error', async () => {
  const errors: unknown[] = []
  const { textStream, finishReason } = streamText({
    ...ask('fault:cut'),
    onError: ({ error }) => void errors.push(error),
  })

  for await (const _ of textStream);

  expect(errors).toHaveLength(1)
  expect(JSON.stringify(errors[0])).toMatch(/upstream-truncated|broke/)
  expect(await finishReason).toBe('error')
})

test('an abort ends the request to the upstream', async () => {
  const before = relay.simulator.requests.length
  const controller = new AbortController()
  const { textStream } = streamText({ ...ask('fault:stall and leave'), abortSignal: controller.signal })

  for await (const piece of textStream) if (piece !== '') controller.abort()

  const request = relay.simulator.requests[before]!
  await soon(request.done)
  expect(request.hungUp).toBe(true)
})
