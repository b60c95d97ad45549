import { cpuNs } from '../usage.ts'
import { interleave, loadWhole, type Regime } from '../rounds.ts'
import { pacedFigures, pacedJob, pacedMetrics } from './paced.ts'

export const stores: Regime = {
  id: 'stores',
  async run(bench) {
    const { lab, rounds } = bench
    const pace = { streams: 100, everyMs: 20 }
    const job = pacedJob(pace, bench)
    const [cpu, ...others] = pacedMetrics
    return interleave(bench, {
      id: 'stores',
      title: 'Stores: the log of each reply in memory or in Redis',
      what: 'As R1; Redis is on the processor of the model and the clients.',
      base: 'deltarelay',
      metrics: [cpu!, { key: 'redisUs', label: 'of Redis', digits: 1 }, ...others],
      subjects: ['deltarelay', 'deltarelay, redis'],
      rounds,
      warmUp: (subject) => loadWhole(lab, subject, pacedJob(pace, { quick: true })),
      async measure(subject) {
        const redis = (): number => cpuNs([lab.redisPid()].filter((pid) => pid !== undefined))
        const before = redis()
        const load = await loadWhole(lab, subject, job)
        // Over all deltas, not those of the window alone.
        const redisUs = (redis() - before) / 1000 / (job.order.events * job.clients)
        return { ...pacedFigures(load), redisUs: subject.server === 'redis' ? redisUs : null }
      },
    })
  },
}
