import { setTimeout as sleep } from 'node:timers/promises'
import { interleave, loadWhole, type Regime } from '../rounds.ts'
import { residentBytes } from '../usage.ts'

const CLIENTS = 4
const EVENTS = 350_000
const MB = 1e6

export const slow: Regime = {
  id: 'slow',
  run(bench) {
    const { lab, quick, rounds } = bench
    const few = { order: { events: 50, everyMs: 0 }, clients: CLIENTS, each: 5, rampMs: 0 }
    return interleave(bench, {
      id: 'slow',
      title: 'Slow reader: clients that never read',
      what: `${CLIENTS} clients ask and never take anything from the network; the model has some 400 MB for them and writes as long as somebody takes it.`,
      base: 'pipe',
      metrics: [
        { key: 'grownMB', label: 'memory grown by MB', digits: 0 },
        { key: 'takenMB', label: 'taken from the model MB', digits: 0 },
      ],
      subjects: quick
        ? ['pipe', 'deltarelay', 'tutorial']
        : ['pipe', 'deltarelay', 'tutorial', 'langchain', 'hono', 'ai-sdk'],
      rounds: Math.min(rounds, 3),
      async measure(subject) {
        const server = await lab.freshServer(subject.server)
        try {
          await loadWhole(lab, subject, few, server)
          const base = residentBytes(server.pids)
          const before = (await lab.upstream()).handedOver
          await lab.hold({
            question: server.question(subject),
            order: { events: EVENTS, everyMs: 0 },
            count: CLIENTS,
            atOnce: CLIENTS,
            reads: false,
            limitMs: 0,
          })
          const taken = async (): Promise<number> => (await lab.upstream()).handedOver - before
          const { most, last } = await watch(() => residentBytes(server.pids), taken, quick ? 4000 : 12_000)
          return { grownMB: (most - base) / MB, takenMB: last / MB }
        } finally {
          await server.stop()
          await lab.release()
        }
      },
    })
  },
}

/** Until nothing more is taken for two seconds, or for `limitMs`. */
async function watch(
  resident: () => number,
  taken: () => Promise<number>,
  limitMs: number,
): Promise<{ readonly most: number; readonly last: number }> {
  let most = 0
  let last = 0
  const since = performance.now()
  for (let still = 0; still < 20 && performance.now() < since + limitMs; still++) {
    await sleep(100)
    most = Math.max(most, resident())
    const now = await taken()
    if (now > last) still = 0
    last = now
  }
  return { most, last }
}
