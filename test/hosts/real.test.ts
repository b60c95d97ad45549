import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Lambda, type LambdaOptions, startLambda } from '../lambda/emulator.ts'
import { missingRuntime } from '../lambda/lab.ts'
import { type Bundle, bundle } from './bundle.ts'
import { ask, type Asking, deltas, type Exchange, post } from './client.ts'
import { freePort, type RunningServer, startServer } from './server.ts'
import { answer, cut, refuse, role, say, startUpstream, stream, type Upstream } from './upstream.ts'

const missing = await missingRuntime()
const key = 'sk-canary-0123456789'

let upstream: Upstream
beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.close())

describe.skipIf(missing)('the server and the function, built and configured as they are deployed', () => {
  let bundles: readonly Bundle[]
  let server: RunningServer
  let lambda: Lambda
  const env = (): Record<string, string> => ({
    OPENAI_BASE_URL: upstream.url,
    OPENAI_API_KEY: key,
    OPENAI_MODEL: 'model-a',
    UPSTREAM_RETRIES: '0',
  })

  beforeAll(async () => {
    bundles = await Promise.all([bundle('server'), bundle('chat')])
    server = await startServer(bundles[0]!, env())
    lambda = await startLambda({ taskRoot: bundles[1]!.directory, env: env() })
    await lambda.ready
  })
  afterAll(async () => {
    await lambda.stop()
    await server.stop()
    for (const each of bundles) await each.remove()
  })

  async function both(asking: Asking): Promise<Exchange> {
    const [onServer, onLambda] = [await ask(server.url, asking), await ask(lambda.url, asking)]
    expect(normalized(onLambda)).toEqual(normalized(onServer))
    return onLambda
  }

  test.each([
    ['a whole answer', stream(answer('Zoë ', '你好 👋'))],
    ['an error in the middle', cut(role, say('The begin'))],
    ['a refusal', refuse(401, { error: { message: `Incorrect API key provided: ${key}` } })],
  ])('answer the same, ids and times aside: %s', async (_, script) => {
    upstream.script = script

    const streamed = await both(post({ prompt: 'Hi' }))
    const native = await both({ path: '/stream?prompt=Hi' })
    const whole = await both(post({ prompt: 'Hi', stream: false }))

    expect([streamed, native, whole].map(({ complete }) => complete)).toEqual([true, true, true])
    expect(JSON.stringify([streamed, native, whole])).not.toContain('canary')
  })

  test.each(['/', '/page.js', '/page.css', '/healthz', '/v1/models', '/nowhere'])(
    'serve the same at %s',
    async (path) => {
      expect((await both({ path })).status).toBe(path === '/nowhere' ? 404 : 200)
    },
  )

  test('refuse a page of another site, and ask nobody', async () => {
    const before = upstream.asked.length
    const headers = {
      origin: 'https://other.example',
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'cors',
    }

    const { status, body } = await both({ path: '/stream?prompt=Hi', headers })

    expect({ status, body }).toEqual({ status: 403, body: expect.stringContaining('origin-not-allowed') })
    expect(upstream.asked.length).toBe(before)
  })

  test('send the key to the upstream and to nobody else', async () => {
    await both(post({ prompt: 'Hi' }))

    expect(lambda.logs() + server.logs()).not.toContain('canary')
  })

  test('the server listens where a Lambda Web Function has to', async () => {
    upstream.script = stream(answer('Hel', 'lo.'))
    const endpoint = `127.0.0.1:${await freePort()}`
    const webFunction = await startServer(bundles[0]!, {
      ...env(),
      AWS_LAMBDA_HTTP_ENDPOINT: endpoint,
      PORT: '1',
    })

    const { status, body } = await ask(`http://${endpoint}`, post({ prompt: 'Hi' }))
    await webFunction.stop()

    expect(status).toBe(200)
    expect(deltas(body).map(({ type }) => type)).toEqual(['start', 'text', 'text', 'usage', 'finish'])
  })
})

describe.skipIf(missing)('the streaming function', () => {
  const closers: (() => Promise<void>)[] = []
  async function start(options: Partial<LambdaOptions>, page = true): Promise<Lambda> {
    const built = await bundle('chat', { page })
    const lambda = await startLambda({ taskRoot: built.directory, ...options })
    closers.push(lambda.stop, built.remove)
    return lambda
  }
  afterEach(async () => {
    for (const close of closers.splice(0)) await close()
  })

  test('fails to load without a key, and says what to set', async () => {
    const lambda = await start({ env: {} })

    await expect(lambda.ready).rejects.toThrow(/OPENAI_API_KEY is not set: set it, or set OPENAI_BASE_URL/)
    expect(lambda.initError?.errorMessage).toContain('There is no simulated model here.')
  })

  test('fails to load with bad settings, and lists them all without a secret', async () => {
    const env = {
      OPENAI_API_KEY: 'sk-can ary',
      HEARTBEAT_MS: 'soon',
      MAX_REPLIES: '-1',
      OPENAI_BASE_URL: 'ftp://x',
    }
    const lambda = await start({ env })

    await expect(lambda.ready).rejects.toThrow(/3 problems|4 problems/)
    for (const name of Object.keys(env)) expect(lambda.initError?.errorMessage).toContain(name)
    expect(lambda.initError?.errorMessage).not.toContain('ary')
  })

  test('answers a page whose files are missing with a JSON error, and goes on', async () => {
    upstream.script = stream(answer('Hello.'))
    const lambda = await start({ env: { OPENAI_BASE_URL: upstream.url } }, false)

    const { status, body } = await ask(lambda.url, { path: '/' })

    expect(status).toBe(500)
    expect(JSON.parse(body)).toEqual({ error: { code: 'internal', message: expect.any(String) } })
    expect(body).not.toContain('index.html')
    expect(lambda.logs()).toContain('"code":"internal"')
    expect((await ask(lambda.url, post({ prompt: 'Hi' }))).body).toContain('Hello.')
    expect(lambda.exits).toEqual([])
  })

  test('needs no key for a server of its own', async () => {
    upstream.script = stream(answer('Hello.'))
    const lambda = await start({ env: { OPENAI_BASE_URL: upstream.url } })

    expect((await ask(lambda.url, post({ prompt: 'Hi' }))).status).toBe(200)
  })
})

/** An answer without what is new in each: the reply's id and when it began. */
function normalized({ headers, body, ...rest }: Exchange): Exchange {
  const id = headers['x-reply-id']
  const text = body.replace(/"createdAt":\d+/g, '"createdAt":0').replace(/^retry: 1\d{3}\n/, 'retry\n')
  return {
    ...rest,
    headers: { ...headers, ...(id === undefined ? {} : { 'x-reply-id': 'id' }) },
    body: id === undefined ? text : text.replaceAll(id, 'id'),
  }
}
