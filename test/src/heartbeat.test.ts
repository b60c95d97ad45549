import fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { replay } from '../../src/replay.ts'
import { heartbeatFrame } from '../../src/sse.ts'
import type { Batches, ChatDelta } from '../../src/types.ts'

const everyMs = 100

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A replay of a log in which each delta is a frame. */
function withHeartbeat(
  frames: AsyncIterableIterator<string>,
  { everyMs }: { readonly everyMs: number },
): AsyncIterableIterator<string> {
  const batches: Batches = {
    async next() {
      const { value, done } = await frames.next()
      return done ? { value: undefined, done } : { value: [{ type: 'text', text: value }], done: false }
    },
    async return() {
      await frames.return?.()
      return { value: undefined, done: true }
    },
    [Symbol.asyncIterator]: () => batches,
  }
  const encode = (delta: ChatDelta): string => (delta.type === 'text' ? delta.text : delta.type)
  return replay(batches, { after: 0, encode, heartbeat: { everyMs, frame: heartbeatFrame } })
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

interface Source {
  readonly frames: AsyncIterableIterator<string>
  readonly left: () => boolean
}

/** Frames `f0`, `f1` … each so long after the one before was asked for; then the end, or, 150 ms later, a failure. */
function source(gaps: readonly number[], failure?: Error): Source {
  let left = false
  async function* generate(): AsyncGenerator<string> {
    try {
      for (const [i, gap] of gaps.entries()) {
        if (gap > 0) await pause(gap)
        yield `f${i}`
      }
      if (!failure) return
      await pause(150)
      throw failure
    } finally {
      left = true
    }
  }
  return { frames: generate(), left: () => left }
}

/** Lets time pass until a promise settles. */
async function passing<T>(promise: Promise<T>): Promise<T> {
  let over = false
  const settle = (): void => void (over = true)
  promise.then(settle, settle)
  while (!over) await vi.advanceTimersByTimeAsync(5)
  return promise
}

test('no frame is lost, repeated or moved; comments come in silence only, and always then', async () => {
  const gap = fc.oneof(fc.constant(0), fc.nat(30), fc.integer({ min: 90, max: 110 }), fc.nat(500))
  await fc.assert(
    fc.asyncProperty(fc.array(gap, { maxLength: 12 }), fc.array(gap), async (gaps, thoughts) => {
      const frames = withHeartbeat(source(gaps).frames, { everyMs })
      const seen: string[] = []
      let given = performance.now()

      await passing(
        (async () => {
          for (let i = 0; ; i++) {
            const asked = performance.now()
            const { value, done } = await frames.next()
            const now = performance.now()
            expect(now - asked).toBeLessThanOrEqual(everyMs + 5)
            if (done) return
            if (value === heartbeatFrame) expect(now - given).toBeGreaterThanOrEqual(everyMs - 1)
            given = now
            seen.push(value)
            const thought = thoughts[i % thoughts.length] ?? 0
            if (thought > 0) await pause(thought)
          }
        })(),
      )

      expect(seen.filter((frame) => frame !== heartbeatFrame)).toEqual(gaps.map((_, i) => `f${i}`))
      expect(vi.getTimerCount()).toBe(0)
    }),
    { numRuns: 150 },
  )
})

test('a silence of ten intervals has ten comments', async () => {
  const frames = withHeartbeat(source([0, everyMs * 10 + 50]).frames, { everyMs })
  const seen: string[] = []

  await passing(
    (async () => {
      for await (const frame of frames) seen.push(frame)
    })(),
  )

  expect(seen).toEqual(['f0', ...Array.from({ length: 10 }, () => heartbeatFrame), 'f1'])
})

test('a reader that leaves in a silence is let go at once, and no timer stays', async () => {
  const { frames: quiet, left } = source([0, 0])
  let release = (): void => {}
  const held: AsyncIterableIterator<string> = {
    next: async () => new Promise((resolve) => (release = () => resolve({ value: undefined, done: true }))),
    return: async () => {
      release()
      return (await quiet.return?.()) ?? { value: undefined, done: true }
    },
    [Symbol.asyncIterator]: () => held,
  }
  const frames = withHeartbeat(held, { everyMs })
  await quiet.next()
  const waiting = frames.next()

  await frames.return?.()

  expect(await waiting).toEqual({ value: undefined, done: true })
  expect(left()).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test('a reader that leaves between two frames leaves no timer', async () => {
  const { frames: inner, left } = source([0, 50, 50])
  const frames = withHeartbeat(inner, { everyMs })
  await passing(frames.next())
  await passing(frames.next())

  await frames.return?.()
  await vi.advanceTimersByTimeAsync(1000)

  expect(left()).toBe(true)
  expect(vi.getTimerCount()).toBe(0)
})

test.each([10, 250])(
  'a failure in a silence, after a frame that took %i ms, is told, and no timer stays',
  async (ms) => {
    const frames = withHeartbeat(source([ms], new Error('broken')).frames, { everyMs })
    const seen: string[] = []

    await passing(
      (async () => {
        for await (const frame of frames) seen.push(frame)
      })(),
    )

    const before = Array.from({ length: Math.floor(ms / everyMs) }, () => heartbeatFrame)
    expect(seen).toEqual([...before, 'f0', heartbeatFrame, 'error'])
    expect(vi.getTimerCount()).toBe(0)
  },
)

test('a slow reader gets no comments for the time it took itself', async () => {
  const frames = withHeartbeat(source([0, 0, 0]).frames, { everyMs })
  const seen: string[] = []

  await passing(
    (async () => {
      for await (const frame of frames) {
        seen.push(frame)
        await pause(everyMs * 5)
      }
    })(),
  )

  expect(seen).toEqual(['f0', 'f1', 'f2'])
})
