import { interleave, loadWhole, type Regime } from '../rounds.ts'
import { cpuNs, residentBytes } from '../usage.ts'

export const cold: Regime = {
  id: 'cold',
  run(bench) {
    const { lab, quick, rounds } = bench
    const one = { order: { events: 1, everyMs: 0 }, clients: 1, rampMs: 0 }
    return interleave(bench, {
      id: 'cold',
      title: 'Cold start: from nothing to the first token',
      what: 'A process is started, and asked once it listens. On AWS Lambda: npm run bench:cold.',
      base: 'pipe',
      metrics: [
        { key: 'bothMs', label: 'to first token ms', digits: 0 },
        { key: 'readyMs', label: 'to listening ms', digits: 0 },
        { key: 'firstMs', label: 'first question ms', digits: 0 },
        { key: 'cpuMs', label: 'CPU ms', digits: 0 },
        { key: 'residentMB', label: 'memory MB', digits: 0 },
      ],
      subjects: quick
        ? ['pipe', 'deltarelay', 'tutorial']
        : ['pipe', 'deltarelay', 'tutorial', 'langchain', 'hono', 'ai-sdk'],
      rounds,
      async measure(subject) {
        const server = await lab.freshServer(subject.server)
        try {
          const { firstMs } = await loadWhole(lab, subject, one, server)
          const [first = Number.NaN] = firstMs
          return {
            bothMs: server.readyMs + first,
            readyMs: server.readyMs,
            firstMs: first,
            cpuMs: cpuNs(server.pids) / 1e6,
            residentMB: residentBytes(server.pids) / 1e6,
          }
        } finally {
          await server.stop()
        }
      },
    })
  },
}
