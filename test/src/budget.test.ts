import { describe, expect, test, vi } from 'vitest'
import { type Account, type AccountOptions, type Budget, createBudget } from '../../src/budget.ts'

const MAX = 1000
/** Memory is freed after the call that took it. */
const relieved = (): Promise<void> => Promise.resolve()

function growing(budget: Budget, bytes: number, options: AccountOptions = {}) {
  const onOverload = vi.fn<() => void>()
  const account = budget.open({ onOverload, ...options })
  account.add(bytes)
  return { account, onOverload }
}

/** A finished reply that is forgotten as a store does it. */
function finished(budget: Budget, bytes: number, caller?: string) {
  const account = budget.open({ caller })
  account.add(bytes)
  const forget = vi.fn<() => void>(() => account.close())
  account.finish(forget)
  return forget
}

function createClocked() {
  let time = 0
  return { budget: createBudget({ maxBytes: MAX, now: () => time }), pass: (ms: number) => (time += ms) }
}

describe('a new reply', () => {
  test('is admitted up to three quarters of the budget, and refused with a time to wait above that', () => {
    const { budget } = createClocked()
    const { account } = growing(budget, 750)
    expect(() => budget.admit()).not.toThrow()

    account.add(1)

    expect(() => budget.admit()).toThrow(
      expect.objectContaining({ code: 'overloaded', status: 503, retryable: true, retryAfterMs: 1000 }),
    )
    account.close()
    expect(() => budget.admit()).not.toThrow()
  })

  test('takes the room of finished replies, the oldest first, and of no more than it must', () => {
    const { budget, pass } = createClocked()
    const replies = [400, 400, 100].map((bytes) => finished(budget, bytes))
    pass(30_000)

    budget.admit()

    expect(replies.map((forget) => forget.mock.calls.length)).toEqual([1, 0, 0])
    expect(budget.used).toBe(500)
  })

  test('is refused rather than that a recent reply is forgotten, for as long as that is recent', () => {
    const { budget, pass } = createClocked()
    const forget = finished(budget, 800, 'ann')
    pass(10_000)

    expect(() => budget.admit('ann')).toThrow(expect.objectContaining({ retryAfterMs: 20_000 }))

    expect(forget).not.toHaveBeenCalled()
    pass(20_000)
    budget.admit('ann')
    expect(forget).toHaveBeenCalled()
  })

  test('takes the room of a caller who has more than a quarter, also of recent replies, down to the quarter', () => {
    const { budget } = createClocked()
    const others = [50, 50].map((bytes) => finished(budget, bytes, 'bob'))
    const many = Array.from({ length: 7 }, () => finished(budget, 100, 'ann'))

    expect(() => budget.admit('ann')).toThrow('memory')
    expect(budget.used).toBe(800)
    budget.admit('bob')

    expect(budget.used).toBe(700)
    expect(many[0]).toHaveBeenCalled()
    for (const forget of [...others, ...many.slice(1)]) expect(forget).not.toHaveBeenCalled()
  })

  test('takes first the room of a caller who has more than a quarter, though others have older replies', () => {
    const { budget, pass } = createClocked()
    const older = finished(budget, 200, 'bob')
    const many = Array.from({ length: 6 }, () => finished(budget, 100, 'ann'))
    pass(60_000)

    budget.admit('bob')

    expect(older).not.toHaveBeenCalled()
    expect(many[0]).toHaveBeenCalled()
  })

  test('does not take the room of callers who have their share while they have no old replies', () => {
    const { budget } = createClocked()
    const all = ['a', 'b', 'c', 'd'].map((caller) => finished(budget, 200, caller))

    expect(() => budget.admit('e')).toThrow('memory')
    for (const forget of all) expect(forget).not.toHaveBeenCalled()
  })
})

describe('what grows beyond the budget', () => {
  test('takes the room of finished replies, recent ones too, before anything is ended', async () => {
    const { budget } = createClocked()
    const forget = finished(budget, 400)
    const { account, onOverload } = growing(budget, 500)

    account.add(200)
    await relieved()

    expect(forget).toHaveBeenCalled()
    expect(onOverload).not.toHaveBeenCalled()
    expect(budget.used).toBe(700)
  })

  test('ends the largest, once, and the others go on', async () => {
    const { budget } = createClocked()
    const replies = [300, 400, 200].map((bytes) => growing(budget, bytes))

    replies[0]!.account.add(150)
    await relieved()

    expect(replies.map(({ onOverload }) => onOverload.mock.calls.length)).toEqual([1, 0, 0])
    expect(replies[0]!.account.overloaded).toBe(true)
    replies[0]!.account.close()
    await relieved()
    expect(budget.used).toBe(600)
    expect(replies.map(({ onOverload }) => onOverload.mock.calls.length)).toEqual([1, 0, 0])
  })

  test('ends a copy before a reply that is not four times as large', async () => {
    const { budget } = createClocked()
    const reply = growing(budget, 700)
    const copy = growing(budget, 250, { copy: true })

    reply.account.add(101)
    await relieved()

    expect(copy.onOverload).toHaveBeenCalled()
    expect(reply.onOverload).not.toHaveBeenCalled()
  })

  test('does not end another one for what only waits for its readers, up to a quarter more', async () => {
    const { budget } = createClocked()
    const leaving = budget.open()
    leaving.add(600)
    leaving.leave()
    const { account, onOverload } = growing(budget, 600)
    await relieved()
    expect(onOverload).not.toHaveBeenCalled()

    account.add(51)
    await relieved()

    expect(onOverload).toHaveBeenCalled()
  })

  test('is let alone where it cannot be ended', async () => {
    const { budget } = createClocked()
    budget.open().add(2 * MAX)
    await relieved()

    expect(budget.used).toBe(2 * MAX)
    expect(() => budget.admit()).toThrow('memory')
    expect(budget.fits(1)).toBe(false)
  })
})

test('counts to zero, whatever is opened, grows, finishes, leaves and closes in whatever order', async () => {
  const { budget, pass } = createClocked()
  const open: Account[] = []
  // A generator of its own: the same run each time.
  let seed = 1
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below
  for (let step = 0; step < 3000; step++) {
    const account = open[random(Math.max(1, open.length))]
    pass(random(2000))
    switch (random(7)) {
      case 0:
        open.push(budget.open({ caller: ['a', 'b', undefined][random(3)], copy: random(2) === 0 }))
        break
      case 1: {
        const made: Account = budget.open({ caller: 'c', onOverload: () => random(2) === 0 && made.close() })
        open.push(made)
        break
      }
      case 2:
        account?.add(random(400))
        break
      case 3:
        account?.finish(() => account.close())
        break
      case 4:
        account?.leave()
        break
      case 5:
        if (account) account.add(-random(account.bytes + 1))
        break
      case 6:
        if (random(3) === 0) account?.close()
        try {
          budget.admit(['a', 'b', 'c'][random(3)])
        } catch {
          // Then it is full.
        }
    }
    if (step % 5 === 0) await relieved()
    const bytes = open.reduce((sum, each) => sum + each.bytes, 0)
    if (bytes !== budget.used) expect(budget.used).toBe(bytes)
  }

  for (const account of open) account.close()

  expect(budget.used).toBe(0)
  expect(() => budget.admit()).not.toThrow()
})
