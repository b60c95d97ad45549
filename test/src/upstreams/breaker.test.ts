import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Breaker, createBreaker, type Permit } from '../../../src/upstreams/breaker.ts'

function clocked(options: { failures?: number; openMs?: number } = {}) {
  let time = 1000
  const breaker = createBreaker({ ...options, now: () => time })
  return { breaker, pass: (ms: number) => void (time += ms) }
}

function enter(breaker: Breaker): Permit {
  const permit = breaker.enter()
  if (!permit) throw new Error('the breaker gave no leave')
  return permit
}

function fail(breaker: Breaker, times: number): void {
  for (let i = 0; i < times; i++) enter(breaker).fail()
}

test('five failures in a row open it for 30 seconds', () => {
  const { breaker, pass } = clocked()

  fail(breaker, 4)
  expect(breaker.waitMs()).toBe(0)
  fail(breaker, 1)
  expect(breaker.waitMs()).toBe(30_000)
  pass(29_999)
  expect(breaker.enter()).toBeUndefined()
  pass(1)

  expect(breaker.waitMs()).toBe(0)
  expect(breaker.enter()).toBeDefined()
})

test('a success starts the count anew', () => {
  const { breaker } = clocked()

  fail(breaker, 4)
  enter(breaker).succeed()
  fail(breaker, 4)

  expect(breaker.waitMs()).toBe(0)
})

test('a call that says nothing about the server changes nothing', () => {
  const { breaker } = clocked({ failures: 2 })

  fail(breaker, 1)
  enter(breaker).release()
  expect(breaker.waitMs()).toBe(0)
  fail(breaker, 1)

  expect(breaker.waitMs()).toBeGreaterThan(0)
})

test('when the time is over, one trial at a time gets through', () => {
  const { breaker, pass } = clocked()
  fail(breaker, 5)
  pass(30_000)

  const trial = enter(breaker)

  expect(breaker.enter()).toBeUndefined()
  expect(breaker.waitMs()).toBe(1000)
  trial.release()
  expect(breaker.enter()).toBeDefined()
  expect(breaker.enter()).toBeUndefined()
})

test('a trial that succeeds closes it, and all of the count is forgotten', () => {
  const { breaker, pass } = clocked()
  fail(breaker, 5)
  pass(30_000)

  enter(breaker).succeed()

  fail(breaker, 4)
  expect(breaker.waitMs()).toBe(0)
})

test('a trial that has begun closes it, and its failure after that is one of a closed breaker', () => {
  const { breaker, pass } = clocked({ failures: 2 })
  fail(breaker, 2)
  pass(30_000)
  const trial = enter(breaker)

  trial.begin()
  expect(breaker.waitMs()).toBe(0)
  trial.fail()
  expect(breaker.waitMs()).toBe(0)
  fail(breaker, 1)

  expect(breaker.waitMs()).toBe(30_000)
})

test('a trial that fails opens it again, for as long', () => {
  const { breaker, pass } = clocked()
  fail(breaker, 5)
  pass(30_000)

  enter(breaker).fail()

  expect(breaker.waitMs()).toBe(30_000)
})

test.each([
  [1, 1],
  [2000, 2000],
  [60_000, 60_000],
  [3_600_000, 60_000],
  [Infinity, 60_000],
])('a server that asks for %d ms is left alone at once, for %d ms', (asked, waitMs) => {
  const { breaker } = clocked()

  enter(breaker).fail(asked)

  expect(breaker.waitMs()).toBe(waitMs)
})

test.each([0, undefined])('a server that asks for %s has failed once, no more', (asked) => {
  const { breaker } = clocked({ failures: 2 })

  enter(breaker).fail(asked)
  expect(breaker.waitMs()).toBe(0)
  enter(breaker).fail(asked)

  expect(breaker.waitMs()).toBe(30_000)
})

test('of one call only the first word counts', () => {
  const { breaker } = clocked({ failures: 2 })
  const permit = enter(breaker)

  permit.succeed()
  permit.fail()
  permit.fail()
  permit.fail(5000)

  expect(breaker.waitMs()).toBe(0)
})

test('a call that began before it opened does not close it, nor prolong it', () => {
  const { breaker, pass } = clocked({ failures: 1 })
  const early = [enter(breaker), enter(breaker), enter(breaker)] as const
  fail(breaker, 1)
  pass(10_000)

  early[0].succeed()
  early[1].fail()
  expect(breaker.waitMs()).toBe(20_000)
  pass(20_000)
  enter(breaker)
  early[2].release()

  expect(breaker.enter()).toBeUndefined()
})

type Event =
  | { readonly do: 'enter' }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'tell'; readonly which: number; readonly how: 'begin' | 'succeed' | 'fail' | 'release' }

const events = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.constant<Event>({ do: 'enter' }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 50, 100) }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('tell' as const),
        which: fc.nat(3),
        how: fc.constantFrom(
          'begin' as const,
          'succeed' as const,
          'fail' as const,
          'fail' as const,
          'release' as const,
        ),
      }),
    },
  ),
  { maxLength: 120 },
)

/** The rules as a book of states, to compare with. */
interface Model {
  state: 'closed' | 'open' | 'half-open'
  failed: number
  until: number
  trial: object | undefined
  /** Calls whose word counts. */
  current: Set<object>
}

test('it does what the rules say, whatever calls begin and end in whatever order', () => {
  fc.assert(
    fc.property(events, fc.integer({ min: 1, max: 4 }), (list, failures) => {
      const { breaker, pass } = clocked({ failures, openMs: 100 })
      let time = 0
      const model: Model = { state: 'closed', failed: 0, until: 0, trial: undefined, current: new Set() }
      const calls: Permit[] = []

      const turn = (state: 'closed' | 'open'): void => {
        Object.assign(model, { state, failed: 0, until: time + 100, trial: undefined, current: new Set() })
      }
      for (const event of list) {
        if (event.do === 'pass') {
          pass(event.ms)
          time += event.ms
        } else if (event.do === 'enter') {
          if (model.state === 'open' && time >= model.until) model.state = 'half-open'
          const allowed = model.state === 'closed' || (model.state === 'half-open' && !model.trial)
          const permit = breaker.enter()
          expect(permit !== undefined).toBe(allowed)
          if (!permit) continue
          calls.unshift(permit)
          model.current.add(permit)
          if (model.state === 'half-open') model.trial = permit
        } else {
          const permit = calls[event.which]
          permit?.[event.how]()
          if (permit && event.how === 'begin') {
            if (model.trial !== permit || !model.current.has(permit)) continue
            turn('closed')
            model.current.add(permit)
            continue
          }
          if (!permit || !model.current.delete(permit)) continue
          const isTrial = model.trial === permit
          if (isTrial) model.trial = undefined
          if (event.how === 'succeed' && isTrial) turn('closed')
          else if (event.how === 'succeed') model.failed = 0
          else if (event.how === 'fail' && (isTrial || ++model.failed >= failures)) turn('open')
        }
        const open = model.state === 'open' ? Math.max(0, model.until - time) : 0
        expect(breaker.waitMs()).toBe(model.trial ? 1000 : open)
      }
    }),
    { numRuns: 1000 },
  )
})
