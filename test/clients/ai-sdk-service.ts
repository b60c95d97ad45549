import type { UIMessage } from 'ai'
import express from 'express'
import { afterEach } from 'vitest'
import type { HandlerOptions } from '../../src/handler.ts'
import { type Host, host, relay } from '../adapters/host.ts'
import { script, type Script, type Step } from '../src/kit.ts'
import { type Chat, createChat, type sdks, wordsIn } from './ai-sdks.ts'

export interface Served {
  readonly url: string
  readonly model: Script
  /** Breaks every connection. */
  readonly cut: () => void
}

/** Serves models that do what scripts say, until the end of each test of the calling file. */
export function createService(): (
  scripts: readonly (readonly Step[])[],
  options?: Partial<HandlerOptions>,
) => Promise<Served> {
  const hosts: Host[] = []
  afterEach(async () => {
    for (const each of hosts.splice(0)) await each.close()
  })
  return async (scripts, options = {}) => {
    const model = script(...scripts)
    const server = await host(express().use(relay({ upstream: model.upstream, retries: 0, ...options })))
    hosts.push(server)
    const cut = (): void => {
      for (const socket of server.sockets) socket.destroy()
    }
    return { url: server.url, model, cut }
  }
}

/** What a client without a browser's cookies shows, so that it can come back to its chats. */
export const secretHeaders = { 'x-client-secret': 'the-secret-of-the-test-client' }

/** A chat of one version at this address, with the transport that `useChat` has by itself. */
export function chatAt(
  [, sdk]: (typeof sdks)[number],
  url: string,
  init: Parameters<typeof createChat>[1] = {},
): Chat {
  const transport = new sdk.DefaultChatTransport({ api: `${url}/api/chat`, headers: secretHeaders })
  return createChat(sdk, { id: 'chat 1/2', transport, ...init })
}

/** The last message of the model. */
export function answer({ messages }: Chat): UIMessage | undefined {
  return messages.findLast(({ role }) => role === 'assistant')
}

/** The words of the last message of the model. */
export function answerText(chat: Chat): string {
  const message = answer(chat)
  return message ? wordsIn(message) : ''
}

/** The parts of the last message of the model, without fields that are there and undefined. */
export function partsOf(chat: Chat): unknown[] {
  return JSON.parse(JSON.stringify(answer(chat)?.parts ?? [])) as unknown[]
}
