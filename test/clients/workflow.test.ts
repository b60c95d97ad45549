import * as ai from 'ai'
import type { UIMessageChunk } from 'ai'
import express from 'express'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import { host, relay } from '../adapters/host.ts'
import { startCuttingProxy } from '../hosts/proxy.ts'
import { all, hel, lo, script, type Script, type Step, soon, stop, until } from '../src/kit.ts'
import { type Chat, createChat, wordsIn } from './ai-sdks.ts'
import { loadTransport, type Transport } from './workflow-transport.ts'

const WorkflowChatTransport = await loadTransport()

describe.skipIf(!WorkflowChatTransport)('WorkflowChatTransport', () => {
  const closers: (() => Promise<unknown>)[] = []
  // The transport reports every broken connection.
  beforeEach(() => void vi.spyOn(console, 'error').mockImplementation(() => {}))
  afterEach(async () => {
    vi.restoreAllMocks()
    for (const close of closers.splice(0).reverse()) await close()
  })

  interface Served {
    readonly url: string
    readonly model: Script
    readonly chat: Chat
    readonly transport: Transport
    /** The id that the service gave the last answer. */
    readonly runId: () => string
    /** What the transport asked for. */
    readonly requests: readonly (readonly [path: string, ...rest: unknown[]])[]
    /** How many chunks there were, each time an answer was whole. */
    readonly ends: readonly number[]
    /** What the head of each answer said: the index of the last chunk there was. */
    readonly tails: readonly (string | null)[]
    /** The content types of its requests. */
    readonly sentTypes: readonly (string | null)[]
  }

  /** A connection breaks when this has passed, and the page has seen it. */
  type Cut = readonly [passed: RegExp, seen: (served: Served) => boolean]

  function serve(steps: readonly Step[], ...cuts: readonly Cut[]): Promise<Served> {
    return serveWith({}, steps, ...cuts)
  }

  /** With `lingerMs: 0` an answer ends with its connection, and the page comes back only after that. */
  async function serveWith(
    { lingerMs }: { readonly lingerMs?: number },
    steps: readonly Step[],
    ...cuts: readonly Cut[]
  ): Promise<Served> {
    const model = script(steps)
    const server = await host(express().use(relay({ upstream: model.upstream, retries: 0, lingerMs })))
    closers.push(server.close)
    let cut = 0
    const proxy = await startCuttingProxy({
      target: server.url,
      cutAt: cuts.map(([passed]) => passed),
      beforeCut: async () => {
        const seen = cuts[cut++]?.[1]
        await until(() => runId !== '' && seen?.(served) === true)
      },
    })
    closers.push(proxy.close)
    let runId = ''
    const ends: number[] = []
    const tails: (string | null)[] = []
    const sentTypes: (string | null)[] = []
    const transport = new WorkflowChatTransport!({
      api: `${proxy.url}/api/chat`,
      fetch: async (input, init) => {
        sentTypes.push(new Request(input, init).headers.get('content-type'))
        if (lingerMs === 0) await until(() => model.open() === 0)
        const response = await fetch(input, init)
        tails.push(response.headers.get('x-workflow-stream-tail-index'))
        return response
      },
      onChatSendMessage: ({ headers }) => void (runId = headers.get('x-workflow-run-id') ?? ''),
      onChatEnd: ({ chunkIndex }) => void ends.push(chunkIndex),
    })
    const chat = createChat(ai, { id: 'chat-1', transport })
    const served: Served = {
      url: proxy.url,
      model,
      chat,
      transport,
      runId: () => runId,
      requests: proxy.requests,
      ends,
      tails,
      sentTypes,
    }
    return served
  }

  function answerText({ messages }: Chat): string {
    const message = messages.findLast(({ role }) => role === 'assistant')
    return message ? wordsIn(message) : ''
  }

  const shows =
    (text: string) =>
    ({ chat }: Served) =>
      answerText(chat) === text

  function typesOf(chunks: readonly UIMessageChunk[]): readonly string[] {
    return chunks.map(({ type }) => type)
  }

  async function chunksFrom({ transport }: Served, chatId: string, startIndex: number) {
    const stream = await transport.reconnectToStream({ chatId, startIndex })
    return all(stream as unknown as AsyncIterable<UIMessageChunk>) // Node's streams are
  }

  test('sends JSON as plain text, shows the answer to its end, and asks once', async () => {
    const { chat, requests, ends, sentTypes } = await serve([hel, lo, stop])

    await chat.sendMessage({ text: 'Hi?' })

    expect(chat.status).toBe('ready')
    expect(answerText(chat)).toBe('Hello')
    expect(requests).toEqual([['/api/chat']])
    expect(ends).toEqual([8])
    expect(sentTypes).toEqual(['text/plain;charset=UTF-8'])
  })

  test('goes on where its connection broke, as often as it breaks', async () => {
    const steps = [hel, 'wait', lo, 'wait', { type: 'text', text: '!' }, stop] as const
    const { chat, model, requests, runId, ends } = await serve(
      steps,
      [/Hel/, shows('Hel')],
      [/lo/, shows('Hello')],
    )

    const sent = chat.sendMessage({ text: 'Hi?' })
    await until(() => requests.length === 2)
    model.release()
    await until(() => requests.length === 3)
    model.release()
    await sent

    expect(chat.status).toBe('ready')
    expect(chat.messages).toHaveLength(2)
    expect(answerText(chat)).toBe('Hello!')
    expect(requests).toEqual([
      ['/api/chat'],
      [`/api/chat/${runId()}/stream?startIndex=4`],
      [`/api/chat/${runId()}/stream?startIndex=5`],
    ])
    expect(ends).toEqual([9])
    expect(model.asked).toHaveLength(1)
  })

  test('reads an answer that is over, from anywhere', async () => {
    const served = await serve([hel, lo, stop])
    await served.chat.sendMessage({ text: 'Hi?' })

    const whole = await chunksFrom(served, served.runId(), 0)
    const rest = await chunksFrom(served, served.runId(), 5)

    const words = ['text-start', 'text-delta', 'text-delta', 'text-end']
    expect(typesOf(whole)).toEqual(['start', 'start-step', ...words, 'finish-step', 'finish'])
    // The transport mends what it was not asked for: a text needs its start.
    expect(typesOf(rest)).toEqual(['text-start', 'text-end', 'finish-step', 'finish'])
  })

  test('goes on from an index that it counted from the end', async () => {
    const read: UIMessageChunk[] = []
    const steps = [{ type: 'reasoning', text: 'Hm.' }, hel, 'wait', lo, 'wait', stop] as const
    const { chat, model, transport, runId, requests, tails } = await serve(
      steps,
      [/never/, () => true],
      [/lo/, () => read.length === 3],
    )
    void chat.sendMessage({ text: 'Hi?' })
    await until(() => answerText(chat) === 'Hel')

    const stream = await transport.reconnectToStream({ chatId: runId(), startIndex: -2 })
    const reading = stream?.pipeTo(new WritableStream({ write: (chunk) => void read.push(chunk) }))
    await until(() => tails.length === 2)
    model.release()
    await until(() => requests.length === 3)
    model.release()
    await soon(reading!)

    // There were seven chunks; the last two of them and one more had come when the connection broke.
    expect(tails.slice(0, 2)).toEqual([null, '6'])
    expect(requests.slice(1)).toEqual([
      [`/api/chat/${runId()}/stream?startIndex=-2`],
      [`/api/chat/${runId()}/stream?startIndex=8`],
    ])
    const words = ['text-start', 'text-delta', 'text-delta', 'text-end']
    expect(typesOf(read)).toEqual([...words, 'finish-step', 'finish'])
  })

  test.each([8, 9, 1000])('asks once for what is beyond the end: index %i', async (index) => {
    const served = await serve([hel, lo, stop])
    await served.chat.sendMessage({ text: 'Hi?' })

    await expect(soon(chunksFrom(served, served.runId(), index))).rejects.toThrow('Failed to fetch chat: 204')

    expect(served.requests).toHaveLength(2)
  })

  test('asks once for an answer that nobody knows', async () => {
    const served = await serve([hel, stop])

    await expect(soon(chunksFrom(served, 'unknown', 0))).rejects.toThrow(/404 Nothing is being answered/)

    expect(served.requests).toHaveLength(1)
  })

  test('shows an error in the middle of an answer, and stops there', async () => {
    const { chat, model, requests } = await serve([hel, 'wait', new ChatError('upstream-error', 'It broke.')])

    const sent = chat.sendMessage({ text: 'Hi?' })
    await until(() => answerText(chat) === 'Hel')
    model.release()
    await sent

    expect(chat.status).toBe('error')
    expect(chat.error?.message).toBe('It broke.')
    expect(answerText(chat)).toBe('Hel')
    // It may look once whether there is more; there is not.
    expect(requests.length).toBeLessThanOrEqual(2)
  })

  test('shows by an error that an answer was ended while nobody read it', async () => {
    const { chat, requests } = await serveWith(
      { lingerMs: 0 },
      [hel, 'wait', lo, stop],
      [/Hel/, shows('Hel')],
    )

    await soon(chat.sendMessage({ text: 'Hi?' }))

    expect(chat.status).toBe('error')
    expect(chat.error?.message).toBe('The answer was ended because nobody was reading it.')
    expect(answerText(chat)).toBe('Hel')
    expect(requests.length).toBeLessThanOrEqual(3)
  })

  test('shows why there is no answer', async () => {
    const { chat, requests } = await serve([new ChatError('rate-limited', 'The model is busy.')])

    await chat.sendMessage({ text: 'Hi?' })

    expect(chat.status).toBe('error')
    expect(chat.error?.message).toBe('Failed to fetch chat: 429 The model is busy.')
    expect(requests).toHaveLength(1)
  })

  test('takes a stop for the end', async () => {
    const { url, chat, requests, runId } = await serve([hel, 'wait', lo, stop])
    const sent = chat.sendMessage({ text: 'Hi?' })
    await until(() => answerText(chat) === 'Hel')

    await fetch(`${url}/api/chat/${runId()}/stop`, { method: 'POST' })
    await sent

    expect(chat.status).toBe('ready')
    expect(answerText(chat)).toBe('Hel')
    expect(requests).toEqual([['/api/chat'], [`/api/chat/${runId()}/stop`]])
  })
})
