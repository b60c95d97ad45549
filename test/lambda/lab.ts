import { once } from 'node:events'
import { get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { afterAll, afterEach, beforeAll } from 'vitest'
import { startLambda } from './emulator.ts'
import type { Lambda, LambdaOptions } from './emulator.ts'
import { startGate } from './gate.ts'
import type { Gate } from './gate.ts'
import { prepareRuntime } from './install.ts'
import { writeSamples } from './samples.ts'
import type { Samples } from './samples.ts'

/** What the tests of the lab work with; everything it starts is stopped after each test. */
export interface Lab {
  /** Starts a function from the samples, whose handlers know the gate. */
  start(options?: Partial<LambdaOptions>): Promise<Lambda>
  /** Lets a handler that waits for `name` go on. */
  open(name: string): void
}

/**
 * Says why the real runtime is not there, for `describe.skipIf`; `undefined` when it is.
 *
 * Prints the reason, and throws it on a CI machine, where nothing may be skipped.
 */
export async function missingRuntime(): Promise<string | undefined> {
  const paths = await prepareRuntime()
  if (!('missing' in paths)) return undefined
  if (process.env['CI']) throw new Error(paths.missing)
  console.warn(`Skipping the tests under the real Lambda runtime. ${paths.missing}`)
  return paths.missing
}

/** Sets the lab up around the tests of the calling file. */
export function createLab(): Lab {
  const started: Lambda[] = []
  let samples: Samples
  let gate: Gate

  beforeAll(async () => {
    samples = await writeSamples()
    gate = await startGate()
  })

  afterEach(async () => {
    await Promise.all(started.splice(0).map((lambda) => lambda.stop()))
  })

  afterAll(async () => {
    await gate.close()
    await samples.remove()
  })

  return {
    async start(options) {
      const lambda = await startLambda({ taskRoot: samples.directory, env: { GATE: gate.url }, ...options })
      started.push(lambda)
      return lambda
    },
    open: (name) => gate.open(name),
  }
}

/** Asks the function and reads the whole answer. */
export async function text(lambda: Lambda, path: string): Promise<string> {
  return (await fetch(lambda.url + path)).text()
}

/** Yields what arrives as it arrives. */
export async function* decoded(response: Response): AsyncIterable<string> {
  for await (const chunk of response.body!) yield new TextDecoder().decode(chunk)
}

/** Reads as far as it goes. */
export async function cutBody(response: Response): Promise<{ body: string; complete: boolean }> {
  let body = ''
  try {
    for await (const piece of decoded(response)) body += piece
    return { body, complete: true }
  } catch {
    return { body, complete: false }
  }
}

/** Resolves with the head; nothing of the body is read until somebody asks. */
export async function openUnread(url: string): Promise<IncomingMessage> {
  const [response] = await once(get(url, { agent: false }), 'response')
  return response as IncomingMessage
}

/** Reads the rest and counts it. */
export async function count(response: IncomingMessage): Promise<number> {
  let bytes = 0
  for await (const chunk of response) bytes += (chunk as Buffer).length
  return bytes
}
