import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createLog, deltasFrom, extend, lengthOf, readLog } from '../../src/log.ts'
import { pack, unpack } from '../../src/packed.ts'
import type { ChatDelta } from '../../src/types.ts'

const words = fc.string({ unit: 'binary', maxLength: 12 })
const saying = (type: 'text' | 'reasoning') => words.map((text): ChatDelta => ({ type, text }))
const delta = fc.oneof(
  { weight: 20, arbitrary: saying('text') },
  { weight: 4, arbitrary: saying('reasoning') },
  words.map((text): ChatDelta => ({ type: 'text', text, logprobs: [{ token: text }] })),
  words.map((text): ChatDelta => ({ type: 'refusal', text })),
  words.map((args): ChatDelta => ({ type: 'tool-call', index: 0, arguments: args })),
)

describe('what is packed is what is unpacked', () => {
  const run = fc.oneof(fc.array(saying('text')), fc.array(saying('reasoning')), fc.array(delta))

  test('whatever it is', () => {
    fc.assert(
      fc.property(run, (deltas) => {
        expect(unpack(pack(deltas))).toEqual(deltas)
      }),
    )
  })

  test('also halves of one character, and pieces that are long', () => {
    const texts = ['😀'[0]!, '😀'[1]!, '', 'x'.repeat(65_535), 'y']
    const deltas = texts.map((text): ChatDelta => ({ type: 'text', text }))
    const longer: readonly ChatDelta[] = [...deltas, { type: 'text', text: 'x'.repeat(65_536) }]

    expect(unpack(pack(deltas))).toEqual(deltas)
    expect(pack(deltas)).toHaveProperty('lengths')
    expect(unpack(pack(longer))).toEqual(longer)
  })
})

describe('a long log', () => {
  const finish: ChatDelta = { type: 'finish', reason: 'stop' }
  const { signal } = new AbortController()

  test('gives every reader all that follows its cursor, in order, however late it is and however it grows', async () => {
    const many = fc.array(delta, { minLength: 400, maxLength: 1500, size: 'max' })
    await fc.assert(
      fc.asyncProperty(
        many,
        fc.nat(10),
        fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 4 }),
        async (said, base, sizes, places) => {
          const deltas = [...said, finish]
          const log = createLog(base)
          const readers: { readonly from: number; readonly read: Promise<ChatDelta[]> }[] = []
          async function read(from: number): Promise<ChatDelta[]> {
            const got: ChatDelta[] = []
            for await (const batch of readLog(log, { after: base + from, signal })) got.push(...batch)
            return got
          }
          for (let at = 0, turn = 0; at < deltas.length; turn++) {
            const size = sizes[turn % sizes.length]!
            extend(log, deltas.slice(at, at + size))
            at = Math.min(deltas.length, at + size)
            expect(lengthOf(log)).toBe(base + at)
            // Behind, and up with it.
            const from = Math.floor(places[turn % places.length]! * at)
            readers.push({ from, read: read(from) })
            if (turn % 3 === 0) await new Promise(setImmediate)
          }
          readers.push({ from: 0, read: read(0) })

          for (const { from, read } of readers) expect(await read).toEqual(deltas.slice(from))
          for (const place of places) {
            const at = Math.floor(place * (deltas.length - 1))
            const some = deltasFrom(log, at)!
            expect(some.deltas[some.from]).toEqual(deltas[at])
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  test('takes a fraction of the room of its deltas', () => {
    const log = createLog()
    for (let at = 0; at < 100_000; at++) extend(log, [{ type: 'text', text: ' word' }])

    expect(log.deltas.length).toBeLessThan(1000)
    expect(log.packed.every((block) => 'lengths' in block)).toBe(true)
  })
})
