import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRedisStore } from '../../adapters/redis.ts'
import { createHandler } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { Handler, HttpReply, StreamStore, Upstream, UpstreamDelta } from '../../src/types.ts'
import { http } from '../src/kit.ts'
import { anyWords } from '../src/words.ts'
import { describeRedis } from './gate.ts'
import { nodeRedis } from './links.ts'
import { type RedisServer, startRedis } from './server.ts'

/** What the upstream says, and after which of its deltas it is slow. */
interface Said {
  readonly deltas: readonly UpstreamDelta[]
  readonly pauses: readonly number[]
}

/** Where a connection breaks, in characters, and to which instance the reader turns then. */
interface Cut {
  readonly chars: number
  readonly instance: number
}

const words = fc.tuple(fc.constantFrom('text', 'reasoning', 'refusal'), anyWords, fc.boolean())
const said: fc.Arbitrary<Said> = fc.record({
  deltas: fc.array(words, { maxLength: 20 }).map((all) => [
    ...all.flatMap(([type, text, call], index): UpstreamDelta[] => [
      { type: type as 'text', text },
      // With the arguments in two pieces.
      ...(call && index % 3 === 0
        ? ([
            { type: 'tool-call', index: index / 3, id: `c${index}`, name: 'look_up', arguments: '{"a":' },
            { type: 'tool-call', index: index / 3, arguments: '1}' },
          ] as const)
        : []),
    ]),
    { type: 'finish', reason: 'stop' },
  ]),
  pauses: fc.array(fc.nat(30), { maxLength: 4 }),
})
const cuts: fc.Arbitrary<readonly Cut[]> = fc.array(fc.record({ chars: fc.nat(600), instance: fc.nat(2) }), {
  maxLength: 8,
})

/** How a client of a dialect asks, comes back, and knows that it is done. */
interface Client {
  ask(key: string): ReturnType<typeof http>
  resume(id: string, text: string, key: string): ReturnType<typeof http>
  isOver(text: string): boolean
  /** What a reader has before what `resume` gives it. */
  keep(text: string): string
  /** What a reader adds by itself when nothing is left to be read. */
  readonly done: string
}

const question = [{ role: 'user', content: 'hi' }]
const goOn = (key: string) => ({ 'idempotency-key': key, 'x-on-disconnect': 'continue' })

