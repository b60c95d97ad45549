import type { Figures } from '../result.ts'
import { type Bench, interleave, type Regime } from '../rounds.ts'
import type { Subject, SubjectName } from '../subjects.ts'

const EVERY_MS = 50
const LIMIT_MS = 50
/** The answer is known to so much. */
const STEP = 1.13

/** A search that takes longer ends with what it knows. */
const SEARCH_MS = 150_000

/** Where the first search of each begins. */
const guesses: Partial<Record<SubjectName, number>> = { 'ai-sdk': 80, tutorial: 400 }

export const capacity: Regime = {
  id: 'capacity',
  run(bench) {
    const { quick, rounds } = bench
    const found = new Map<SubjectName, number>()
    return interleave(bench, {
      id: 'capacity',
      title: 'Capacity: how many answers one processor carries',
      what: `Answers of ${1000 / EVERY_MS} tokens a second; the largest number (in steps of ${Math.round((STEP - 1) * 100)} %) whose p99 from model to client is below ${LIMIT_MS} ms.`,
      base: 'tutorial',
      metrics: [
        { key: 'streams', label: 'answers at once', digits: 0 },
        { key: 'p99', label: 'p99 ms', digits: 1 },
        { key: 'busy', label: 'busy %', digits: 0, medianOnly: true },
        { key: 'beside', label: 'model, clients %', digits: 0, medianOnly: true },
      ],
      subjects: quick ? ['deltarelay', 'tutorial'] : ['pipe', 'deltarelay', 'tutorial', 'ai-sdk'],
      rounds: Math.min(rounds, 3),
      async measure(subject) {
        const last = found.get(subject.name)
        const guess = last ?? (quick ? 20 : (guesses[subject.name] ?? 600))
        const best = await search((streams) => carries(bench, subject, streams), {
          guess,
          stride: last === undefined ? STEP ** 4 : STEP,
          tries: quick ? 1 : 9,
        })
        if (best?.['streams']) found.set(subject.name, best['streams'])
        return best ?? { streams: null }
      },
    })
  },
}

interface Search {
  readonly guess: number
  /** Until it is between two numbers, these are so far apart. */
  readonly stride: number
  readonly tries: number
}

/** The figures of the largest number that is carried. */
async function search(
  carries: (streams: number) => Promise<Figures | undefined>,
  { guess, stride, tries }: Search,
): Promise<Figures | undefined> {
  let best: Figures | undefined
  let [low, high] = [0, Infinity]
  let next = guess
  const until = performance.now() + SEARCH_MS
  for (let n = 0; n < tries && next >= 5 && (low === 0 || high / low > STEP * 1.001); n++) {
    if (performance.now() > until) break
    // What goes wrong once may have had another reason.
    const figures = (await carries(next)) ?? (await carries(next))
    if (figures) [low, best] = [next, figures]
    else high = next
    if (high === Infinity) next = Math.round(low * stride)
    else if (low === 0) next = Math.round(high / stride)
    else next = Math.round(Math.sqrt(low * high))
  }
  return best
}

/** Late or broken answers are the answer no; wrong ones are an error. */
async function carries(
  { lab, quick, progress }: Bench,
  subject: Subject,
  streams: number,
): Promise<Figures | undefined> {
  progress(`capacity: ${subject.name} with ${streams} answers`)
  const server = await lab.server(subject.server)
  const rampMs = Math.max(500, streams * (subject.name === 'ai-sdk' ? 12 : 5))
  const window = { settleMs: quick ? 200 : 1000, ms: quick ? 800 : 2000 }
  const events = Math.ceil((rampMs + window.settleMs + window.ms + 1000) / EVERY_MS)
  const { problems, p99, ms, cpuNs, besideNs, deltas } = await lab.load({
    question: server.question(subject),
    order: { events, everyMs: EVERY_MS },
    clients: streams,
    rampMs,
    window,
    pids: server.pids,
    limitMs: rampMs + 20_000,
  })
  const wrong = problems.find(({ kind }) => kind === 'wrong')
  if (wrong) throw new Error(wrong.text)
  if (problems.length > 0 || deltas === 0 || !(p99 < LIMIT_MS)) return undefined
  return { streams, p99, busy: (100 * cpuNs) / 1e6 / ms, beside: (100 * besideNs) / 1e6 / ms }
}
