import { once } from 'node:events'
import express from 'express'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { type Chat, chat } from '../../client/index.ts'
import { createOpenAI } from '../../src/index.ts'
import { type Host, host, relay } from '../adapters/host.ts'
import { openStream, role, say, send, startUpstream, type Upstream } from '../hosts/upstream.ts'
import { type FlakyProxy, startFlakyProxy } from './flaky.ts'
import { eager, read } from './place.ts'
import { storyOf, tell } from './story.ts'

let upstream: Upstream
let server: Host

beforeAll(async () => {
  upstream = await startUpstream()
  const model = createOpenAI({ baseURL: upstream.url, apiKey: 'sk-0123456789' })
  server = await host(express().use('/ai', relay({ upstream: model, retries: 0 })))
})
afterAll(async () => {
  await server.close()
  await upstream.close()
})

async function through(lifeMs: number): Promise<FlakyProxy & { readonly chat: string }> {
  const proxy = await startFlakyProxy({ target: server.url, lifeMs })
  onTestFinished(proxy.close)
  return Object.assign(proxy, { chat: `${proxy.url}/ai/chat` })
}

async function textOf(reply: Chat): Promise<string> {
  const { got, thrown } = await read(reply)
  expect(thrown).toBeUndefined()
  expect(got.at(-1)).toEqual({ type: 'finish', reason: 'stop' })
  return got.map((delta) => (delta.type === 'text' ? delta.text : '')).join('')
}

test.each([
  ['without a wait', eager, 40],
  ['with its own patience', chat, 150],
])('the service answers exactly through a proxy that cuts again and again, %s', async (_, client, lifeMs) => {
  const words = storyOf(150)
  upstream.script = tell(words, 10)
  const before = upstream.asked.length
  const proxy = await through(lifeMs)

  const text = await textOf(client({ url: proxy.chat, prompt: 'hi' }))

  expect(text).toBe(words.join(''))
  expect(upstream.asked.length - before).toBe(1)
  expect(proxy.cuts).toBeGreaterThan(4)
  expect(proxy.requests.filter((request) => request.startsWith('POST'))).toEqual(['POST /ai/chat'])
})

test('many readers of one reply, each with cuts of its own, agree', async () => {
  const words = storyOf(100)
  upstream.script = tell(words, 10)
  const proxy = await through(70)
  let begun: (id: string) => void = () => {}
  const named = new Promise<string>((resolve) => (begun = resolve))

  const asking = textOf(eager({ url: proxy.chat, prompt: 'hi', onId: begun }))
  const id = await named
  const others = Array.from({ length: 10 }, () => textOf(eager.resume(id, { url: proxy.chat })))

  expect(new Set([await asking, ...(await Promise.all(others))])).toEqual(new Set([words.join('')]))
})

test('a stop by another reader ends the loop, and closes the connection of the upstream', async () => {
  let hungUp: Promise<unknown> | undefined
  upstream.script = async (response) => {
    openStream(response)
    for (const piece of [role, say('Once')]) await send(response, piece)
    hungUp = once(response, 'close')
  }
  const proxy = await through(60_000)
  const reply = chat({ url: proxy.chat, prompt: 'hi' })
  const reading = read(reply)
  await expect.poll(() => reply.cursor).toBe(2)

  const outcome = await chat.resume(reply.id!, { url: proxy.chat }).stop()
  const again = await chat.resume(reply.id!, { url: proxy.chat }).stop()

  expect([outcome, again]).toEqual(['stopped', 'ended'])
  expect((await reading).got.at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
  await hungUp
})

test('the service tells a cursor at the end from one beyond it, and an id that it does not know', async () => {
  upstream.script = tell(['Once.'], 0)
  const url = `${server.url}/ai/chat`
  const reply = chat({ url, prompt: 'hi' })
  await textOf(reply)
  const { id = '', cursor } = reply

  const atTheEnd = await read(chat.resume(id, { url, after: cursor }))
  const beyond = await read(chat.resume(id, { url, after: cursor + 1 }))
  const unknown = await read(chat.resume('unknown', { url }))

  expect(atTheEnd).toEqual({ got: [] })
  expect(beyond.thrown).toMatchObject({ code: 'cursor-beyond-tail', status: 409 })
  expect(unknown.thrown).toMatchObject({ code: 'not-found', status: 404 })
})
