import type { Fault } from './history.ts'

/** What must never be. `lost`: something is missing, and nothing that was done explains it. */
export type Category = 'lost' | 'duplicated' | 'wrong' | 'hang' | 'false-finish' | 'calls'

/** A promise that was broken. */
export interface Finding {
  readonly n: number
  readonly category: Category
  readonly at: number
  readonly text: string
}

/** Something that a reader had to be told, and what explains it. */
export interface Allowed {
  readonly what: string
  readonly because: Fault['kind'] | 'model' | 'stop' | 'left'
}

export interface Judgement {
  readonly findings: readonly Finding[]
  readonly allowed: readonly Allowed[]
}

export type Report = (category: Category, at: number, text: string) => void
