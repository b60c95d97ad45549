import { createHandler } from '../../src/handler.ts'
import { events } from '../../src/dialects/events.ts'
import { streamChat } from '../../src/chat.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { HttpRequest, Upstream } from '../../src/types.ts'
import { median, rotated } from '../stats.ts'

/** CPU time per delta, in microseconds. */
export interface GeneratorCost {
  readonly aloneUs: number
  readonly loggedUs: number
  /** Of the rounds' differences. */
  readonly addedUs: number
  /** A busy machine stretches medians: the difference of the lowest of each is what is left without it. */
  readonly quietAddedUs: number
}

/** Deltas of one answer: many, so that what a request costs by itself, about 130 µs, is not taken for the log's. */
const LENGTH = 4000

/** A model that says one word in each turn of the event loop, as a socket that is read token by token does. */
const upstream: Upstream = async function* (_request, { onAccept }) {
  onAccept?.()
  for (let n = 0; n < LENGTH; n++) {
    await new Promise((resolve) => void setImmediate(resolve))
    yield { type: 'text', text: ` word ${n}` }
  }
  yield { type: 'finish', reason: 'stop' }
}

const body = JSON.stringify({ prompt: 'hi' })
const handler = createHandler({ upstream, model: 'm', store: createMemoryStore() })
let written = 0

/** The generator, and what it says as events: nobody can come back for it. */
async function alone(): Promise<void> {
  const encode = events.createEncoder({ replyId: 'r' })
  const request = { model: 'm', messages: [{ role: 'user' as const, content: 'hi' }] }
  let seq = 0
  for await (const delta of streamChat(request, {
    upstream,
    signal: new AbortController().signal,
    id: 'r',
  })) {
    written += encode(delta, ++seq).length
  }
}

/** The same through the handler: into the log, and out of it, with heartbeats. */
async function logged(): Promise<void> {
  const request: HttpRequest = {
    method: 'POST',
    url: '/chat',
    headers: new Headers({ 'content-type': 'application/json' }),
    text: async () => body,
    signal: new AbortController().signal,
  }
  const reply = await handler(request)
  for await (const frame of reply.body) written += frame.length
}

/** Measures both in turns; `replies` answers in each. */
export async function measureGenerator(rounds: number, replies: number): Promise<GeneratorCost> {
  const subjects = [
    { name: 'alone', run: alone },
    { name: 'logged', run: logged },
  ] as const
  const costs: Record<'alone' | 'logged', number>[] = []
  for (let round = -2; round < rounds; round++) {
    const cost = { alone: 0, logged: 0 }
    for (const { name, run } of rotated(subjects, round + 2)) cost[name] = await cpuOf(run, replies)
    if (round >= 0) costs.push(cost) // the first ones are for the compiler
  }
  if (written === 0) throw new Error('Nothing was written.')
  return {
    aloneUs: median(costs.map(({ alone }) => alone)),
    loggedUs: median(costs.map(({ logged }) => logged)),
    addedUs: median(costs.map(({ alone, logged }) => logged - alone)),
    quietAddedUs:
      Math.min(...costs.map(({ logged }) => logged)) - Math.min(...costs.map(({ alone }) => alone)),
  }
}

async function cpuOf(run: () => Promise<void>, replies: number): Promise<number> {
  const before = process.cpuUsage()
  for (let n = 0; n < replies; n++) await run()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / (replies * LENGTH)
}
