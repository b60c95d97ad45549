import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import { type Simulator, type SimulatorRequest, startSimulator } from '../../simulator/index.ts'
import { type Lambda, type LambdaOptions, startLambda } from '../lambda/emulator.ts'
import { missingRuntime } from '../lambda/lab.ts'
import { redisAvailable } from '../redis/gate.ts'
import { listen } from '../redis/listen.ts'
import { type RedisServer, startRedis } from '../redis/server.ts'
import { after, idOf, isOver, lastId, readOn, readPart } from '../server/reading.ts'
import { type Bundle, bundle } from './bundle.ts'
import { ask, deltas, post } from './client.ts'
import { type RunningServer, startServer } from './server.ts'

const missing = (await missingRuntime()) !== undefined || !redisAvailable()
const FOLLOW_MS = 700

let simulator: Simulator
let redis: RedisServer
let bundles: { readonly chat: Bundle; readonly resources: Bundle; readonly server: Bundle }
const closers: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  if (missing) return
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: 400 })
  redis = await startRedis()
  const [chat, resources, server] = await Promise.all([bundle('chat'), bundle('resources'), bundle('server')])
  bundles = { chat, resources, server }
})
afterAll(async () => {
  if (missing) return
  await Promise.all(Object.values(bundles).map((built) => built.remove()))
  await redis.stop()
  await simulator.close()
})

function environment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return {
    OPENAI_BASE_URL: simulator.url,
    OPENAI_API_KEY: 'any',
    REDIS_URL: redis.url,
    FOLLOW_MS: String(FOLLOW_MS),
    UPSTREAM_RETRIES: '0',
    ...more,
  }
}

async function start(
  env: Readonly<Record<string, string>> = {},
  options: Partial<LambdaOptions> = {},
): Promise<Lambda> {
  const lambda = await startLambda({ taskRoot: bundles.chat.directory, env: environment(env), ...options })
  closers.push(lambda.stop)
  return lambda
}

async function stopAll(): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close()
}

let questions = 0
const question = (fault = ''): string => `question ${++questions}. ${fault && `fault:${fault}`}`

function askedOf(prompt: string): readonly SimulatorRequest[] {
  return simulator.requests.filter(({ body }) => JSON.stringify(body ?? '').includes(prompt))
}

