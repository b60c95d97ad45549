import { createServer, type ServerResponse } from 'node:http'
import { afterEach, expect, test } from 'vitest'
import { send, Silence } from '../../bench/chaos/wire.ts'
import { deltasOf, scriptOf } from '../../bench/chaos/truth.ts'
import { listen } from '../lambda/sockets.ts'
import { all } from '../src/kit.ts'

let close: (() => Promise<void>) | undefined
afterEach(() => close?.())

/** A server that sends these pieces as an event stream, and then ends it or stays. */
async function saying(pieces: readonly string[], stays = false): Promise<string> {
  const server = createServer((_, response) => void answer(response))
  async function answer(response: ServerResponse): Promise<void> {
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'x-reply-id': 'r1' })
    for (const piece of pieces) {
      response.write(piece)
      await new Promise((resolve) => setTimeout(resolve, 5)) // packets of their own
    }
    if (!stays) response.end()
  }
  const listening = await listen(server)
  close = listening.close
  return `http://127.0.0.1:${listening.port}/`
}

const text =
  'id: 1\ndata: {"type":"start"}\n\n: \n\ndata: {"type":"error"}\n\nid: 2\ndata: {"type":"text","text":"a\\n"}\n\n'
const frames = [
  { seq: 1, delta: { type: 'start' } },
  { seq: undefined, delta: { type: 'error' } },
  { seq: 2, delta: { type: 'text', text: 'a\n' } },
]

test.each([[[text]], [text.match(/[^]{1,3}/g) ?? []]])(
  'events are events, however they come',
  async (pieces) => {
    const reply = await send(await saying(pieces), { method: 'GET', silenceMs: 1000 })

    expect([reply.status, reply.replyId, reply.stream]).toEqual([200, 'r1', true])
    expect(await all(reply.events())).toEqual(frames)
  },
)

test.each([
  [29, 0],
  [30, 1],
  [57, 1],
  [58, 2],
])('a cut after %i bytes leaves %i events', async (cutAtBytes, count) => {
  const reply = await send(await saying([text], true), { method: 'GET', silenceMs: 1000, cutAtBytes })

  expect(await all(reply.events())).toEqual(frames.slice(0, count))
})

test('silence is an error', async () => {
  const reply = await send(await saying([text], true), { method: 'GET', silenceMs: 100 })

  await expect(all(reply.events())).rejects.toThrow(Silence)
})

test('a script is the same for the same prompt, and its answer ends as it says', () => {
  expect(scriptOf('1 of seed 1')).toEqual(scriptOf('1 of seed 1'))
  expect(scriptOf('1 of seed 1')).not.toEqual(scriptOf('2 of seed 1'))
  const endings = new Set(Array.from({ length: 200 }, (_, n) => scriptOf(`${n}`)).map(({ ending }) => ending))
  expect([...endings].sort()).toEqual(['cut', 'error', 'length', 'refused', 'stop'])
  expect(deltasOf({ ...scriptOf('1'), ending: 'length' }).at(-1)).toEqual({
    type: 'finish',
    reason: 'length',
  })
})
