import type { UIMessage } from 'ai'
import { describe, expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import type { UpstreamDelta } from '../../src/types.ts'
import { hel, lo, type Step, stop, until } from '../src/kit.ts'
import {
  answer,
  answerText,
  chatAt as openChat,
  createService,
  partsOf,
  secretHeaders,
} from './ai-sdk-service.ts'
import { type createChat, sdks } from './ai-sdks.ts'

const serve = createService()

const question: UIMessage = { id: 'u1', role: 'user', parts: [{ type: 'text', text: 'Hi?' }] }
const usage: UpstreamDelta = { type: 'usage', inputTokens: 3, outputTokens: 2 }
const called: UpstreamDelta = {
  type: 'tool-call',
  index: 0,
  id: 'call-1',
  name: 'weather',
  arguments: '{"city":"Rome"}',
}
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] }

describe.each(sdks)('a chat of %s', (name, sdk) => {
  const chatAt = (url: string, init?: Parameters<typeof createChat>[1]) => openChat([name, sdk], url, init)

  test('shows the words as they come, and whose they are', async () => {
    const { url, model } = await serve([[hel, 'wait', lo, usage, stop]])
    const chat = chatAt(url)

    const sent = chat.sendMessage({ text: 'Hi?' })
    await until(() => answerText(chat) === 'Hel')
    expect(chat.status).toBe('streaming')
    model.release()
    await sent

    expect(chat.status).toBe('ready')
    expect(chat.messages).toHaveLength(2)
    expect(answerText(chat)).toBe('Hello')
    expect(answer(chat)?.id).toMatch(/^[\w-]{22}$/)
    expect(answer(chat)?.metadata).toEqual({
      model: 'test-model',
      createdAt: expect.closeTo(Date.now(), -5) as number,
      usage: { inputTokens: 3, outputTokens: 2 },
    })
  })

  test('tells the model the conversation so far', async () => {
    const { url, model } = await serve([[{ type: 'reasoning', text: 'Hm.' }, hel, lo, stop]])
    const chat = chatAt(url)

    await chat.sendMessage({ text: 'One?' })
    await chat.sendMessage({ text: 'Two?' })

    expect(model.asked[1]?.messages).toEqual([
      { role: 'user', content: 'One?' },
      { role: 'assistant', content: 'Hello' },
      { role: 'user', content: 'Two?' },
    ])
    expect(chat.messages).toHaveLength(4)
  })

  test('asks again without the answer that it does not want', async () => {
    const { url, model } = await serve([
      [hel, stop],
      [lo, stop],
    ])
    const chat = chatAt(url)

    await chat.sendMessage({ text: 'One?' })
    await chat.regenerate()

    expect(model.asked[1]?.messages).toEqual([{ role: 'user', content: 'One?' }])
    expect(chat.messages).toHaveLength(2)
    expect(answerText(chat)).toBe('lo')
  })

  test('shows what the model thought, said, refused and read', async () => {
    const { url } = await serve([
      [
        { type: 'reasoning', text: 'Hm.' },
        hel,
        { type: 'source', url: 'https://a.example/', title: 'A' },
        { type: 'refusal', text: 'No.' },
        stop,
      ],
    ])
    const chat = chatAt(url)

    await chat.sendMessage({ text: 'Hi?' })

    expect(partsOf(chat)).toMatchObject([
      { type: 'step-start' },
      { type: 'reasoning', text: 'Hm.', state: 'done' },
      { type: 'text', text: 'Hel', state: 'done' },
      { type: 'source-url', url: 'https://a.example/', title: 'A' },
      { type: 'text', text: 'No.', providerMetadata: { deltarelay: { refusal: true } } },
    ])
  })

  test('sends an image with a question', async () => {
    const { url, model } = await serve([[hel, stop]])
    const image = { type: 'file', mediaType: 'image/png', url: 'data:image/png;base64,iVBORw0KGgo=' } as const

    await chatAt(url).sendMessage({ text: 'What is this?', files: [image] })

    expect(model.asked[0]?.messages).toEqual([
      {
        role: 'user',
        content: [
          { type: 'image', url: image.url },
          { type: 'text', text: 'What is this?' },
        ],
      },
    ])
  })

  test('asks for the model that the page names', async () => {
    const { url, model } = await serve([[hel, stop]], { models: ['large'] })

    await chatAt(url).sendMessage({ text: 'Hi?' }, { body: { model: 'large', theme: 'dark' } })

    expect(model.asked[0]).toMatchObject({ model: 'large' })
  })

  test('that closes its connection leaves the answer to whoever comes back', async () => {
    const { url, model } = await serve([[hel, 'wait', lo, stop]])
    const chat = chatAt(url)
    void chat.sendMessage({ text: 'Hi?' })
    await until(() => answerText(chat) === 'Hel')

    await chat.stop()

    expect(chat.status).toBe('ready')
    const reloaded = chatAt(url, { messages: [question] })
    const resumed = reloaded.resumeStream()
    await until(() => answerText(reloaded) === 'Hel')
    expect(model.open()).toBe(1)
    model.release()
    await resumed
    expect(reloaded.status).toBe('ready')
    expect(answerText(reloaded)).toBe('Hello')
    expect(reloaded.messages).toHaveLength(2)
    expect(answer(reloaded)?.id).toBe(answer(chat)?.id)
  })

  test('that comes back when nothing is being answered has nothing to show', async () => {
    const { url } = await serve([[hel, stop]])
    await chatAt(url).sendMessage({ text: 'Hi?' })
    const reloaded = chatAt(url, { messages: [question] })

    await reloaded.resumeStream()

    expect(reloaded.status).toBe('ready')
    expect(reloaded.messages).toEqual([question])
  })

  test.each([
    ['POST', '/stop'],
    ['DELETE', ''],
  ])('is stopped by %s .../{id}%s: the model too, and every reader sees the end', async (method, path) => {
    const { url, model } = await serve([[hel, 'wait', lo, stop]])
    const [chat, reloaded] = [chatAt(url), chatAt(url, { messages: [question] })]
    const sent = chat.sendMessage({ text: 'Hi?' })
    await until(() => answerText(chat) === 'Hel')
    const resumed = reloaded.resumeStream()
    await until(() => answerText(reloaded) === 'Hel')

    const address = `${url}/api/chat/${encodeURIComponent(chat.id)}${path}`
    const response = await fetch(address, { method, headers: secretHeaders })

    expect(await response.json()).toEqual({ id: answer(chat)?.id, status: 'stopped' })
    await Promise.all([sent, resumed])
    await until(() => model.open() === 0)
    for (const each of [chat, reloaded]) {
      expect(each.status).toBe('ready')
      expect(answerText(each)).toBe('Hel')
    }
  })

  test('sees by its error that the answer it comes back to was ended because nobody read it', async () => {
    const { url, model, cut } = await serve([[hel, 'wait', lo, stop]], { lingerMs: 0 })
    const chat = chatAt(url)
    const sent = chat.sendMessage({ text: 'Hi?' })
    await until(() => answerText(chat) === 'Hel')
    cut()
    await sent
    await until(() => model.open() === 0)
    const transport = new sdk.DefaultChatTransport({
      prepareReconnectToStreamRequest: () => ({ api: `${url}/api/chat/${answer(chat)?.id}/stream` }),
    })
    const reloaded = chatAt(url, { messages: [question], transport })

    await reloaded.resumeStream()

    expect(reloaded.status).toBe('error')
    expect(reloaded.error?.message).toBe('The answer was ended because nobody was reading it.')
    expect(answerText(reloaded)).toBe('Hel')
  })

  test('knows what an answer cost that failed', async () => {
    const { url } = await serve([[hel, usage, new ChatError('upstream-error', 'The model broke.')]])
    const chat = chatAt(url)

    await chat.sendMessage({ text: 'Hi?' })

    expect(chat.error?.message).toBe('The model broke.')
    expect(answer(chat)?.metadata).toMatchObject({ usage: { inputTokens: 3, outputTokens: 2 } })
  })

  test('may ask on after a message that held nothing for the model', async () => {
    const { url, model } = await serve([[hel, stop]])
    const chat = chatAt(url)

    await chat.sendMessage({ parts: [{ type: 'data-mood', data: { happy: true } }] })
    expect(chat.error?.message).toMatch(/^`messages\[0\]\.parts` must hold a text or an image/)
    await chat.sendMessage({ text: 'Hi?' })

    expect(chat.status).toBe('ready')
    expect(model.asked.map(({ messages }) => messages)).toEqual([[{ role: 'user', content: 'Hi?' }]])
  })

  test('shows why there is no answer', async () => {
    const { url } = await serve([[new ChatError('rate-limited', 'The model is busy.')]])
    const chat = chatAt(url)

    await chat.sendMessage({ text: 'Hi?' })

    expect(chat.status).toBe('error')
    expect(chat.error?.message).toBe('The model is busy.')
  })

  test('shows what was wrong with its request', async () => {
    const { url } = await serve([[hel, stop]])
    const chat = chatAt(url)

    await chat.sendMessage({ text: 'Hi?' }, { body: { model: 'gold' } })

    expect(chat.status).toBe('error')
    expect(chat.error?.message).toBe('`model` must be one of "test-model"; got "gold".')
  })

  test.each<[string, Step[], string]>([
    ['fails', [hel, 'wait', new ChatError('upstream-error', 'The model broke.')], 'The model broke.'],
    ['was cut', [hel, 'wait'], 'The model stopped answering before it finished.'],
    ['failed in a call', [hel, called, 'wait'], 'The model stopped answering before it finished.'],
  ])(
    'keeps the words of an answer that %s, and does not take it for whole',
    async (_what, steps, message) => {
      const { url, model } = await serve([steps], { tools: [{ name: 'weather', schema }] })
      const chat = chatAt(url, { sendAutomaticallyWhen: sdk.lastAssistantMessageIsCompleteWithToolCalls })

      const sent = chat.sendMessage({ text: 'Hi?' })
      await until(() => answerText(chat) === 'Hel')
      model.release()
      await sent

      expect(chat.status).toBe('error')
      expect(chat.error?.message).toBe(message)
      expect(answerText(chat)).toBe('Hel')
      expect(model.asked).toHaveLength(1)
    },
  )

  test('does not take a broken connection for the end, and gets the rest when it comes back', async () => {
    const { url, model, cut } = await serve([[hel, 'wait', lo, stop]])
    const chat = chatAt(url)
    const sent = chat.sendMessage({ text: 'Hi?' })
    await until(() => answerText(chat) === 'Hel')

    cut()
    await sent

    expect(chat.status).toBe('error')
    const reloaded = chatAt(url, { messages: [question] })
    const resumed = reloaded.resumeStream()
    await until(() => answerText(reloaded) === 'Hel')
    model.release()
    await resumed
    expect(answerText(reloaded)).toBe('Hello')
  })
})
