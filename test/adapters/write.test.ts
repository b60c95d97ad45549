import { EventEmitter, getEventListeners } from 'node:events'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Sink, writeFrames } from '../../adapters/write.ts'
import type { Frames } from '../../src/types.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A stream that says after each write whether it wants more, as told. */
function createSink(answers: readonly boolean[] = []) {
  const emitter = new EventEmitter()
  const written: string[] = []
  const sink: Sink = {
    write(chunk) {
      written.push(chunk)
      return answers[written.length - 1] ?? true
    },
    once: (event, listener) => emitter.once(event, listener),
    off: (event, listener) => emitter.off(event, listener),
  }
  return { sink, written, drain: () => emitter.emit('drain'), waiting: () => emitter.listenerCount('drain') }
}

/** How the frames under test are asked. */
let asked: 'next' | 'pull' = 'next'

/** Frames that note whether they were left. */
function createFrames(values: readonly string[], { endless = false } = {}) {
  const state = { left: false, asked: 0 }
  async function* generate() {
    try {
      for (const value of values) {
        state.asked++
        yield value
      }
      if (endless) await new Promise(() => {})
    } finally {
      state.left = true
    }
  }
  const frames: Frames = generate()
  if (asked === 'pull') frames.pull = (onFrame) => onFrame(frames.next())
  return { frames, state }
}

const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0)

describe.each(['next', 'pull'] as const)('frames by %s', (how) => {
  beforeEach(() => void (asked = how))

  test('every frame is written once, in order, whatever the sink says and however late it drains', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.string(), fc.boolean(), fc.nat(50))), async (steps) => {
        const { sink, written, drain, waiting } = createSink(steps.map(([, more]) => more))
        const { frames, state } = createFrames(steps.map(([frame]) => frame))
        const { signal } = new AbortController()

        const writing = writeFrames(sink, frames, { signal, stallTimeoutMs: 100 })
        for (const [, more, waitMs] of steps) {
          await settle()
          if (more) continue
          await vi.advanceTimersByTimeAsync(waitMs)
          drain()
        }

        expect(await writing).toBe('ended')
        expect(written).toEqual(steps.map(([frame]) => frame))
        expect(state.left).toBe(true)
        expect(waiting()).toBe(0)
        expect(getEventListeners(signal, 'abort')).toHaveLength(0)
        expect(vi.getTimerCount()).toBe(0)
      }),
    )
  })

  test('a sink that asked to wait is not written to, nor is a next frame made for it', async () => {
    const { sink, written, drain } = createSink([false])
    const { frames, state } = createFrames(['a', 'b'])

    const writing = writeFrames(sink, frames, { signal: new AbortController().signal, stallTimeoutMs: 1000 })
    await vi.advanceTimersByTimeAsync(999)
    expect(written).toEqual(['a'])
    expect(state.asked).toBe(1)
    drain()

    expect(await writing).toBe('ended')
    expect(written).toEqual(['a', 'b'])
  })

  test('a reader that leaves ends the wait for drain', async () => {
    const { sink, written, waiting } = createSink([false])
    const { frames, state } = createFrames(['a', 'b'])
    const gone = new AbortController()

    const writing = writeFrames(sink, frames, { signal: gone.signal, stallTimeoutMs: Infinity })
    await settle()
    gone.abort()

    expect(await writing).toBe('gone')
    expect(written).toEqual(['a'])
    expect(state.left).toBe(true)
    expect(waiting()).toBe(0)
  })

  test('a reader that leaves during a write is not waited for', async () => {
    const gone = new AbortController()
    const { sink, written } = createSink([false])
    const closing: Sink = { ...sink, write: (chunk) => (gone.abort(), sink.write(chunk)) }
    const { frames } = createFrames(['a', 'b'])

    const outcome = await writeFrames(closing, frames, { signal: gone.signal, stallTimeoutMs: Infinity })

    expect(outcome).toBe('gone')
    expect(written).toEqual(['a'])
  })

  test('a reader that has left before is written nothing, and the frames are left', async () => {
    const { sink, written } = createSink()
    const { frames, state } = createFrames(['a'])
    const returned = vi.spyOn(frames, 'return')

    const outcome = await writeFrames(sink, frames, { signal: AbortSignal.abort(), stallTimeoutMs: 1000 })

    expect(outcome).toBe('gone')
    expect(written).toEqual([])
    expect(state.asked).toBe(0)
    expect(returned).toHaveBeenCalled()
  })

  test.each([
    [99, 'waiting'],
    [100, 'stalled'],
  ])('a reader that took nothing for %i of 100 ms is %s', async (ms, expected) => {
    const { sink, waiting } = createSink([true, false])
    const { frames, state } = createFrames(['a', 'b', 'c'])
    let outcome = 'waiting'

    const writing = writeFrames(sink, frames, { signal: new AbortController().signal, stallTimeoutMs: 100 })
    void writing.then((value) => (outcome = value))
    await vi.advanceTimersByTimeAsync(ms)

    expect(outcome).toBe(expected)
    expect(state.left).toBe(expected === 'stalled')
    expect(waiting()).toBe(expected === 'stalled' ? 0 : 1)
  })

  test('a failing source rejects, and is left', async () => {
    const { sink, written } = createSink()
    async function* broken() {
      yield 'a'
      throw new Error('broken')
    }

    const writing = writeFrames(sink, broken(), {
      signal: new AbortController().signal,
      stallTimeoutMs: 1000,
    })

    await expect(writing).rejects.toThrow('broken')
    expect(written).toEqual(['a'])
  })

  test('what stands before the frames leaves with the first, or by itself when that is late', async () => {
    const flush = vi.fn<() => void>()
    const options = { signal: new AbortController().signal, stallTimeoutMs: 100, flush }

    const atOnce = createSink()
    await writeFrames(atOnce.sink, createFrames(['a', 'b']).frames, options)
    await vi.runAllTimersAsync()
    expect(flush).not.toHaveBeenCalled()
    expect(vi.getTimerCount()).toBe(0)

    const late = createSink()
    async function* lateFrames() {
      await new Promise((resolve) => setTimeout(resolve, 50))
      yield 'a'
    }
    const writing = writeFrames(late.sink, lateFrames(), options)
    await vi.advanceTimersByTimeAsync(49)
    expect(flush).toHaveBeenCalledTimes(1)
    expect(late.written).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    expect(await writing).toBe('ended')
    expect(flush).toHaveBeenCalledTimes(1)
  })

  test('nothing is flushed for a reader that left before', async () => {
    const flush = vi.fn<() => void>()

    await writeFrames(createSink().sink, createFrames(['a']).frames, {
      signal: AbortSignal.abort(),
      stallTimeoutMs: 100,
      flush,
    })
    await vi.runAllTimersAsync()

    expect(flush).not.toHaveBeenCalled()
  })
})

