import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import type { ChatMessage, UpstreamDelta } from '../../src/types.ts'
import { createSigner } from '../../src/signing.ts'
import { createChunkReader } from '../../src/upstreams/chunk.ts'
import { toCompletionParams } from '../../src/upstreams/completion-params.ts'
import { mannersAt } from '../../src/upstreams/manners.ts'
import { lo, stop, until } from '../src/kit.ts'
import { chatAt, createService } from './ai-sdk-service.ts'
import { type Chat, sdks } from './ai-sdks.ts'

// Gemini signs what it thought before a call, and refuses the next request when the call comes back without it.
const extra = { extra_content: { google: { thought_signature: 'c2lnbmVk' } } }
const said = {
  index: 0,
  id: 'call-1',
  type: 'function',
  function: { name: 'weather', arguments: '{"city":"Rome"}' },
  ...extra,
}
const calls: UpstreamDelta = { type: 'finish', reason: 'tool-calls' }
const schema = { type: 'object', properties: { city: { type: 'string' } } }
const serve = createService()

function heard(): readonly UpstreamDelta[] {
  const out: UpstreamDelta[] = []
  createChunkReader().read({ choices: [{ index: 0, delta: { tool_calls: [said] } }] }, out)
  return out
}

function expectSentBack(messages: readonly ChatMessage[] = []): void {
  const { messages: turns } = toCompletionParams({ model: 'm', messages }, mannersAt('http://a.test'))
  const { index: _, ...call } = said
  expect((turns as { tool_calls?: unknown }[]).flatMap((turn) => turn.tool_calls ?? [])).toEqual([call])
}

describe('what a vendor signed goes back to it with the call', () => {
  test('when a tool of this service answers', async () => {
    const { url, model } = await serve(
      [
        [...heard(), calls],
        [lo, stop],
      ],
      {
        tools: [{ name: 'weather', schema, execute: () => 21 }],
      },
    )

    await (await fetch(`${url}/stream?prompt=hi`)).text()

    expectSentBack(model.asked[1]?.messages)
  })

  test.each([true, false])("when a program answers, with openai's client (stream: %s)", async (streamed) => {
    const { url, model } = await serve([[...heard(), calls], [stop]])
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none' })
    const asked = { model: 'test-model', messages: [{ role: 'user' as const, content: 'Hi' }] }

    const { message } = (
      streamed
        ? await client.chat.completions.stream(asked).finalChatCompletion()
        : await client.chat.completions.create({ ...asked, stream: false })
    ).choices[0]!
    const result = { role: 'tool' as const, tool_call_id: 'call-1', content: '21' }
    await client.chat.completions.create({ ...asked, messages: [...asked.messages, message, result] })

    expectSentBack(model.asked[1]?.messages)
  })

  test.each(sdks)('when a page answers, with %s', async (name, sdk) => {
    const { url, model } = await serve([[...heard(), calls], [stop]], {
      tools: [{ name: 'weather', schema }],
    })
    const chat: Chat = chatAt([name, sdk], url, {
      sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall: ({ toolCall: { toolName, toolCallId } }) => {
        void chat.addToolOutput({ tool: toolName, toolCallId, output: 21 })
      },
    })

    await chat.sendMessage({ text: 'Hi?' })
    await until(() => model.asked.length === 2 && chat.status === 'ready')

    expectSentBack(model.asked[1]?.messages)
  })
})

test('a page can say nothing else in its place', async () => {
  const signingSecret = 'sixteen characters'
  const { url, model } = await serve([[stop]], { tools: [{ name: 'weather', schema }], signingSecret })
  const call = { id: 'c', name: 'weather', arguments: '{}' }
  const signature = await createSigner(signingSecret).sign(call, '')
  const part = {
    type: 'tool-weather',
    toolCallId: 'c',
    state: 'output-available',
    input: {},
    output: 1,
    callProviderMetadata: { deltarelay: { signature, function: { name: 'other' }, extra_content: 'text' } },
  }
  const messages = [{ id: 'a', role: 'assistant', parts: [part] }]

  await fetch(`${url}/api/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ id: 'c', messages }),
  })

  const turn = model.asked[0]?.messages[0]
  expect(turn).toMatchObject({ role: 'assistant' })
  expect(turn).toHaveProperty('toolCalls', [{ id: 'c', name: 'weather', arguments: '{}' }])
})
