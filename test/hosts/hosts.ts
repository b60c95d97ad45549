import { createServer } from 'node:http'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import express from 'express'
import { afterAll, beforeAll, beforeEach, expect } from 'vitest'
import { toExpress } from '../../adapters/express.ts'
import { type Lambda, startLambda } from '../lambda/emulator.ts'
import { listen } from '../lambda/sockets.ts'
import { bundle } from './bundle.ts'
import { ask, type Asking, type Exchange } from './client.ts'
import { createSubject, type SubjectLimits } from './subject.ts'
import { answer, startUpstream, stream, type Upstream } from './upstream.ts'

/** Both hosts, over one upstream, with the same ids and the same clock. */
export interface Hosts {
  readonly upstream: Upstream
  readonly lambda: Lambda
  readonly express: string
  /** The addresses by name, for tables. */
  readonly urls: Readonly<Record<HostName, string>>
  /** Asks both hosts the same, one after the other, expects the same answer to the byte, and gives it. */
  ask(asking: Asking): Promise<Exchange>
}

export type HostName = 'Express' | 'Lambda'
export const hostNames: readonly HostName[] = ['Express', 'Lambda']

export interface HostsOptions {
  readonly limits?: SubjectLimits
  /** The function's timeout. */
  readonly timeoutMs?: number
  readonly environments?: number
}

/** Sets both hosts up around the tests of the calling file; before each of them, both begin again. */
export function createHosts({ limits, ...options }: HostsOptions = {}): Hosts {
  let upstream: Upstream
  let lambda: Lambda
  let url: string
  const closers: (() => Promise<unknown>)[] = []

  beforeAll(async () => {
    upstream = await startUpstream()
    closers.push(upstream.close)
    const built = await bundle('subject')
    closers.push(built.remove)
    lambda = await startLambda({
      taskRoot: built.directory,
      env: { OPENAI_BASE_URL: upstream.url, LIMITS: JSON.stringify(limits ?? {}) },
      ...options,
    })
    closers.push(lambda.stop)

    const page = pathToFileURL(join(built.directory, 'web/'))
    const app = express().disable('x-powered-by')
    const relay = toExpress(createSubject({ baseURL: upstream.url, page, limits }))
    app.use((request, response) => relay(request, response))
    const server = await listen(createServer(app))
    closers.push(server.close)
    url = `http://127.0.0.1:${server.port}`
    await lambda.ready
  })

  beforeEach(async () => {
    await lambda.idle()
    for (const each of [url, lambda.url]) await ask(each, { path: '/fresh' })
    upstream.script = stream(answer('Hello.'))
  })

  afterAll(async () => {
    for (const close of closers.reverse()) await close()
  })

  return {
    get upstream() {
      return upstream
    },
    get lambda() {
      return lambda
    },
    get express() {
      return url
    },
    get urls() {
      return { Express: url, Lambda: lambda.url }
    },
    async ask(asking) {
      const onExpress = await ask(url, asking)
      const onLambda = await ask(lambda.url, asking)
      expect(onLambda).toEqual(onExpress)
      return onExpress
    },
  }
}
