import { describe, expect, test } from 'vitest'
import { createPlace, createStates, read, SILENCE_MS } from './place.ts'
import {
  createService,
  cutAfter,
  decline,
  deltas,
  endAfter,
  everything,
  hangUp,
  open,
  stallAfter,
} from './service.ts'

const service = createService()
const forever = { giveUpMs: Infinity }

/** Lets so many waits pass, and gives their lengths. */
async function waits(place: ReturnType<typeof createPlace>, count: number): Promise<number[]> {
  const lengths: number[] = []
  for (let n = 0; n < count; n++) {
    lengths.push(await place.waiting())
    place.pass(lengths.at(-1)!)
  }
  return lengths
}

describe('waiting between attempts', () => {
  test('doubles up to ten seconds, and is random below that', async () => {
    service.answers = Array.from({ length: 8 }, () => hangUp)
    const place = createPlace({ random: () => 0.5 })

    const reading = read(place.chat({ url: service.url, prompt: 'hi', ...forever }))

    expect(await waits(place, 8)).toEqual([125, 250, 500, 1000, 2000, 4000, 5000, 5000])
    expect((await reading).got).toEqual(deltas)
  })

  test('begins anew with each new delta', async () => {
    service.answers = [hangUp, hangUp, cutAfter(150), cutAfter(0), cutAfter(80)]
    const place = createPlace()

    const reading = read(place.chat({ url: service.url, prompt: 'hi', ...forever }))

    expect(await waits(place, 5)).toEqual([125, 250, 125, 250, 125])
    expect((await reading).got).toEqual(deltas)
  })

  test('is nothing for a stream that brought something and ended in good order', async () => {
    service.answers = [endAfter(2), endAfter(0), endAfter(1)]
    const place = createPlace()

    const reading = read(place.chat({ url: service.url, prompt: 'hi', ...forever }))

    expect(await waits(place, 3)).toEqual([0, 250, 0])
    expect((await reading).got).toEqual(deltas)
  })

  test.each([
    ['seconds', '7', 7000],
    ['a time that has passed', 'Thu, 01 Jan 1970 00:00:00 GMT', 125],
    ['something else', 'soon', 125],
  ])('is at least what the service asks for: %s', async (_, value, ms) => {
    service.answers = [decline(503, 'store-unavailable', { 'retry-after': value })]
    const place = createPlace()

    const reading = read(place.chat.resume('reply-1', { url: service.url, ...forever }))

    expect(await waits(place, 1)).toEqual([ms])
    expect((await reading).got).toEqual(deltas)
  })
})