/** Frames that are told at once, and whether they were left. */
function createToldFrames(...values: readonly string[]) {
  const rest = [...values]
  const left = vi.fn(async () => ({ value: undefined, done: true }) as const)
  const frames: Frames = {
    pull(onFrame) {
      const value = rest.shift()
      onFrame(value === undefined ? { value, done: true } : { value, done: false })
    },
    next: () => expect.fail('it is told'),
    return: left,
    [Symbol.asyncIterator]() {
      return this
    },
  }
  return { frames, left, rest }
}

describe('frames that are told at once', () => {
  const { signal } = new AbortController()

  test('are written in the same turn, until the sink asks to wait', async () => {
    const { sink, written, drain } = createSink([true, false])
    const { frames, left, rest } = createToldFrames('a', 'b', 'c')

    const writing = writeFrames(sink, frames, { signal, stallTimeoutMs: 1000 })
    expect(written).toEqual(['a', 'b'])
    expect(rest).toEqual(['c'])
    await settle()
    drain()

    expect(await writing).toBe('ended')
    expect(written).toEqual(['a', 'b', 'c'])
    expect(left).toHaveBeenCalledTimes(1)
  })

  test('that fail to be told after a wait reject, and are left', async () => {
    const { sink, drain } = createSink([false])
    const { frames, left, rest } = createToldFrames('a', 'b')
    const pull = frames.pull!
    frames.pull = (onFrame) => {
      if (rest.length < 2) throw new Error('broken')
      pull(onFrame)
    }

    const writing = writeFrames(sink, frames, { signal, stallTimeoutMs: 1000 })
    const failing = expect(writing).rejects.toThrow('broken')
    await settle()
    drain()

    await failing
    expect(left).toHaveBeenCalledTimes(1)
  })

  test('are no recursion, however many there are', async () => {
    const { sink, written } = createSink()
    const values = Array.from({ length: 20_000 }, (_, at) => String(at))
    const { frames } = createToldFrames(...values)

    expect(await writeFrames(sink, frames, { signal, stallTimeoutMs: 1000 })).toBe('ended')
    expect(written).toEqual(values)
  })

  test.each([
    ['is gone', { gone: true, broken: false }],
    ['has a sink that throws', { gone: false, broken: true }],
  ])('disturb nobody when their reader %s meanwhile', async (_, { gone, broken }) => {
    const { sink, written } = createSink()
    const leaving = new AbortController()
    const { frames } = createToldFrames()
    let tell: Parameters<NonNullable<Frames['pull']>>[0] = () => expect.fail('nobody has asked')
    frames.pull = (onFrame) => (tell = onFrame)
    const write = vi.fn((chunk: string) => {
      if (broken) throw new Error('broken')
      return sink.write(chunk)
    })
    const writing = writeFrames({ ...sink, write }, frames, { signal: leaving.signal, stallTimeoutMs: 1000 })
    const outcome = writing.catch((error: unknown) => (error as Error).message)

    if (gone) leaving.abort()
    tell({ value: 'a', done: false })

    expect(await outcome).toBe(gone ? 'gone' : 'broken')
    expect(write).toHaveBeenCalledTimes(gone ? 0 : 1)
    expect(written).toEqual([])
  })

  test('do not hear of a sink that throws at once', async () => {
    const { sink } = createSink()
    const broken: Sink = {
      ...sink,
      write: () => {
        throw new Error('broken')
      },
    }
    const { frames, left } = createToldFrames('a')

    await expect(writeFrames(broken, frames, { signal, stallTimeoutMs: 1000 })).rejects.toThrow('broken')
    expect(left).toHaveBeenCalledTimes(1)
  })
})