describe.skipIf(missing)('two functions and one Redis', () => {
  let first: Lambda
  let second: Lambda
  beforeAll(async () => {
    first = await start()
    second = await start({}, { environments: 2 })
    await Promise.all([first.ready, second.ready])
  })
  afterAll(stopAll)
  beforeEach(async () => void (await Promise.all([first.idle(), second.idle()])))

  test('an answer that is cut on one is followed on the other, piece by piece, to the same bytes', async () => {
    const prompt = question('pause;after=5;ms=2000')

    const cut = await readPart(first.url, post({ prompt }), 3)
    const { text, parts } = await readOn([second.url], idOf(cut), { from: cut.text })

    const uncut = await readPart(first.url, after(idOf(cut), 0))
    expect(text).toBe(uncut.text)
    expect(deltas(text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    // Those who follow are sent away after a while, without an end, and come back.
    const capped = parts.filter((part) => part.ended && !isOver(part.text))
    expect(capped.length).toBeGreaterThanOrEqual(2)
    expect(parts.map(({ status }) => status)).toEqual(parts.map(() => 200))
    expect(askedOf(prompt)).toHaveLength(1)
    for (const { url } of [first, second]) {
      expect((await ask(url, after(idOf(cut), lastId(text)))).status).toBe(204)
    }
  })

  test('a follow ends after its time, and the invocation with it', async () => {
    const cut = await readPart(first.url, post({ prompt: question('pause;after=3;ms=2500') }), 3)
    const since = stopwatch()

    const part = await readPart(second.url, after(idOf(cut), 0))
    await second.idle()

    const ms = since()
    expect(ms).toBeGreaterThan(FOLLOW_MS - 100)
    expect(ms).toBeLessThan(FOLLOW_MS + 1000)
    expect({ ended: part.ended, over: isOver(part.text) }).toEqual({ ended: true, over: false })
  })

  test('an answer whose client has gone goes on to its end, in the log', async () => {
    const prompt = question('pause;after=3;ms=800')
    const cut = await readPart(first.url, post({ prompt }), 3)

    await first.idle()

    const { status, text } = await readPart(second.url, after(idOf(cut), 0))
    expect(status).toBe(200)
    expect(deltas(text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(askedOf(prompt)[0]?.hungUp).toBe(false)
  })

  test('the end is in the log before the stream ends', async () => {
    for (let round = 0; round < 10; round++) {
      const whole = await readPart(first.url, post({ prompt: question() }))

      const [head, rest] = await Promise.all([
        ask(second.url, { method: 'HEAD', path: `/chat/${idOf(whole)}` }),
        ask(second.url, after(idOf(whole), lastId(whole.text))),
      ])

      expect(isOver(whole.text)).toBe(true)
      expect(head.headers).toMatchObject({
        'x-reply-state': 'ended',
        'x-reply-length': String(lastId(whole.text)),
      })
      expect(rest.status).toBe(204)
    }
  })

  test('a stop on the other one ends an upstream that says nothing, within a second', async () => {
    const took: number[] = []
    for (let round = 0; round < 10; round++) {
      const prompt = question('stall;after=3')
      const cut = await readPart(first.url, post({ prompt }), 3)
      // Not always at the same moment of the producer's round.
      await sleep(round * 45)
      const since = Date.now()

      const stopped = await ask(second.url, { method: 'DELETE', path: `/chat/${idOf(cut)}` })
      const again = await ask(second.url, { method: 'POST', path: `/chat/${idOf(cut)}/stop` })
      await askedOf(prompt)[0]!.done
      took.push(askedOf(prompt)[0]!.closedAt! - since)
      await first.idle()

      expect([stopped.body, again.body].map((body) => JSON.parse(body))).toEqual([
        { id: idOf(cut), status: 'stopped' },
        { id: idOf(cut), status: 'ended' },
      ])
      const { text } = await readPart(second.url, after(idOf(cut), 0))
      expect(deltas(text).at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
    }
    expect(Math.max(...took)).toBeLessThan(1000)
    console.info(`stop on another function: ${took.toSorted((a, b) => a - b).join(', ')} ms`)
  })

  test('the same question twice, under one key, is asked once', async () => {
    const prompt = question('pause;after=3;ms=300')
    const asking = post({ prompt }, { 'idempotency-key': `key of ${questions}`.replaceAll(' ', '-') })

    const [one, other] = await Promise.all([first, second].map(({ url }) => readPart(url, asking)))

    expect(idOf(one!)).toBe(idOf(other!))
    expect(one!.text).toBe(other!.text)
    expect(isOver(one!.text)).toBe(true)
    expect(askedOf(prompt)).toHaveLength(1)
  })
})

describe.skipIf(missing)('a function and a server on one Redis', () => {
  let lambda: Lambda
  let server: RunningServer
  beforeAll(async () => {
    lambda = await start()
    server = await startServer(bundles.server, environment({ DRAIN_MS: '0' }))
    closers.push(server.stop)
    await lambda.ready
  })
  afterAll(stopAll)

  test.each(['the function', 'the server'])('what begins on %s goes on at the other', async (where) => {
    const urls = where === 'the function' ? [lambda.url, server.url] : [server.url, lambda.url]
    const prompt = question('pause;after=5;ms=1500')

    const cut = await readPart(urls[0]!, post({ prompt }), 3)
    const { text } = await readOn([urls[1]!], idOf(cut), { from: cut.text })

    const again = await Promise.all(urls.map((url) => readPart(url, after(idOf(cut), 0))))
    expect(again.map((part) => part.text)).toEqual([text, text])
    expect(deltas(text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(askedOf(prompt)).toHaveLength(1)
    await lambda.idle()
  })

  test('the server stops what the function writes, within a second', async () => {
    const prompt = question('stall;after=3')
    const cut = await readPart(lambda.url, post({ prompt }), 3)
    const since = Date.now()

    const { body } = await ask(server.url, { method: 'DELETE', path: `/chat/${idOf(cut)}` })

    expect(JSON.parse(body)).toEqual({ id: idOf(cut), status: 'stopped' })
    await askedOf(prompt)[0]!.done
    expect(askedOf(prompt)[0]!.closedAt! - since).toBeLessThan(1000)
  })
})

describe.skipIf(missing)('between two requests', () => {
  afterEach(stopAll)

  test('nothing of ours is left in the process, however the requests before have ended', async () => {
    const lambda = await start({}, { taskRoot: bundles.resources.directory })
    const other = await start()
    const held = async (): Promise<Readonly<Record<string, number>>> => {
      await lambda.idle()
      return counted(JSON.parse((await ask(lambda.url, { path: '/resources' })).body) as string[])
    }
    await ask(lambda.url, post({ prompt: question() }))
    const before = await held()

    const whole = await readPart(lambda.url, post({ prompt: question() }))
    expect(await held()).toEqual(before)
    await ask(lambda.url, post({ prompt: question(), stream: false }))
    expect(await held()).toEqual(before)
    await ask(lambda.url, after(idOf(whole), 3))
    await ask(lambda.url, after('nobody-knows-this', 3))
    await ask(lambda.url, post({ prompt: question('http-500') }))
    expect(await held()).toEqual(before)
    await readPart(lambda.url, post({ prompt: question('cut;after=3') }))
    expect(await held()).toEqual(before)
    // Left by its client.
    await readPart(lambda.url, post({ prompt: question('pause;after=3;ms=300') }), 3)
    expect(await held()).toEqual(before)
    // Followed until that was long enough, stopped, and stopped from elsewhere.
    const elsewhere = await readPart(other.url, post({ prompt: question('stall;after=3') }), 3)
    await readPart(lambda.url, after(idOf(elsewhere), 0))
    expect(await held()).toEqual(before)
    await ask(lambda.url, { method: 'DELETE', path: `/chat/${idOf(elsewhere)}` })
    expect(await held()).toEqual(before)
    await other.idle()
    const here = await readPart(lambda.url, post({ prompt: question('stall;after=3') }), 3)
    await ask(other.url, { method: 'DELETE', path: `/chat/${idOf(here)}` })
    expect(await held()).toEqual(before)
    expect(before['Timeout'] ?? 0).toBe(0)
    expect(before['Immediate'] ?? 0).toBe(0)
  })

  test.each<[string, () => Promise<unknown>]>([
    ['nothing happens', async () => {}],
    ['its connection is cut', () => redis.command(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'])],
    ['Redis starts anew', () => redis.restart()],
  ])('the process is frozen and %s: the next request is served', async (_, happen) => {
    const lambda = await start()
    await ask(lambda.url, post({ prompt: question() }))
    await lambda.idle()

    for (let round = 0; round < 2; round++) {
      for (const pid of lambda.pids) process.kill(pid, 'SIGSTOP')
      await happen()
      const asking = readPart(lambda.url, post({ prompt: question() }))
      await sleep(1000)
      for (const pid of lambda.pids) process.kill(pid, 'SIGCONT')
      const part = await asking

      expect({ status: part.status, end: deltas(part.text).at(-1) }).toEqual({
        status: 200,
        end: { type: 'finish', reason: 'stop' },
      })
      expect(part.headers['x-reply-resumable']).toBeUndefined()
      await lambda.idle()
    }
    expect(lambda.exits).toEqual([])
  })
})

describe.skipIf(missing)('without its Redis', () => {
  afterEach(stopAll)

  test('a function refuses, and answers again when it is back', async () => {
    const lambda = await start()
    await ask(lambda.url, post({ prompt: question() }))
    await redis.kill()
    const since = stopwatch()

    const refused = await ask(lambda.url, post({ prompt: question() }))

    expect(since()).toBeLessThan(4000)
    expect({ status: refused.status, body: JSON.parse(refused.body) }).toEqual({
      status: 503,
      body: { error: { code: 'store-unavailable', message: expect.any(String) } },
    })
    expect(refused.headers['retry-after']).toBe('1')
    await redis.restart()
    expect((await readPart(lambda.url, post({ prompt: question() }))).status).toBe(200)
    expect(lambda.exits).toEqual([])
  })

  test('a function that may do without answers, and says that nobody can come back', async () => {
    await redis.kill()
    const lambda = await start({ REDIS_DOWN: 'degrade' })

    const part = await readPart(lambda.url, post({ prompt: question() }))

    await redis.restart()
    expect(part.status).toBe(200)
    expect(part.headers['x-reply-resumable']).toBe('no')
    expect(part.text).not.toMatch(/^id:/m)
    expect(deltas(part.text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    const kept = await readPart(lambda.url, post({ prompt: question() }))
    expect(kept.headers['x-reply-resumable']).toBeUndefined()
    expect(lambda.exits).toEqual([])
  })

  test('an answer whose Redis dies in the middle is sent to its end, which says what was lost', async () => {
    const lambda = await start({ LEASE_MS: '3000' })
    const cut = readPart(lambda.url, post({ prompt: question('pause;after=3;ms=500') }))
    await expect.poll(() => lambda.invocations, { timeout: 10_000 }).toBe(1)
    await sleep(200)
    await redis.kill()
    await sleep(800)
    await redis.restart()

    const part = await cut

    // A Redis that forgets everything has lost the beginning: the end tells that.
    expect(deltas(part.text).at(-1)).toMatchObject({ type: 'error', code: 'log-incomplete' })
    expect(part.text).toMatch(/^id: 1\n/)
  })

  test('a Redis that is silent holds neither the start of a function nor a request beyond its time', async () => {
    const silent = createServer((socket) => void socket.on('error', () => {}).resume())
    const port = await listen(silent)
    closers.push(() => new Promise((resolve) => silent.close(resolve)))
    const lambda = await start({ REDIS_URL: `redis://127.0.0.1:${port}` }, { timeoutMs: 3000 })
    await lambda.ready

    const { status, body } = await ask(lambda.url, post({ prompt: question() }))
    await lambda.idle()

    expect(lambda.readyMs).toBeLessThan(4000)
    expect({ status, body }).toEqual({ status: 504, body: expect.stringContaining('"code":"deadline"') })
    expect(lambda.lastInvocation()?.failure).toBeUndefined()
    expect((await ask(lambda.url, { path: '/healthz' })).status).toBe(200)
    expect(lambda.exits).toEqual([])
  })
})

function counted(kinds: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const kind of kinds.toSorted()) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}
