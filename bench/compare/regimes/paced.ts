import type { Load, LoadJob } from '../load.ts'
import { type Bench, interleave, loadWhole, type Regime } from '../rounds.ts'
import type { Figures, Metric } from '../result.ts'
import { everyone, type SubjectName } from '../subjects.ts'

export const pacedMetrics: readonly Metric[] = [
  { key: 'cpuUs', label: 'CPU µs per delta', digits: 1 },
  { key: 'p50', label: 'p50 ms', digits: 2 },
  { key: 'p99', label: 'p99 ms', digits: 1 },
  { key: 'rate', label: 'deltas/s', digits: 0, medianOnly: true },
  { key: 'busy', label: 'busy %', digits: 0, medianOnly: true },
  { key: 'beside', label: 'model, clients %', digits: 0, medianOnly: true },
]

/** How many answers at what pace. */
export interface Pace {
  readonly streams: number
  readonly everyMs: number
  readonly group?: number
}

/** Answers at a steady pace, measured while all of them are active. */
export function pacedJob(
  { streams, everyMs, group = 1 }: Pace,
  { quick }: { readonly quick: boolean },
): Pick<LoadJob, 'order' | 'clients' | 'rampMs' | 'window'> {
  const window = { settleMs: 300, ms: quick ? 500 : 1500 }
  const clients = quick ? Math.ceil(streams / 2) : streams
  const rampMs = clients * 3
  // More than is measured: a server that falls behind begins late.
  const ms = rampMs + window.settleMs + window.ms + 600
  const order = { events: Math.ceil(ms / everyMs) * group, everyMs, group }
  return { order, clients, rampMs, window }
}

/** Nothing that was not measured is a figure. */
export function pacedFigures({ ms, deltas, cpuNs, besideNs, p50, p99 }: Load): Figures {
  const cpu = cpuNs > 0 && deltas > 0
  return {
    cpuUs: cpu ? cpuNs / 1000 / deltas : null,
    p50,
    p99,
    rate: deltas / (ms / 1000),
    busy: cpu ? (100 * cpuNs) / 1e6 / ms : null,
    beside: (100 * besideNs) / 1e6 / ms,
  }
}

interface PacedRegime extends Pace {
  readonly id: string
  readonly title: string
  readonly what: string
  readonly base: SubjectName
  readonly subjects: readonly SubjectName[]
  /** Those of a quick run. Default: all. */
  readonly quickly?: readonly SubjectName[]
}

function paced({ streams, everyMs, group = 1, quickly, ...plan }: PacedRegime): Regime {
  return {
    id: plan.id,
    run(bench: Bench) {
      const job = pacedJob({ streams, everyMs, group }, bench)
      return interleave(bench, {
        ...plan,
        subjects: (bench.quick && quickly) || plan.subjects,
        rounds: bench.rounds,
        metrics: pacedMetrics,
        ...(bench.quick ? {} : { warmUp: (subject) => loadWhole(bench.lab, subject, job) }),
        measure: async (subject) => pacedFigures(await loadWhole(bench.lab, subject, job)),
      })
    },
  }
}

const everybody = ['direct', ...everyone] as const

export const r1 = paced({
  id: 'r1',
  title: 'R1 · paced: one token at a time',
  what: '100 answers at once, 50 tokens a second each: 5,000 deltas a second, each written and read by itself.',
  base: 'pipe',
  subjects: everybody,
  streams: 100,
  everyMs: 20,
})

export const r2 = paced({
  id: 'r2',
  title: 'R2 · grouped: four tokens at a time',
  what: '100 answers at once, 25 writes a second with 4 tokens each: 10,000 deltas a second.',
  base: 'pipe',
  subjects: everybody,
  quickly: ['pipe', 'deltarelay'],
  streams: 100,
  everyMs: 40,
  group: 4,
})

export const dialects = paced({
  id: 'dialects',
  title: 'Dialects: the same answers in other wire formats',
  what: 'As R1, asked in the three wire formats that deltarelay speaks.',
  base: 'deltarelay',
  subjects: ['deltarelay', 'deltarelay, openai', 'deltarelay, ai-sdk'],
  streams: 100,
  everyMs: 20,
})
