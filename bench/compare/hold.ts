import { setTimeout as sleep } from 'node:timers/promises'
import { createConnection } from './connection.ts'
import { openStream, type Problem, type Question, type Stream } from './stream.ts'
import { nowUs, type Order } from './tokens.ts'

/** Answers that are to stay open, beside those that are. */
export interface HoldJob {
  readonly question: Question
  readonly order: Order
  readonly count: number
  /** So many may wait for their first token: a queue that overflows would tell how fast it is, not what it holds. */
  readonly atOnce: number
  /** `false`: they never take anything from the network. */
  readonly reads: boolean
  /** After that those without a token have failed. */
  readonly limitMs: number
}

export interface Held {
  /** Open, and, where they read, with their first token. */
  readonly open: number
  readonly problems: readonly Problem[]
}

const held: Stream[] = []
const problems: Problem[] = []

/** Resolves when all have their first token, or cannot have it. */
export async function hold(job: HoldJob): Promise<Held> {
  const { question, order, count, atOnce, reads, limitMs } = job
  const until = performance.now() + limitMs
  let settled = 0
  const waiting = async (opened: number, atMost: number): Promise<void> => {
    while (reads && opened - settled > atMost && performance.now() < until) await sleep(5)
  }
  for (let n = 0; n < count; n++) {
    await waiting(n, atOnce - 1)
    // The model keeps one record for each.
    const own = order.trace === undefined ? order : { ...order, trace: `${order.trace}${n}` }
    const stream = openStream(createConnection({ reads }), question, own, {
      onFirst: () => void settled++,
      onEnd(problem) {
        settled++
        held.splice(held.indexOf(stream), 1)
        problems.push(problem ?? { kind: 'failed', text: 'An answer ended that was to stay open.' })
      },
    })
    held.push(stream)
  }
  await waiting(count, 0)
  return { open: held.filter(({ tokens }) => !reads || tokens > 0).length, problems: [...problems] }
}

/** Leaves them all, at once. */
export async function release(): Promise<Held & { readonly atUs: number }> {
  const open = held.length
  const atUs = nowUs()
  for (const stream of held.splice(0)) stream.destroy()
  return { open, problems: problems.splice(0), atUs }
}
