import { expect, test } from 'vitest'
import type { UpstreamDelta } from '../../../src/types.ts'
import { createCallBook } from '../../../src/upstreams/calls.ts'
import { createOpenAI } from '../../../src/upstreams/openai.ts'
import { all, asking } from '../kit.ts'

test('what is held for a call without an id is bounded: after that it leaves without one', () => {
  const book = createCallBook()
  const out: UpstreamDelta[] = []
  book.read([{ index: 0, function: { name: 'f', arguments: '' } }], out)
  expect([out, book.holding]).toEqual([[], true])

  for (let i = 0; i < 70; i++) book.read([{ index: 0, function: { arguments: 'x'.repeat(1000) } }], out)

  expect(book.holding).toBe(false)
  expect(out[0]).toMatchObject({ type: 'tool-call', index: 0, name: 'f' })
  expect(out.map((delta) => (delta.type === 'tool-call' ? delta.arguments : '')).join('')).toHaveLength(
    70_000,
  )
})

test('a server that sends a long call without an id is not silent', async () => {
  const piece = (text: string): string =>
    `data: ${JSON.stringify({ choices: [{ delta: { tool_calls: [{ index: 0, function: { name: 'f', arguments: text } }] } }] })}\n\n`
  const end = 'data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
  const pieces = [piece('{"a":'), ...Array.from({ length: 8 }, () => piece('')), piece('1}'), end]
  const upstream = createOpenAI({
    apiKey: 'any',
    firstDeltaTimeoutMs: 1000,
    idleTimeoutMs: 5000,
    fetch: async () =>
      new Response(slowly(pieces, 150), { headers: { 'content-type': 'text/event-stream' } }),
  })

  const deltas = await all(upstream(asking(), { signal: new AbortController().signal }))

  expect(deltas).toEqual([
    { type: 'tool-call', index: 0, name: 'f', arguments: '{"a":1}' },
    { type: 'finish', reason: 'tool-calls' },
  ])
})

/** These pieces, one every `everyMs`. */
function slowly(pieces: readonly string[], everyMs: number): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  let at = 0
  return new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, everyMs))
      const next = pieces[at++]
      if (next === undefined) controller.close()
      else controller.enqueue(encoder.encode(next))
    },
  })
}
