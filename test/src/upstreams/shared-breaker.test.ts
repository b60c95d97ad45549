import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Permit } from '../../../src/upstreams/breaker.ts'
import { createSharedBreaker, type SharedBreaker } from '../../../src/upstreams/shared-breaker.ts'

function clocked(options: { failures?: number; openMs?: number; callers?: number } = {}) {
  let time = 1000
  const breaker = createSharedBreaker({ ...options, now: () => time })
  return { breaker, pass: (ms: number) => void (time += ms) }
}

function enter(breaker: SharedBreaker, caller?: string): Permit {
  const permit = breaker.enter(caller)
  if (!permit) throw new Error(`the breaker let ${caller} not enter`)
  return permit
}

function fail(breaker: SharedBreaker, ...callers: readonly string[]): void {
  for (const caller of callers) enter(breaker, caller).fail()
}

test('a caller whose calls keep failing is kept away alone', () => {
  const { breaker } = clocked()

  fail(breaker, 'a', 'a', 'a', 'a', 'a')

  expect(breaker.waitMs('a')).toBe(30_000)
  expect(breaker.enter('a')).toBeUndefined()
  expect(breaker.waitMs('b')).toBe(0)
  expect(breaker.enter('b')).toBeDefined()
})

test('two callers with failures do not close the server to a third', () => {
  const { breaker } = clocked()

  fail(breaker, 'a', 'a', 'a', 'a', 'b', 'b', 'b', 'b', 'a', 'b')

  expect(breaker.waitMs('c')).toBe(0)
})

test('five failures in a row of three callers close it to all', () => {
  const { breaker, pass } = clocked()

  fail(breaker, 'a', 'a', 'b', 'c')
  expect(breaker.waitMs('d')).toBe(0)
  fail(breaker, 'a')
  expect(breaker.waitMs('d')).toBe(30_000)
  expect(breaker.enter('d')).toBeUndefined()
  pass(30_000)

  expect(breaker.enter('d')).toBeDefined()
})

test('a success of any caller in between starts the count again', () => {
  const { breaker } = clocked()

  fail(breaker, 'a', 'b', 'c', 'd')
  enter(breaker, 'e').succeed()
  fail(breaker, 'a', 'b', 'c', 'd')

  expect(breaker.waitMs('e')).toBe(0)
})

test('a call that says nothing about the server counts neither way', () => {
  const { breaker } = clocked()

  fail(breaker, 'a', 'b', 'c', 'd')
  for (const caller of ['e', 'f', 'g']) enter(breaker, caller).release()
  expect(breaker.waitMs('h')).toBe(0)
  fail(breaker, 'e')

  expect(breaker.waitMs('h')).toBe(30_000)
})

test('a time that the server names to one caller keeps that caller away alone', () => {
  const { breaker } = clocked()

  enter(breaker, 'a').fail(60_000)
  enter(breaker, 'b').fail(60_000)

  expect([breaker.waitMs('a'), breaker.waitMs('b'), breaker.waitMs('c')]).toEqual([60_000, 60_000, 0])
})

test('a time that it names to three callers closes it to all, for the shortest of them', () => {
  const { breaker, pass } = clocked()

  enter(breaker, 'a').fail(60_000)
  enter(breaker, 'b').fail(9000)
  pass(1000)
  enter(breaker, 'c').fail(20_000)

  expect(breaker.waitMs('d')).toBe(8000)
  expect(breaker.waitMs('a')).toBe(59_000)
})

test('a named time that is over does not count any more', () => {
  const { breaker, pass } = clocked()

  enter(breaker, 'a').fail(1000)
  enter(breaker, 'b').fail(1000)
  pass(1000)
  enter(breaker, 'c').fail(1000)

  expect(breaker.waitMs('d')).toBe(0)
})

test('calls without a caller are those of one caller', () => {
  const { breaker } = clocked()

  for (let i = 0; i < 5; i++) enter(breaker).fail()

  expect(breaker.waitMs()).toBe(30_000)
  expect(breaker.waitMs('a')).toBe(0)
})

test('where one caller is enough it closes to all at once', () => {
  const { breaker } = clocked({ callers: 1, failures: 2 })

  fail(breaker, 'a', 'a')

  expect(breaker.waitMs('b')).toBe(30_000)
})

