import { interleave, loadWhole, type Regime } from '../rounds.ts'
import { everyone } from '../subjects.ts'

const STREAMS = 60
const EVENTS = 400

export const r3: Regime = {
  id: 'r3',
  run({ lab, rounds, ...rest }) {
    const job = { order: { events: EVENTS, everyMs: 0 }, clients: STREAMS, rampMs: 0 }
    return interleave(
      { lab, rounds, ...rest },
      {
        id: 'r3',
        title: 'R3 · burst: as fast as the model can',
        what: `${STREAMS} answers of ${EVENTS} tokens at once, three times, nothing paced; what the requests cost is in it.`,
        base: 'pipe',
        metrics: [
          { key: 'cpuUs', label: 'CPU µs per delta', digits: 1 },
          { key: 'streams', label: 'streams/s', digits: 0 },
          { key: 'bytes', label: 'bytes per delta', digits: 0 },
        ],
        subjects: everyone,
        rounds,
        warmUp: (subject) => loadWhole(lab, subject, { ...job, each: rest.quick ? 1 : 2 }),
        async measure(subject) {
          const { ms, cpuNs, deltas, bytes } = await loadWhole(lab, subject, {
            ...job,
            each: rest.quick ? 1 : 3,
          })
          const streams = deltas / EVENTS / (ms / 1000)
          return { cpuUs: cpuNs / 1000 / deltas, streams, bytes: bytes / deltas }
        },
      },
    )
  },
}
