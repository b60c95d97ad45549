import { describe, expect, test } from 'vitest'
import { check } from '../../bench/chaos/check.ts'
import type { End, Fault, History, ReaderHistory, Sighting } from '../../bench/chaos/history.ts'
import type { Delta, Script } from '../../bench/chaos/truth.ts'

const id = 'r1'
const start: Delta = { type: 'start', id, model: 'm', createdAt: 1 }
const [one, two, three] = ['one ', 'two ', 'three '].map((text): Delta => ({ type: 'text', text }))
const finish: Delta = { type: 'finish', reason: 'stop' }
const cancelled: Delta = { type: 'finish', reason: 'cancelled' }
const whole = [start, one!, two!, three!, finish]
const script: Script = {
  pieces: ['one ', 'two ', 'three '],
  everyMs: 1,
  silentAt: 0,
  silentMs: 0,
  usage: false,
  ending: 'stop',
}
const terminal: End = { how: 'terminal', at: 900 }

function error(code: string): Delta {
  return { type: 'error', code, message: 'm', retryable: true }
}

/** Deltas numbered from 1, one every 100 ms from 100 on, all from one server. */
function seen(deltas: readonly Delta[], { instance = 'A', from = 1, at = 100 } = {}): Sighting[] {
  return deltas.map((delta, index) => ({ at: at + index * 100, instance, seq: from + index, delta }))
}

function reader(sightings: Sighting[], more: Partial<ReaderHistory> = {}): ReaderHistory {
  return { name: 'r', startedAt: 0, replyId: id, sightings, end: terminal, afterEnd: undefined, ...more }
}

function history(readers: ReaderHistory[], more: Partial<History> = {}): History {
  return {
    n: 1,
    prompt: 'p',
    script,
    posts: [{ at: 50, instance: 'A', replyId: id }],
    readers,
    visits: [{ from: 60, to: 1000 }],
    stop: undefined,
    imposter: undefined,
    head: undefined,
    abandoned: false,
    calls: [{ at: 60, closedAt: 600 }],
    story: [],
    ...more,
  }
}

function fault(kind: Fault['kind'], at: number, instance?: string): Fault {
  return { kind, at, until: at + 500, ...(instance === undefined ? {} : { instance }) }
}

/** The categories of what was found, and what was allowed, each once. */
function judge(subject: History, ...faults: Fault[]): string[] {
  const { findings, allowed } = check(subject, faults)
  const names = [
    ...findings.map(({ category }) => category),
    ...allowed.map(({ what, because }) => `${what} (${because})`),
  ]
  return [...new Set(names)]
}

describe('nothing is found', () => {
  test('in a whole answer, over two servers, and nothing after it', () => {
    const sightings = [
      ...seen(whole.slice(0, 2)),
      ...seen(whole.slice(2), { instance: 'B', from: 3, at: 300 }),
    ]

    expect(
      judge(history([reader(sightings, { afterEnd: { status: 204, at: 950, instance: 'C' } })])),
    ).toEqual([])
  })

  test('where the model failed, and the reader was told', () => {
    const cut = { ...script, ending: 'cut' as const }

    expect(
      judge(history([reader(seen([start, one!, error('upstream-truncated')]))], { script: cut })),
    ).toEqual(['upstream-truncated (model)'])
  })

  test('where somebody stopped it', () => {
    const stop = { at: 200, askedAt: 200, attempts: 1, ackAt: 220, said: 'stopped' }

    expect(judge(history([reader(seen([start, one!, cancelled]))], { stop }))).toEqual(['cancelled (stop)'])
  })

  test('where nobody read it for long enough', () => {
    const abandoned = reader(seen([start, { ...cancelled, raw: 'abandoned' }], { at: 4000 }))
    const visits = [
      { from: 60, to: 1000 },
      { from: 4000, to: 4100 },
    ]

    expect(judge(history([abandoned], { visits }))).toEqual(['cancelled: abandoned (left)'])
  })
})

