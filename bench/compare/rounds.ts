import { rotated } from '../stats.ts'
import type { Lab, Server } from './lab.ts'
import type { Load } from './load.ts'
import type { Figures, Metric, Result } from './result.ts'
import type { Problem } from './stream.ts'
import { type Subject, type SubjectName, subjectOf } from './subjects.ts'

/** How thoroughly. */
export interface Effort {
  readonly rounds: number
  readonly quick: boolean
}

/** One kind of measurement. */
export interface Regime {
  readonly id: string
  run(bench: Bench): Promise<Result>
}

/** What a regime works with. */
export interface Bench extends Effort {
  readonly lab: Lab
  /** Only those that are named; the base of a regime is never left out. Default: all. */
  readonly subjects?: readonly string[] | undefined
  /** Says on stderr what is being done. */
  progress(text: string): void
  /** Something that must not happen: the benchmark goes on, and ends with an error. */
  fail(text: string): void
}

export interface Plan {
  readonly id: string
  readonly title: string
  readonly what: string
  readonly base: SubjectName
  readonly metrics: readonly Metric[]
  readonly subjects: readonly SubjectName[]
  readonly rounds: number
  /** What a subject that can be measured has to go through before it is. */
  warmUp?(subject: Subject): Promise<unknown>
  /** Called once for each subject in each round. @throws when it cannot be measured. */
  measure(subject: Subject, round: number): Promise<Figures>
}

/** Measures every subject in every round, in an order that changes. Who fails once is left out from then on. */
export async function interleave(bench: Bench, plan: Plan): Promise<Result> {
  const { lab, progress, fail } = bench
  const { measure, warmUp, ...rest } = plan
  const notes: string[] = []
  const wanted = plan.subjects.filter(
    (name) => !bench.subjects || name === plan.base || bench.subjects.includes(name),
  )
  let subjects = wanted.map(subjectOf).filter(({ name, server }) => {
    const missing = lab.missing(server)
    if (missing) notes.push(`${name} is left out: ${missing}`)
    return !missing
  })
  async function attempt<T>(subject: Subject, task: () => Promise<T>): Promise<T | undefined> {
    try {
      return await task()
    } catch (error) {
      fail(`${plan.id}, ${subject.name}: ${(error as Error).message}`)
      subjects = subjects.filter((each) => each !== subject)
      return undefined
    }
  }
  for (const subject of subjects) {
    progress(`${plan.id}: ${subject.name} warms up`)
    if (warmUp) await attempt(subject, () => warmUp(subject))
  }
  const rounds: Record<string, Figures>[] = []
  for (let round = 0; round < plan.rounds; round++) {
    const figures: Record<string, Figures> = {}
    for (const subject of rotated(subjects, round)) {
      progress(`${plan.id}: round ${round + 1} of ${plan.rounds}, ${subject.name}`)
      const measured = await attempt(subject, () => measure(subject, round))
      if (measured) figures[subject.name] = measured
    }
    rounds.push(figures)
  }
  return { ...rest, subjects: plan.subjects, rounds, notes }
}

/** @throws when an answer was wrong, or failed. */
export function demandWhole({ problems }: { readonly problems: readonly Problem[] }): void {
  const [first] = problems
  if (first) throw new Error(`${problems.length} answers were not right, the first: ${first.text}`)
}

/** Asks as a plan says. @throws unless all answers are right. */
export async function loadWhole(
  lab: Lab,
  subject: Subject,
  job: Omit<Parameters<Lab['load']>[0], 'question' | 'pids' | 'limitMs'>,
  server?: Server,
): Promise<Load> {
  const { question, pids } = server ?? (await lab.server(subject.server))
  const load = await lab.load({ ...job, question: question(subject), pids, limitMs: 60_000 })
  demandWhole(load)
  return load
}
