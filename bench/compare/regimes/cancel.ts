import { setTimeout as sleep } from 'node:timers/promises'
import { median } from '../../stats.ts'
import { demandWhole, interleave, type Regime } from '../rounds.ts'
import { elapsedMs } from '../tokens.ts'

const STREAMS = 20
const WAIT_MS = 4000

/** What did not happen within `WAIT_MS` is counted, and has no time. */
export const cancel: Regime = {
  id: 'cancel',
  run(bench) {
    const { lab, quick, rounds } = bench
    return interleave(bench, {
      id: 'cancel',
      title: 'Cancel: the client leaves, and the model goes on?',
      what: `${STREAMS} clients leave at once; the time until the connection to the model is closed, and the tokens it wrote meanwhile, waiting ${WAIT_MS / 1000} s at most.`,
      base: 'pipe',
      metrics: [
        { key: 'medianMs', label: 'median ms', digits: 1 },
        { key: 'maxMs', label: 'max ms', digits: 1 },
        { key: 'never', label: `never, of ${STREAMS}`, digits: 0 },
        { key: 'wasted', label: 'tokens wasted by each', digits: 1 },
      ],
      subjects: quick
        ? ['pipe', 'deltarelay, cancel', 'tutorial']
        : ['nginx', 'pipe', 'deltarelay, cancel', 'tutorial', 'langchain', 'hono', 'ai-sdk'],
      rounds,
      async measure(subject, round) {
        const server = await lab.server(subject.server)
        const name = `${subject.name} ${round} `
        const order = { events: 300, everyMs: 20, trace: name }
        const question = server.question(subject)
        demandWhole(
          await lab.hold({ question, order, count: STREAMS, atOnce: STREAMS, reads: true, limitMs: 10_000 }),
        )
        await sleep(300)
        const { atUs, problems } = await lab.release()
        demandWhole({ problems })
        const traces = async () => {
          const all = Object.entries((await lab.upstream()).traces)
          return all.filter(([key]) => key.startsWith(name)).map(([, trace]) => trace)
        }
        const until = performance.now() + WAIT_MS
        while (performance.now() < until) {
          await sleep(100)
          if ((await traces()).every(({ closedUs }) => closedUs !== undefined)) break
        }
        const seen = await traces()
        const times = seen.flatMap(({ closedUs }) =>
          closedUs === undefined ? [] : elapsedMs(atUs, closedUs),
        )
        const wasted = seen.flatMap(({ tokensUs }) => tokensUs.filter((at) => isAfter(at, atUs)))
        // Whoever goes on is done before the next one is measured.
        if (times.length < STREAMS) await sleep(3000)
        return {
          medianMs: times.length > 0 ? median(times) : null,
          maxMs: times.length > 0 ? Math.max(...times) : null,
          never: STREAMS - times.length,
          wasted: wasted.length / STREAMS,
        }
      },
    })
  },
}

/** The clock begins anew every thousand seconds. */
function isAfter(atUs: number, beforeUs: number): boolean {
  return elapsedMs(beforeUs, atUs) < 500_000
}