const clients: Readonly<Record<string, Client>> = {
  'our own': {
    ask: (key) => http('/chat', { headers: goOn(key), body: { messages: question } }),
    resume: (id, text) => http(`/chat/${id}`, { headers: { 'last-event-id': String(lastId(text)) } }),
    isOver: (text) => /^data: \{"type":"(?:finish|error)"/.test(framesOf(text).at(-1)?.split('\n')[1] ?? ''),
    keep: (text) => text,
    done: '',
  },
  "the AI SDK's": {
    ask: (key) =>
      http('/api/chat', {
        headers: goOn(key),
        body: { id: key, messages: [{ id: 'm', role: 'user', parts: [{ type: 'text', text: 'hi' }] }] },
      }),
    resume: (id, text) => http(`/api/chat/${id}/stream?startIndex=${framesOf(text).length}`),
    isOver: (text) => framesOf(text).at(-1) === 'data: [DONE]',
    keep: (text) => text,
    done: 'data: [DONE]\n\n',
  },
  "OpenAI's": {
    ask: (key) => askOpenAI(key),
    // It has no ids: who asks the same again gets the same from its beginning.
    resume: (_, __, key) => askOpenAI(key),
    isOver: (text) => framesOf(text).at(-1) === 'data: [DONE]',
    keep: () => '',
    done: '',
  },
}

function askOpenAI(key: string) {
  return http('/v1/chat/completions', {
    headers: goOn(key),
    body: { model: 'm', stream: true, messages: question },
  })
}

function framesOf(text: string): readonly string[] {
  return text.split('\n\n').slice(0, -1)
}

function lastId(text: string): number {
  return Number(/^id: (\d+)/.exec(framesOf(text).at(-1) ?? '')?.[1] ?? 0)
}

/** Reads so many characters and leaves; an event that is not whole has not arrived. */
async function readChars({ body }: HttpReply, chars = Infinity): Promise<string> {
  if (typeof body === 'string') return body
  let text = ''
  for await (const frame of body) {
    text += frame
    if (text.length >= chars) break
  }
  return withoutHalf(text.slice(0, chars))
}

/** Reads a reply piece by piece, each from another instance, until it has its end. */
async function readInPieces(
  handlers: readonly Handler[],
  { client, key, cuts }: { readonly client: Client; readonly key: string; readonly cuts: readonly Cut[] },
): Promise<string> {
  const [{ chars, instance } = { chars: Infinity, instance: 1 }, ...more] = cuts
  const first = await handlers[instance % handlers.length]!(client.ask(key))
  const id = first.headers['x-reply-id'] ?? ''
  let text = await readChars(first, chars)
  for (let index = 0; !client.isOver(text); index++) {
    const cut = more[index] ?? { chars: Infinity, instance: index }
    const reply = await handlers[cut.instance % handlers.length]!(client.resume(id, text, key))
    resumed++
    if (reply.status === 204) return text + client.done
    expect(reply.status).toBe(200)
    const part = await readChars(reply, cut.chars)
    const whole = client.keep(text) + part
    // What comes again is what was there.
    if (client.keep(text) === '') {
      const both = Math.min(text.length, part.length)
      expect(part.slice(0, both)).toBe(text.slice(0, both))
    }
    text = whole
  }
  return text
}

function withoutHalf(text: string): string {
  const end = text.lastIndexOf('\n\n')
  return end < 0 ? '' : text.slice(0, end + 2)
}

let keys = 0
let resumed = 0

/** Says what the test has given under the key of the question, as no question has two answers. */
function createSpeaker(): {
  readonly upstream: Upstream
  says(what: Said): void
  readonly asked: () => number
} {
  let current: Said = { deltas: [], pauses: [] }
  let asked = 0
  return {
    says: (what) => {
      current = what
      asked = 0
    },
    asked: () => asked,
    async *upstream() {
      asked++
      const { deltas, pauses } = current
      for (const [index, delta] of deltas.entries()) {
        if (pauses.includes(index)) await new Promise((resolve) => setTimeout(resolve, 3))
        yield delta
      }
    },
  }
}

function describeCuts(
  where: string,
  openStores: () => Promise<readonly StreamStore[]>,
  numRuns: number,
): void {
  describe(where, () => {
    const speaker = createSpeaker()
    let handlers: readonly Handler[]
    beforeAll(async () => {
      const stores = await openStores()
      handlers = stores.map((store) =>
        createHandler({ upstream: speaker.upstream, model: 'm', store, allowContinue: 'always' }),
      )
    })

    test.each(Object.keys(clients))(
      'any answer, cut anywhere, is the same bytes as in one piece, in %s dialect',
      async (name) => {
        const client = clients[name]!
        const before = resumed
        await fc.assert(
          fc.asyncProperty(said, cuts, async (what, where) => {
            speaker.says(what)
            const key = `key-${++keys}`

            const uncut = handlers[0]!(client.ask(key)).then((reply) => readChars(reply))
            const pieces = await readInPieces(handlers, { client, key, cuts: where })

            expect(pieces).toBe(await uncut)
            expect(speaker.asked()).toBe(1)
          }),
          { numRuns },
        )
        expect(resumed - before).toBeGreaterThan(numRuns / 4)
      },
      60_000,
    )
  })
}

describeCuts('in memory', async () => [createMemoryStore()], 150)

describeRedis('with a Redis', () => {
  let redis: RedisServer
  const closers: (() => unknown)[] = []
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(async () => {
    for (const close of closers) await close()
    await redis.stop()
  })

  async function openStores(subscribes: boolean): Promise<readonly StreamStore[]> {
    const links = await Promise.all([1, 2, 3].map(() => nodeRedis(redis.url, { subscribes })))
    return links.map(({ link, close }) => {
      const store = createRedisStore(link)
      closers.push(store.close, close)
      return store
    })
  }

  describeCuts('shared by three instances', () => openStores(true), 60)
  describeCuts('shared by three instances that poll', () => openStores(false), 10)
})
