import { interleave, loadWhole, type Regime } from '../rounds.ts'
import { everyone } from '../subjects.ts'

const CLIENTS = 16
const EACH = 5

export const connections: Regime = {
  id: 'connections',
  run(bench) {
    const { lab, quick, rounds } = bench
    const job = { order: { events: 20, everyMs: 0 }, clients: CLIENTS, each: EACH, rampMs: 0 }
    return interleave(bench, {
      id: 'connections',
      title: 'Connections: is one to the model used again?',
      what: `${CLIENTS} clients ask ${EACH} questions each, one after the other; the connections that the model saw.`,
      base: 'pipe',
      metrics: [{ key: 'opened', label: 'connections', digits: 0 }],
      subjects: quick ? ['pipe', 'deltarelay', 'tutorial'] : everyone,
      rounds: Math.min(rounds, 3),
      async measure(subject) {
        const server = await lab.freshServer(subject.server)
        try {
          const before = (await lab.upstream()).connections
          await loadWhole(lab, subject, job, server)
          return { opened: (await lab.upstream()).connections - before }
        } finally {
          await server.stop()
        }
      },
    })
  },
}