describe('giving up', () => {
  test('comes after two minutes without getting anywhere, with the last trouble', async () => {
    service.answers = [endAfter(2), ...Array.from({ length: 100 }, () => hangUp)]
    const place = createPlace({ random: () => 1 })

    const reading = read(place.chat({ url: service.url, prompt: 'hi' }))
    const lengths = await waits(place, 16)

    const { got, thrown } = await reading
    expect(got).toEqual(deltas.slice(0, 2))
    expect(thrown).toMatchObject({ code: 'unreachable', retryable: true })
    expect(lengths.reduce((sum, ms) => sum + ms, 0)).toBeLessThanOrEqual(120_000)
    expect(lengths.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThan(110_000)
    expect([place.timers, place.listeners]).toEqual([0, 0])
  })

  test('can be told to come after so many failures in a row', async () => {
    service.answers = [hangUp, hangUp, decline(503, 'overloaded')]
    const place = createPlace()

    const reading = read(place.chat({ url: service.url, prompt: 'hi', maxAttempts: 3 }))
    await waits(place, 2)

    expect((await reading).thrown).toMatchObject({ code: 'overloaded', status: 503 })
    expect(service.story.length).toBe(3)
  })

  test('comes at once where the service wants to be left alone for longer', async () => {
    service.answers = [decline(503, 'store-unavailable', { 'retry-after': '3600' })]
    const place = createPlace()

    const { thrown } = await read(place.chat.resume('reply-1', { url: service.url }))

    expect(thrown).toMatchObject({ code: 'store-unavailable', retryAfterMs: 3_600_000 })
  })

  test('does not come for a reply that is silent but alive, however often its stream ends', async () => {
    const place = createPlace()
    const reading = read(place.chat({ url: service.url, prompt: 'hi', giveUpMs: 60_000, maxAttempts: 2 }))
    service.answers = Array.from({ length: 6 }, () => async (exchange) => {
      open(exchange)
      for (let n = 0; n < 4; n++) {
        await place.watching()
        place.pass(15_000)
        const before = place.heard
        exchange.response.write(': \n\n')
        await expect.poll(() => place.heard).toBeGreaterThan(before)
      }
      exchange.response.end()
    })

    await waits(place, 6)

    expect((await reading).got).toEqual(deltas)
    expect(service.story.length).toBe(7)
  })
})

describe('being back', () => {
  test.each([
    ['online', 'visible'],
    ['visibilitychange', 'visible'],
  ] as const)('%s ends the wait, and begins the counting anew', async (type, visibility) => {
    service.answers = [hangUp, hangUp, hangUp, hangUp]
    const place = createPlace()
    const reading = read(place.chat({ url: service.url, prompt: 'hi', ...forever }))
    const before = await waits(place, 3)
    before.push(await place.waiting())

    place.visibility = visibility
    place.dispatch(type)

    expect(before).toEqual([125, 250, 500, 1000])
    expect((await reading).got).toEqual(deltas)
    expect(place.listeners).toBe(0)
  })

  test('a page that is hidden changes nothing', async () => {
    service.answers = [hangUp]
    const place = createPlace()
    const reading = read(place.chat({ url: service.url, prompt: 'hi' }))
    const ms = await place.waiting()

    place.visibility = 'hidden'
    place.dispatch('visibilitychange')

    expect(service.story).toEqual(['POST'])
    place.pass(ms)
    expect((await reading).got).toEqual(deltas)
  })

  test('does not shorten what the service asked for', async () => {
    service.answers = [decline(503, 'overloaded', { 'retry-after': '5' })]
    const place = createPlace()
    const reading = read(place.chat({ url: service.url, prompt: 'hi' }))
    const ms = await place.waiting()

    place.dispatch('online')

    expect(service.story).toEqual(['POST'])
    place.pass(ms)
    expect((await reading).got).toEqual(deltas)
  })
})

describe('silence', () => {
  test('of two heartbeats and five seconds gives the connection up, and resumes', async () => {
    service.answers = [stallAfter(2), everything]
    const place = createPlace()
    const { seen, onState } = createStates()
    const reply = place.chat({ url: service.url, prompt: 'hi', onState })
    const reading = read(reply)
    await expect.poll(() => reply.cursor).toBe(2)
    await place.watching()

    place.pass(SILENCE_MS - 1)
    const before = reply.state
    place.pass(1)
    await waits(place, 1)

    expect(before).toBe('live')
    expect((await reading).got).toEqual(deltas)
    expect(seen).toEqual(['connecting', 'live', 'stalled', 'resuming', 'live', 'ended'])
    expect(service.story).toEqual(['POST', 'GET after 2'])
  })

  test('before the head counts, too: asked again under the same key', async () => {
    service.answers = [() => {}, everything]
    const place = createPlace()
    const reading = read(place.chat({ url: service.url, prompt: 'hi', heartbeatMs: 1_000 }))
    await service.asked(1)

    place.pass(7_000)
    await waits(place, 1)

    expect((await reading).got).toEqual(deltas)
    expect(service.replies.size).toBe(1)
  })

  test('that lasts is the error in the end', async () => {
    service.answers = [stallAfter(0), stallAfter(0)]
    const place = createPlace()
    const reply = place.chat({ url: service.url, prompt: 'hi', maxAttempts: 2 })
    const reading = read(reply)
    await expect.poll(() => reply.state).toBe('live')
    place.pass(SILENCE_MS)
    await waits(place, 1)
    await expect.poll(() => reply.state).toBe('live')
    place.pass(SILENCE_MS)

    expect((await reading).thrown).toMatchObject({
      code: 'stalled',
      message: expect.stringContaining('35 s') as string,
    })
  })

  test('heartbeats are no silence', async () => {
    service.answers = [stallAfter(2)]
    const place = createPlace()
    const reply = place.chat({ url: service.url, prompt: 'hi' })
    const reading = read(reply)
    await expect.poll(() => reply.cursor).toBe(2)
    const { response, events } = await service.asked(1)

    for (let n = 0; n < 5; n++) {
      await place.watching()
      const before = place.heard
      response.write(': \n\n')
      await expect.poll(() => place.heard).toBeGreaterThan(before)
      place.pass(SILENCE_MS - 1)
    }
    response.end(events)

    expect((await reading).got).toEqual(deltas)
    expect(service.story).toEqual(['POST'])
  })

  test('of our own is not that of the service: a slow reader keeps its connection', async () => {
    const place = createPlace()
    const got: object[] = []

    for await (const delta of place.chat({ url: service.url, prompt: 'hi' })) {
      got.push(delta)
      place.pass(10 * SILENCE_MS)
      place.dispatch('online')
    }

    expect(got).toEqual(deltas)
    expect(service.story).toEqual(['POST'])
  })

  test('that a sleeping timer did not notice is noticed when the page is seen again', async () => {
    service.answers = [stallAfter(2), everything]
    const place = createPlace()
    const reply = place.chat({ url: service.url, prompt: 'hi' })
    const reading = read(reply)
    await expect.poll(() => reply.cursor).toBe(2)
    await place.watching()

    place.sleep(SILENCE_MS - 1)
    place.dispatch('visibilitychange')
    const early = reply.state
    place.sleep(1)
    place.dispatch('visibilitychange')
    await waits(place, 1)

    expect(early).toBe('live')
    expect((await reading).got).toEqual(deltas)
    expect(service.story).toEqual(['POST', 'GET after 2'])
  })
})

describe('leaving the page', () => {
  test.each([
    ['sends a stop when that is wanted', { stopOnPageHide: true }, {}, 1],
    ['sends none when the page may come back', { stopOnPageHide: true }, { persisted: true }, 0],
    ['sends none unless it is wanted', {}, {}, 0],
  ])('%s', async (_, options, event, count) => {
    service.answers = [stallAfter(2)]
    const place = createPlace()
    const controller = new AbortController()
    const reply = place.chat({ url: service.url, prompt: 'hi', signal: controller.signal, ...options })
    const reading = read(reply)
    await expect.poll(() => reply.cursor).toBe(2)

    place.dispatch('pagehide', event)
    controller.abort()
    await reading

    expect(place.beacons).toEqual([`${service.url}/reply-1/stop`].slice(0, count))
  })

  test('sends a stop with headers where there are some, which a beacon could not', async () => {
    service.answers = [stallAfter(2)]
    const place = createPlace()
    const headers = { authorization: 'Bearer t' }
    const reply = place.chat({ url: service.url, prompt: 'hi', headers, stopOnPageHide: true })
    const iterator = reply[Symbol.asyncIterator]()
    await iterator.next()

    place.dispatch('pagehide')
    const stop = await service.asked(2)
    await iterator.return?.()

    expect(place.beacons).toEqual([])
    expect([stop.path, stop.headers.authorization]).toEqual(['/chat/reply-1/stop', 'Bearer t'])
  })
})