describe('what must never be is found', () => {
  const gap = [...seen(whole.slice(0, 2)), ...seen(whole.slice(3), { from: 4, at: 300 })]
  const twice = [...seen(whole.slice(0, 3)), ...seen(whole.slice(2), { from: 3, at: 400 })]
  const swapped = seen([start, two!, one!, three!, finish])
  const stranger = seen([{ ...start, id: 'r2' }, ...whole.slice(1)])
  const nameless = seen(whole).map((sighting, at) => (at === 2 ? { ...sighting, seq: undefined } : sighting))

  test.each<[string, string[], History]>([
    ['a gap', ['lost'], history([reader(gap)])],
    ['a delta twice', ['duplicated'], history([reader(twice)])],
    ['deltas in another order', ['wrong'], history([reader(swapped)])],
    ['a start of another reply', ['wrong'], history([reader(stranger)])],
    ['a delta without a number', ['wrong', 'lost'], history([reader(nameless)])],
    ['a finish before the end', ['false-finish'], history([reader(seen([start, one!, finish]))])],
    [
      'a finish of another kind',
      ['false-finish'],
      history([reader(seen([...whole.slice(0, 4), { type: 'finish', reason: 'length' }]))]),
    ],
    [
      'a finish where the model was cut',
      ['false-finish'],
      history([reader(seen(whole))], { script: { ...script, ending: 'cut' } }),
    ],
    ['something after the end', ['wrong'], history([reader(seen([...whole, one!]))])],
    ['a reader that is never done', ['hang'], history([reader(seen(whole.slice(0, 3)), { end: undefined })])],
    [
      'a failure of a model that did not fail',
      ['lost'],
      history([reader(seen([start, error('upstream-truncated')]))]),
    ],
    ['a cancellation that nobody asked for', ['lost'], history([reader(seen([start, one!, cancelled]))])],
    [
      'an abandonment while it was read',
      ['lost'],
      history([reader(seen([start, { ...cancelled, raw: 'abandoned' }]))]),
    ],
    [
      'a whole answer after a stop that stopped',
      ['wrong'],
      history([reader(seen(whole))], {
        stop: { at: 200, askedAt: 200, attempts: 1, ackAt: 220, said: 'stopped' },
      }),
    ],
    [
      'a model that is asked long after a stop',
      ['cancelled (stop)', 'wrong'],
      history([reader(seen([start, cancelled]))], {
        stop: { at: 100, askedAt: 100, attempts: 1, ackAt: 120, said: 'stopped' },
        calls: [{ at: 60, closedAt: 9000 }],
      }),
    ],
    [
      'two calls for one reply',
      ['calls'],
      history([reader(seen(whole))], { calls: [1, 2].map((at) => ({ at, closedAt: 600 })) }),
    ],
    ['no call for a reply', ['calls'], history([reader(seen(whole))], { calls: [] })],
    [
      'another answer under the same key',
      ['wrong'],
      history([reader(seen(whole))], { imposter: { at: 300, instance: 'B', status: 200 } }),
    ],
    [
      'a head that says it is longer than it is',
      ['wrong'],
      history([reader(seen(whole))], {
        head: { at: 999, instance: 'B', status: 200, state: 'ended', length: 6 },
      }),
    ],
    [
      'two replies for one key',
      ['calls'],
      history(
        [reader(seen(whole)), reader(seen([{ ...start, id: 'r2' }, ...whole.slice(1)]), { replyId: 'r2' })],
        {
          calls: [1, 2].map((at) => ({ at, closedAt: 600 })),
        },
      ),
    ],
    [
      'two readers that disagree',
      ['lost', 'wrong'],
      history([reader(seen(whole)), reader(seen([start, one!, error('producer-lost')]))]),
    ],
    [
      'more where another reader saw the end',
      ['cancelled (stop)', 'wrong'],
      history([reader(seen([start, cancelled])), reader(seen(whole.slice(0, 4)))], {
        stop: { at: 100, askedAt: 100, attempts: 1, ackAt: 120, said: 'stopped' },
      }),
    ],
  ])('%s', (_, expected, subject) => {
    expect(judge(subject).sort()).toEqual([...expected].sort())
  })
})

describe('a loss needs a reason that struck this reply, before it was told', () => {
  const lost = (what: string): History => {
    return history([reader(seen(whole.slice(0, 3)), { end: { how: 'lost', what, at: 900, instance: 'B' } })])
  }
  const died = history([reader(seen([start, one!, error('producer-lost')]))])

  test.each<[string, string[], History, Fault[]]>([
    ['nothing', ['lost'], died, []],
    ['its server was killed', ['producer-lost (kill)'], died, [fault('kill', 250, 'A')]],
    ['another server was killed', ['lost'], died, [fault('kill', 250, 'C')]],
    ['its server was killed later', ['lost'], died, [fault('kill', 350, 'A')]],
    ['404 after a flush', ['404 (flush)'], lost('404'), [fault('flush', 500)]],
    ['404 after a kill of Redis, which forgets nothing', ['lost'], lost('404'), [fault('redis-kill', 500)]],
    ['404 after a rollback', ['404 (redis-rollback)'], lost('404'), [fault('redis-rollback', 500)]],
    ['409 after a kill', ['409 (kill)'], lost('409'), [fault('kill', 500, 'A')]],
    ['409 without any', ['lost'], lost('409'), []],
    ['something that the protocol does not know', ['lost'], lost('500'), [fault('flush', 500)]],
  ])('%s', (_, expected, subject, faults) => {
    expect(judge(subject, ...faults)).toEqual(expected)
  })

  test('what was seen at the producer alone may be lost with it', () => {
    const subject = history([
      reader(seen(whole.slice(0, 3)), { end: { how: 'lost', what: '409', at: 900, instance: 'B' } }),
      reader(seen([start, one!, error('producer-lost')], { instance: 'B', at: 600 })),
    ])

    expect(judge(subject, fault('kill', 350, 'A'))).toEqual([
      '409 (kill)',
      'producer-lost (kill)',
      'tail lost with its producer (kill)',
    ])
    expect(judge(subject, fault('kill', 350, 'B'))).toContain('wrong')
  })

  test('an end that was seen may be lost by a store that forgets, and by nothing else', () => {
    const later = seen([start, error('producer-lost')], { instance: 'B', at: 5000 })
    const subject = history([reader(seen([start, finish])), reader(later)], {
      script: { ...script, pieces: [] },
    })

    expect(judge(subject, fault('redis-rollback', 700))).toEqual([
      'producer-lost (redis-rollback)',
      'tail lost with its store (redis-rollback)',
    ])
    expect(judge(subject, fault('redis-kill', 700))).toContain('wrong')
  })

  test('a key may be asked again when the store forgot it', () => {
    const subject = history([reader(seen(whole))], {
      calls: [1, 800].map((at) => ({ at, closedAt: at + 1 })),
    })

    expect(judge(subject, fault('flush', 500))).toEqual(['asked again under the same key (flush)'])
    expect(judge(subject, fault('flush', 900))).toEqual(['calls'])
  })
})