test('a failed trial of one caller keeps that caller away alone; three close it again', () => {
  const { breaker, pass } = clocked()
  fail(breaker, 'a', 'a', 'b', 'c', 'd')
  pass(30_000)

  fail(breaker, 'e')
  expect(breaker.waitMs('e')).toBe(30_000)
  expect(breaker.waitMs('f')).toBe(0)
  fail(breaker, 'f')
  expect(breaker.waitMs('g')).toBe(0)
  fail(breaker, 'g')

  expect(breaker.waitMs('h')).toBe(30_000)
})

test('a trial that does not end leaves room for those of two other callers', () => {
  const { breaker, pass } = clocked()
  fail(breaker, 'a', 'a', 'b', 'c', 'd')
  pass(30_000)

  enter(breaker, 'e')
  expect(breaker.enter('e')).toBeUndefined()
  enter(breaker, 'f')
  const third = enter(breaker, 'g')
  expect(breaker.enter('h')).toBeUndefined()
  expect(breaker.waitMs('h')).toBe(1000)
  third.begin()

  expect(breaker.enter('h')).toBeDefined()
})

test('a trial that begins closes it', () => {
  const { breaker, pass } = clocked()
  fail(breaker, 'a', 'a', 'b', 'c', 'd')
  pass(30_000)

  enter(breaker, 'e').begin()
  fail(breaker, 'f', 'g', 'h', 'f')

  expect(breaker.waitMs('i')).toBe(0)
})

test('it keeps the breakers of a thousand callers', () => {
  const { breaker } = clocked({ failures: 1, callers: Infinity })

  for (let i = 0; i <= 1000; i++) fail(breaker, `caller ${i}`)

  expect(breaker.waitMs('caller 0')).toBe(0)
  expect(breaker.waitMs('caller 1')).toBeGreaterThan(0)
})

type Step =
  | { readonly do: 'enter'; readonly caller: string }
  | { readonly do: 'pass'; readonly ms: number }
  | {
      readonly do: 'end'
      readonly which: number
      readonly how: 'begin' | 'succeed' | 'fail' | 'release' | 'ask'
    }

const caller = fc.constantFrom('a', 'b', 'c', 'd', 'e')
const how = fc.constantFrom('begin', 'succeed', 'fail', 'fail', 'fail', 'release', 'ask')
const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('enter' as const), caller }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 50, 100) }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('end' as const), which: fc.nat(3), how }) },
  ),
  { maxLength: 150 },
)

/** What one caller did since the last success of anyone. */
interface Since {
  readonly callers: Set<string>
  failures: number
}

// What every caller may rely on, whatever the others do.
test('fewer than three failing callers never keep another away, whatever calls begin and end in whatever order', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 5 }), (list: readonly Step[], failures) => {
      const { breaker, pass } = clocked({ failures, openMs: 100 })
      const since: Since = { callers: new Set(), failures: 0 }
      const calls: { readonly caller: string; readonly permit: Permit; over: boolean }[] = []
      for (const step of list) {
        if (step.do === 'pass') pass(step.ms)
        else if (step.do === 'enter') {
          const permit = breaker.enter(step.caller)
          expect(permit === undefined).toBe(permit === undefined && breaker.waitMs(step.caller) > 0)
          if (permit) calls.unshift({ caller: step.caller, permit, over: false })
        } else {
          const call = calls[step.which]
          if (!call) continue
          if (step.how === 'ask') call.permit.fail(50)
          else call.permit[step.how]()
          if (call.over || step.how === 'begin') continue
          call.over = true
          if (step.how === 'fail' || step.how === 'ask') {
            since.callers.add(call.caller)
            since.failures++
          }
        }
        // The stranger has never called: what keeps it away is the layer that is common to all.
        if (since.callers.size < 3) expect(breaker.waitMs('stranger')).toBe(0)
        if (breaker.waitMs('stranger') === 0 && since.callers.size < 3) {
          const permit = breaker.enter('stranger')
          expect(permit).toBeDefined()
          permit?.release()
        }
      }
    }),
    { numRuns: 1000 },
  )
})
