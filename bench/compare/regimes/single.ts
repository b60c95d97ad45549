import { median } from '../../stats.ts'
import { interleave, loadWhole, type Regime } from '../rounds.ts'
import { everyone, subjectOf } from '../subjects.ts'

export const r0: Regime = {
  id: 'r0',
  run(bench) {
    const { lab, quick, rounds } = bench
    const requests = quick ? 50 : 300
    const job = { order: { events: 1, everyMs: 0 }, clients: 1, each: requests, rampMs: 0 }
    const direct = subjectOf('direct')
    return interleave(bench, {
      id: 'r0',
      title: 'R0 · one token: what a request costs',
      what: `${requests} answers of one token, one after the other; the model itself is asked before each subject.`,
      base: 'pipe',
      metrics: [
        { key: 'cpuUs', label: 'CPU µs per request', digits: 0 },
        { key: 'firstMs', label: 'first token ms', digits: 2 },
        { key: 'addedMs', label: 'over the model ms', digits: 2 },
      ],
      subjects: everyone,
      rounds,
      warmUp: (subject) => loadWhole(lab, subject, { ...job, each: quick ? 10 : 300 }),
      async measure(subject) {
        const directMs = median((await loadWhole(lab, direct, job)).firstMs)
        const { cpuNs, firstMs } = await loadWhole(lab, subject, job)
        const ms = median(firstMs)
        return { cpuUs: cpuNs / 1000 / requests, firstMs: ms, addedMs: ms - directMs }
      },
    })
  },
}
