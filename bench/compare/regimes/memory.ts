import { setTimeout as sleep } from 'node:timers/promises'
import { median } from '../../stats.ts'
import { openFiles } from '../processes.ts'
import type { Figures } from '../result.ts'
import { type Bench, demandWhole, interleave, loadWhole, type Regime } from '../rounds.ts'
import type { Subject } from '../subjects.ts'
import { residentBytes } from '../usage.ts'

/** Each needs two sockets in the server, which has other files too. */
const spare = 500
/** Seldom, so that a slow machine has them open too. */
const EVERY_MS = 5000

export const memory: Regime = {
  id: 'memory',
  async run(bench) {
    const { quick, rounds } = bench
    const wanted = quick ? [200] : [1000, 5000, 9500]
    const counts = wanted.filter((count) => count * 2 + spare <= openFiles)
    const result = await interleave(bench, {
      id: 'memory',
      title: 'Memory: how much an open reply takes',
      what: `Replies that get a token every ${EVERY_MS / 1000} seconds; what the server holds more than before, divided by them.`,
      base: 'pipe',
      metrics: [
        ...wanted.map((count) => ({ key: `kb${count}`, label: `KB each, ${count} open`, digits: 1 })),
        { key: 'baseMB', label: 'before MB', digits: 0 },
      ].sort((a, b) => Number(b.key === 'kb5000') - Number(a.key === 'kb5000')),
      subjects: quick ? ['pipe', 'deltarelay'] : ['pipe', 'deltarelay', 'tutorial', 'ai-sdk'],
      rounds: Math.min(rounds, 3),
      measure: (subject) => grow(bench, subject, subject.server === 'ai-sdk' ? counts.slice(0, 1) : counts),
    })
    if (counts.length === wanted.length) return result
    const missing = `At most ${openFiles} files can be open here (ulimit -H -n): not measured with ${wanted.slice(counts.length).join(', ')} replies.`
    return { ...result, notes: [...result.notes, missing] }
  },
}

/** One server with more and more open replies. */
async function grow({ lab }: Bench, subject: Subject, counts: readonly number[]): Promise<Figures> {
  const server = await lab.freshServer(subject.server)
  const figures: Record<string, number> = {}
  try {
    const few = { order: { events: 20, everyMs: 0 }, clients: 20, each: 5, rampMs: 100 }
    await loadWhole(lab, subject, few, server)
    const base = residentBytes(server.pids)
    figures['baseMB'] = base / 1e6
    let open = 0
    for (const count of counts) {
      const question = server.question(subject)
      const order = { events: 1000, everyMs: EVERY_MS }
      const more = { question, order, count: count - open, atOnce: 50, reads: true, limitMs: 120_000 }
      const held = await lab.hold(more)
      demandWhole(held)
      open = held.open
      if (open < count) throw new Error(`Only ${open} of ${count} replies began within two minutes.`)
      figures[`kb${count}`] = ((await steady(server.pids)) - base) / 1000 / open
    }
    return figures
  } finally {
    await lab.release()
    await server.stop()
  }
}

/** A collector that has just run would flatter, one that is about to the contrary. */
async function steady(pids: readonly number[]): Promise<number> {
  const sizes: number[] = []
  for (let n = 0; n < 8; n++) {
    await sleep(400)
    sizes.push(residentBytes(pids))
  }
  return median(sizes)
}
