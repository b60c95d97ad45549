import { describe, expect, test, vi } from 'vitest'
import type { UpstreamDelta } from '../../src/types.ts'
import { hel, lo, stop, until } from '../src/kit.ts'
import { answerText, chatAt as openChat, createService, partsOf } from './ai-sdk-service.ts'
import { type Chat, type createChat, sdks } from './ai-sdks.ts'

const serve = createService()

const called: UpstreamDelta = {
  type: 'tool-call',
  index: 0,
  id: 'call-1',
  name: 'weather',
  arguments: '{"city":"Rome"}',
}
const calls: UpstreamDelta = { type: 'finish', reason: 'tool-calls' }
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }

describe.each(sdks)('tools in a chat of %s: it', (name, sdk) => {
  const chatAt = (url: string, init?: Parameters<typeof createChat>[1]) => openChat([name, sdk], url, init)

  test('runs a tool in the page and goes on in the same message', async () => {
    const { url, model } = await serve(
      [
        [hel, called, calls],
        [lo, stop],
      ],
      {
        tools: [{ name: 'weather', schema }],
      },
    )
    const chat: Chat = chatAt(url, {
      sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall: ({ toolCall: { toolName, toolCallId, input } }) => {
        // Not awaited: it waits for the very message that is being read.
        void chat.addToolOutput({ tool: toolName, toolCallId, output: { asked: input, degrees: 21 } })
      },
    })

    await chat.sendMessage({ text: 'Hi?' })
    await until(() => model.asked.length === 2 && chat.status === 'ready')

    expect(model.asked[1]?.messages).toEqual([
      { role: 'user', content: 'Hi?' },
      {
        role: 'assistant',
        content: 'Hel',
        toolCalls: [{ id: 'call-1', name: 'weather', arguments: '{"city":"Rome"}' }],
      },
      { role: 'tool', toolCallId: 'call-1', content: '{"asked":{"city":"Rome"},"degrees":21}' },
    ])
    expect(chat.messages).toHaveLength(2)
    expect(partsOf(chat)).toMatchObject([
      { type: 'step-start' },
      { type: 'text', text: 'Hel' },
      { type: 'tool-weather', state: 'output-available', input: { city: 'Rome' } },
      { type: 'step-start' },
      { type: 'text', text: 'lo' },
    ])
  })

  test('tells two calls apart that the model gave the same id in two answers', async () => {
    const { url, model } = await serve(
      [
        [called, calls],
        [lo, stop],
        [called, calls],
        [lo, stop],
      ],
      {
        tools: [{ name: 'weather', schema }],
      },
    )
    const chat: Chat = chatAt(url, {
      sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall: ({ toolCall: { toolName, toolCallId } }) =>
        void chat.addToolOutput({ tool: toolName, toolCallId, output: model.asked.length }),
    })

    await chat.sendMessage({ text: 'One?' })
    await until(() => model.asked.length === 2 && chat.status === 'ready')
    await chat.sendMessage({ text: 'Two?' })
    await until(() => model.asked.length === 4 && chat.status === 'ready')

    const results = model.asked[3]?.messages.filter(({ role }) => role === 'tool')
    expect(results?.map(({ content }) => content)).toEqual(['1', '3'])
  })

  test('keeps what a tool of the page gave when it comes back to the answer that goes on from it', async () => {
    const { url, model } = await serve(
      [
        [{ type: 'reasoning', text: 'Hm.' }, called, calls],
        [lo, 'wait', stop],
        [hel, stop],
      ],
      { tools: [{ name: 'weather', schema }] },
    )
    const chat = chatAt(url)
    await chat.sendMessage({ text: 'Hi?' })
    await chat.addToolOutput({ tool: 'weather', toolCallId: 'call-1', output: 21 })
    const reloaded = chatAt(url, { messages: structuredClone(chat.messages) })

    const sent = chat.sendMessage()
    await until(() => answerText(chat) === 'lo')
    const resumed = reloaded.resumeStream()
    await until(() => answerText(reloaded) === 'lo')
    model.release()
    await Promise.all([sent, resumed])
    await reloaded.sendMessage({ text: 'And?' })

    const parts = reloaded.messages.flatMap((message) => message.parts)
    expect(parts).toContainEqual(expect.objectContaining({ type: 'tool-weather', output: 21 }))
    expect(model.asked[2]?.messages).toEqual([
      { role: 'user', content: 'Hi?' },
      {
        role: 'assistant',
        content: '',
        reasoning: 'Hm.',
        toolCalls: [{ id: 'call-1', name: 'weather', arguments: '{"city":"Rome"}' }],
      },
      { role: 'tool', toolCallId: 'call-1', content: '21' },
      { role: 'assistant', content: 'lo' },
      { role: 'user', content: 'And?' },
    ])
  })

  test('tells the model that a tool of the page failed', async () => {
    const { url, model } = await serve(
      [
        [called, calls],
        [lo, stop],
      ],
      { tools: [{ name: 'weather', schema }] },
    )
    const chat: Chat = chatAt(url, { sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls })
    await chat.sendMessage({ text: 'Hi?' })

    await chat.addToolOutput({
      state: 'output-error',
      tool: 'weather',
      toolCallId: 'call-1',
      errorText: 'No such city.',
    })
    await until(() => model.asked.length === 2 && chat.status === 'ready')

    expect(model.asked[1]?.messages.at(-1)).toEqual({
      role: 'tool',
      toolCallId: 'call-1',
      content: 'No such city.',
    })
    expect(answerText(chat)).toBe('lo')
  })

  test('sees a tool of the service run, and neither runs nor repeats it', async () => {
    const onToolCall = vi.fn()
    const { url, model } = await serve(
      [
        [hel, called, calls],
        [lo, stop],
      ],
      {
        tools: [{ name: 'weather', schema, execute: () => ({ degrees: 21 }) }],
      },
    )
    const chat = chatAt(url, {
      onToolCall,
      sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls,
    })

    await chat.sendMessage({ text: 'Hi?' })
    await chat.sendMessage({ text: 'And now?' })

    expect(onToolCall).not.toHaveBeenCalled()
    expect(JSON.parse(JSON.stringify(chat.messages[1]?.parts))).toMatchObject([
      { type: 'step-start' },
      { type: 'text', text: 'Hel' },
      {
        type: 'dynamic-tool',
        toolName: 'weather',
        state: 'output-available',
        input: { city: 'Rome' },
        output: { degrees: 21 },
      },
      { type: 'step-start' },
      { type: 'text', text: 'lo' },
    ])
    expect(model.asked).toHaveLength(3)
    expect(model.asked[2]?.messages).toEqual([
      { role: 'user', content: 'Hi?' },
      { role: 'assistant', content: 'Hel\n\nlo' },
      { role: 'user', content: 'And now?' },
    ])
  })

  test('does not ask again by itself when a tool of the service had the last word', async () => {
    const { url, model } = await serve([[called, calls]], {
      tools: [{ name: 'weather', schema, execute: () => 21 }],
      maxSteps: 1,
    })
    const chat = chatAt(url, { sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls })

    await chat.sendMessage({ text: 'Hi?' })

    expect(chat.status).toBe('ready')
    expect(partsOf(chat).at(-1)).toMatchObject({ type: 'dynamic-tool', state: 'output-error' })
    expect(model.asked).toHaveLength(1)
  })

  test.each<[arguments: string, end: UpstreamDelta]>([
    ['{"city":', { type: 'finish', reason: 'length' }],
    ['{"city":', { type: 'finish', reason: 'other', raw: 'unheard-of' }],
    ['{"city":"Ro"}', { type: 'finish', reason: 'other', raw: 'unheard-of' }],
  ])('neither runs %s nor asks again when the answer may have been cut there', async (args, end) => {
    const onToolCall = vi.fn()
    const { url, model } = await serve([[{ ...called, arguments: args }, end]], {
      tools: [{ name: 'weather', schema }],
    })
    const chat = chatAt(url, {
      onToolCall,
      sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls,
    })

    await chat.sendMessage({ text: 'Hi?' })

    expect(chat.status).toBe('ready')
    expect(onToolCall).not.toHaveBeenCalled()
    expect(partsOf(chat).at(-1)).toMatchObject({ type: 'tool-weather', state: 'input-streaming' })
    expect(model.asked).toHaveLength(1)
  })
})

// Version 5 does not keep what a vendor signed of a call with such arguments.
test.each(sdks.slice(1))(
  '%s gives back what a vendor signed of a call whose arguments are no JSON',
  async (name, sdk) => {
    const extra = { extra_content: { google: { thought_signature: 'c2lnbmVk' } } }
    const { url, model } = await serve(
      [
        [{ ...called, arguments: '{"city"', extra }, calls],
        [lo, stop],
      ],
      { tools: [{ name: 'weather', schema }] },
    )
    const chat = openChat([name, sdk], url, {
      sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls,
    })

    await chat.sendMessage({ text: 'Hi?' })
    await until(() => model.asked.length === 2 && chat.status === 'ready')

    expect(model.asked[1]?.messages.slice(1)).toEqual([
      {
        role: 'assistant',
        content: '',
        toolCalls: [{ id: 'call-1', name: 'weather', arguments: '{}', extra }],
      },
      { role: 'tool', toolCallId: 'call-1', content: 'The arguments are not valid JSON.' },
    ])
  },
)
