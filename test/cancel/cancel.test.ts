import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import { createOpenAI, type HandlerOptions, type Upstream } from '../../src/index.ts'
import { type Simulator, type SimulatorRequest, startSimulator } from '../../simulator/index.ts'
import { type Host, host, relay } from '../adapters/host.ts'
import { bare, dial, post, split, type Wire } from '../adapters/raw.ts'
import { createScript } from '../adapters/script.ts'

const PROMISE_MS = 500

let simulator: Simulator
let running: Host | undefined

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
})
afterAll(() => simulator.close())
afterEach(async () => {
  await running?.close()
  running = undefined
})

/** Resolves when the upstream of the running host has taken a request. */
let taking: Promise<void>
const accepted = (): Promise<void> => taking

async function listen(options: Partial<HandlerOptions>): Promise<Host> {
  const openai = createOpenAI({ apiKey: 'any', baseURL: simulator.url })
  let tell = (): void => {}
  taking = new Promise((resolve) => (tell = resolve))
  const upstream: Upstream = (request, { signal, onAccept = () => {} }) => {
    function take(): void {
      onAccept()
      tell()
    }
    return openai(request, { signal, onAccept: take })
  }
  const answer = relay({ upstream, retries: 0, ...options })
  running = await host((request, response) => void answer(request, response))
  return running
}

/** The request at the upstream, once it is there. */
async function asked(prompt: string): Promise<SimulatorRequest> {
  const find = (): SimulatorRequest | undefined =>
    simulator.requests.find(({ body }) => JSON.stringify(body ?? '').includes(prompt))
  return vi.waitUntil(find, { timeout: 5000, interval: 2 })
}

/** Milliseconds from now until the upstream's socket was closed by us. */
async function untilHungUp(request: SimulatorRequest): Promise<number> {
  const since = stopwatch()
  await vi.waitUntil(() => request.closed, { timeout: 5000, interval: 2 })
  expect(request.hungUp).toBe(true)
  return since()
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void // what the flag exposes

let questions = 0
const question = (fault: string): string => `question ${++questions}. fault:${fault}`

const forms = {
  'POST /chat': (prompt: string) => post('/chat', { prompt }),
  'GET /stream': (prompt: string) => bare(`GET /stream?prompt=${encodeURIComponent(prompt)}`),
  'POST /chat for one document': (prompt: string) => post('/chat', { prompt, stream: false }),
}
type Form = keyof typeof forms
const streamed = ['POST /chat', 'GET /stream'] as const

interface Position {
  readonly fault: string
  readonly acceptWaitMs?: number
  readonly reached: (wire: Wire) => Promise<unknown>
}

const reachedUpstream = (): Promise<void> => Promise.resolve()
/** The upstream has not taken the request, nobody has an id. */
const untaken: Readonly<Record<string, Position>> = {
  'before the upstream answers': { fault: 'no-response', reached: reachedUpstream },
}
/** It has, or our head has left. */
const taken: Readonly<Record<string, Position>> = {
  'before the first token': { fault: 'stall-after-headers', reached: accepted },
  'after our head, before the upstream answers': {
    fault: 'no-response',
    acceptWaitMs: 10,
    reached: (wire) => wire.until('\r\n\r\n'),
  },
  'after our head, before the first token': {
    fault: 'stall-after-headers',
    acceptWaitMs: 10,
    reached: (wire) => wire.until('\r\n\r\n'),
  },
  'in the middle': { fault: 'stall;after=3', reached: (wire) => wire.until('"text"', 3) },
  'in the middle of a torrent': {
    fault: 'endless;count=1000000',
    reached: (wire) => wire.until('"text"', 50),
  },
}

async function askUntil({ fault, acceptWaitMs, reached }: Position, form: Form, lingerMs: number) {
  const { port } = await listen({ lingerMs, ...(acceptWaitMs === undefined ? {} : { acceptWaitMs }) })
  const wire = await dial(port)
  const prompt = question(fault)
  wire.send(forms[form](prompt))
  const request = await asked(prompt)
  await reached(wire)
  return { wire, request, port }
}

/** The header as it was written: ids distinguish upper and lower case. */
function idOf({ text }: Wire): string {
  return /x-reply-id: (\S+)/.exec(text)?.[1] ?? ''
}

const ways = ['FIN', 'RST'] as const
const cross = <A, B, C>(as: readonly A[], bs: readonly B[], cs: readonly C[]) =>
  as.flatMap((a) => bs.flatMap((b) => cs.map((c) => [a, b, c] as const)))

describe('with lingerMs 0 the upstream is closed at once', () => {
  test.each(cross(Object.keys({ ...untaken, ...taken }), streamed, ways))(
    '%s, %s, by %s',
    async (at, form, how) => {
      const { wire, request } = await askUntil({ ...untaken, ...taken }[at]!, form, 0)
      expect(request.closed).toBe(false)

      wire.leave(how)

      expect(await untilHungUp(request)).toBeLessThan(PROMISE_MS)
      await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 10_000 })
    },
  )
})

