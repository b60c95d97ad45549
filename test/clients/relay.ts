import express from 'express'
import { afterAll, beforeAll } from 'vitest'
import { createOpenAI, type HandlerOptions, type OpenAIOptions } from '../../src/index.ts'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { type Host, host, relay } from '../adapters/host.ts'

/** A service on a real socket for official clients, with the simulator behind it. */
export interface Relay {
  /** What a client calls its base URL. */
  readonly url: string
  readonly simulator: Simulator
  /** The body of the last request that reached the simulator. */
  readonly asked: Readonly<Record<string, unknown>>
}

type Options = Partial<HandlerOptions>
type Patience = Pick<OpenAIOptions, 'headersTimeoutMs' | 'firstDeltaTimeoutMs' | 'idleTimeoutMs'>

/** Starts a service around the tests of the calling file. */
export function createRelay(options: Options = {}, patience: Patience = {}): Relay {
  let simulator: Simulator
  let server: Host

  beforeAll(async () => {
    simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
    const upstream = createOpenAI({ baseURL: simulator.url, apiKey: 'sk-upstream-0123456789', ...patience })
    server = await host(express().use(relay({ upstream, retries: 0, ...options })))
  })

  afterAll(async () => {
    await server.close()
    await simulator.close()
  })

  return {
    get url() {
      return `${server.url}/v1`
    },
    get simulator() {
      return simulator
    },
    get asked() {
      return (simulator.requests.at(-1)?.body ?? {}) as Readonly<Record<string, unknown>> // what a client of ours sent
    },
  }
}

/** A tool as every client of this API describes it. */
export const weather = {
  name: 'get_weather',
  description: 'The weather in a city',
  parameters: {
    type: 'object' as const,
    properties: { city: { type: 'string' as const, enum: ['Paris', 'Rome'] } },
    required: ['city'],
    additionalProperties: false,
  },
}

/** An image of one pixel. */
export const pixel =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
