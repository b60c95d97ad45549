import { ratioOf, type Result, summaryOf } from './result.ts'

/** What a figure has to be, and what it ought to be. */
interface Target {
  readonly regime: string
  readonly key: string
  readonly what: string
  readonly subject: string
  /** The ratio to this subject; without it the subject's own figure. */
  readonly to?: string
  readonly at: 'most' | 'least'
  readonly must: number
  readonly aim: number
}

const ours = 'deltarelay'

const targets: readonly Target[] = [
  ...ratios('r1', 'cpuUs', 'R1 CPU per delta', [
    [ours, 'pipe', 'most', 1.7, 1.4],
    ['tutorial', ours, 'least', 1.35, 1.8],
    ['ai-sdk', ours, 'least', 3.5, 5],
  ]),
  ...ratios('r1', 'p50', 'R1 delay p50', [[ours, 'pipe', 'most', 1.3, 1.15]]),
  ...ratios('r3', 'cpuUs', 'R3 CPU per delta', [
    [ours, 'pipe', 'most', 3, 2.2],
    ['tutorial', ours, 'least', 2, 2.5],
    ['ai-sdk', ours, 'least', 6, 9],
  ]),
  ...ratios('r0', 'cpuUs', 'R0 CPU per request', [[ours, 'tutorial', 'most', 0.75, 0.55]]),
  ...ratios('r0', 'addedMs', 'R0 first token, over the model', [[ours, 'tutorial', 'most', 0.65, 0.5]]),
  ...ratios('dialects', 'cpuUs', 'dialects, CPU per delta', [
    ['deltarelay, openai', ours, 'most', 1.25, 1.1],
    ['deltarelay, ai-sdk', ours, 'most', 1.25, 1.1],
  ]),
  ...ratios('stores', 'cpuUs', 'stores, CPU per delta', [['deltarelay, redis', ours, 'most', 1.8, 1.4]]),
  ...ratios('capacity', 'streams', 'capacity', [
    [ours, 'tutorial', 'least', 1.5, 2],
    [ours, 'ai-sdk', 'least', 5, 9],
  ]),
  ...ratios('memory', 'kb5000', 'memory of each of 5,000 open replies', [[ours, 'pipe', 'most', 1.6, 1.25]]),
  {
    regime: 'slow',
    key: 'grownMB',
    what: 'slow reader, MB grown',
    subject: ours,
    at: 'most',
    must: 40,
    aim: 20,
  },
  {
    regime: 'cancel',
    key: 'medianMs',
    what: 'cancel, median ms',
    subject: 'deltarelay, cancel',
    at: 'most',
    must: 15,
    aim: 15,
  },
  ...ratios('cancel', 'medianMs', 'cancel, median', [['deltarelay, cancel', 'pipe', 'most', 2.5, 1.3]]),
  {
    regime: 'connections',
    key: 'opened',
    what: 'connections to the model',
    subject: ours,
    at: 'most',
    must: 16,
    aim: 10,
  },
]

function ratios(
  regime: string,
  key: string,
  what: string,
  pairs: readonly [string, string, Target['at'], number, number][],
): Target[] {
  return pairs.map(([subject, to, at, must, aim]) => ({ regime, key, what, subject, to, at, must, aim }))
}

/** A target, and how it was met. */
export interface Verdict {
  readonly what: string
  readonly value: number
  readonly at: Target['at']
  readonly must: number
  readonly aim: number
  readonly met: 'aim' | 'must' | 'missed'
}

/** Of all targets whose figures there are. */
export function judge(results: readonly Result[]): Verdict[] {
  return targets.flatMap(({ regime, key, what, subject, to, at, must, aim }) => {
    const result = results.find(({ id }) => id === regime)
    if (!result) return []
    const summary = to === undefined ? summaryOf(result, subject, key) : ratioOf(result, subject, to, key)
    if (!summary) return []
    const value = summary.median
    const within = (limit: number): boolean => (at === 'most' ? value <= limit : value >= limit)
    const met = within(aim) ? 'aim' : within(must) ? 'must' : 'missed'
    return [{ what: `${what}, ${subject}${to === undefined ? '' : ` / ${to}`}`, value, at, must, aim, met }]
  })
}

/** One line: whether it was met, and by how much. */
export function verdictLine({ what, value, at, must, aim, met }: Verdict): string {
  const word = { aim: 'ok', must: 'ok, short of the aim', missed: 'MISSED' }[met]
  return `${word.padEnd(20)}  ${what}: ${value.toFixed(2)}, at ${at} ${must}, aim ${aim}`
}