// Fetch holds its signal weakly: what is aborted must not depend on what was collected (seen on Node 20).
test.each(Object.keys({ ...untaken, ...taken }))('%s, after garbage collections, too', async (at) => {
  const { wire, request } = await askUntil({ ...untaken, ...taken }[at]!, 'POST /chat', 0)
  for (let round = 0; round < 5; round++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    collectGarbage()
  }

  wire.leave()

  expect(await untilHungUp(request)).toBeLessThan(PROMISE_MS)
})

describe('before there is anything to come back for the upstream is closed at once, whatever lingerMs is', () => {
  test.each(cross(Object.keys(untaken), Object.keys(forms) as Form[], ways))(
    '%s, %s, by %s',
    async (at, form, how) => {
      const { wire, request } = await askUntil(untaken[at]!, form, 60_000)

      wire.leave(how)

      expect(await untilHungUp(request)).toBeLessThan(PROMISE_MS)
    },
  )

  test.each(ways)('in the middle of an answer that is sent as one document, by %s', async (how) => {
    const { wire, request } = await askUntil(
      { fault: 'stall;after=3', reached: reachedUpstream },
      'POST /chat for one document',
      60_000,
    )
    await vi.waitUntil(() => request.tokens === 3, { timeout: 10_000 })

    wire.leave(how)

    expect(await untilHungUp(request)).toBeLessThan(PROMISE_MS)
  })
})

describe('with lingerMs the upstream is closed that long after the last reader left', () => {
  test.each(cross(Object.keys(taken), streamed, ways))('%s, %s, by %s', async (at, form, how) => {
    const lingerMs = 400
    const { wire, request } = await askUntil(taken[at]!, form, lingerMs)
    const left = performance.now()

    wire.leave(how)

    const ms = await untilHungUp(request)
    expect(performance.now() - left).toBeGreaterThan(lingerMs - 50)
    expect(ms).toBeLessThan(lingerMs + PROMISE_MS)
  })
})

test('a reader that comes back in time keeps the answer alive, and gets every byte once', async () => {
  const script = createScript()
  const { port } = await listen({ upstream: script.upstream, lingerMs: 300 })
  const first = await dial(port)
  first.send(post('/chat', { prompt: 'hi' }))
  await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
  script.asked[0]?.say('one', 'two')
  const start = split(await first.until('"two"'))
  first.leave('RST')
  await vi.waitUntil(() => running?.sockets.size === 0, { timeout: 10_000 })
  script.asked[0]?.say('three')

  const second = await dial(port)
  const id = idOf(first)
  second.send(bare(`GET /chat/${id}`, ['Last-Event-ID: 3', 'Connection: close']))
  await second.until('"three"')
  // Longer than it would have lived without a reader.
  await new Promise((resolve) => setTimeout(resolve, 400))
  expect(script.asked[0]?.signal.aborted).toBe(false)
  script.asked[0]?.say('four')
  script.asked[0]?.finish()
  const rest = split(await second.closed)

  const whole = await fetch(`http://127.0.0.1:${port}/chat/${id}`)
  expect(start.body + rest.body).toBe(await whole.text())
  expect(rest.body.match(/^id: .*$/gm)).toEqual(['id: 4', 'id: 5', 'id: 6'])
  expect(script.asked).toHaveLength(1)
})

test('one of two readers leaving costs the other nothing', async () => {
  const script = createScript()
  const { port } = await listen({ upstream: script.upstream, lingerMs: 0 })
  const first = await dial(port)
  first.send(post('/chat', { prompt: 'hi' }))
  await vi.waitUntil(() => script.asked.length === 1, { timeout: 10_000 })
  script.asked[0]?.say('one')
  await first.until('"one"')
  const id = idOf(first)
  const second = await dial(port)
  second.send(bare(`GET /chat/${id}`, ['Connection: close']))
  await second.until('"one"')

  first.leave()
  await vi.waitUntil(() => running?.sockets.size === 1, { timeout: 10_000 })
  script.asked[0]?.say('two')
  await second.until('"two"')
  expect(script.asked[0]?.signal.aborted).toBe(false)
  second.leave()

  await vi.waitUntil(() => script.asked[0]?.signal.aborted, { timeout: 10_000 })
})

test.each(['DELETE /chat/%', 'POST /chat/%/stop'])(
  '%s ends the answer for its readers and at the upstream',
  async (line) => {
    const { wire, request, port } = await askUntil(taken['in the middle']!, 'POST /chat', 60_000)
    const id = idOf(wire)
    const [method = '', path = ''] = line.replace('%', id).split(' ')

    const stopped = await fetch(`http://127.0.0.1:${port}${path}`, { method })
    const again = await fetch(`http://127.0.0.1:${port}${path}`, { method })

    expect(await stopped.json()).toEqual({ id, status: 'stopped' })
    expect(await again.json()).toEqual({ id, status: 'ended' })
    expect(await wire.until('cancelled')).toContain('data: {"type":"finish","reason":"cancelled"}\n\n')
    expect(await untilHungUp(request)).toBeLessThan(PROMISE_MS)
    wire.leave()
  },
)
