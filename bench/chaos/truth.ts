import { createRandom, hash, pick } from '../../simulator/random.ts'

/** How a scripted answer ends: in order, or as models fail. `refused`: an HTTP error in place of an answer. */
export type Ending = 'stop' | 'length' | 'cut' | 'error' | 'refused'

/** What the scripted model says to one prompt: a function of the prompt, so that a checker knows it too. */
export interface Script {
  /** The pieces that are really said: where the answer fails, those before that. */
  readonly pieces: readonly string[]
  readonly everyMs: number
  /** Before this piece the model falls silent for `silentMs`. */
  readonly silentAt: number
  readonly silentMs: number
  readonly usage: boolean
  readonly ending: Ending
}

/** Something that a reply consists of, as it is on the wire. */
export interface Delta {
  readonly type: string
  readonly [field: string]: unknown
}

const endings: readonly Ending[] = [
  ...Array.from({ length: 30 }, (): Ending => 'stop'),
  ...Array.from({ length: 8 }, (): Ending => 'length'),
  ...(['cut', 'cut', 'cut', 'error', 'error', 'error', 'refused', 'refused'] as const),
]
const oddities = ['', '', '', '', 'ä', '🙂', '\n', '\n\n', '"', '\\', 'data: ', '\u2028', '漢字']

/** The script of a prompt. */
export function scriptOf(prompt: string): Script {
  const random = createRandom(hash(prompt))
  const between = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1))
  const kind = random()
  const pace = ((): { everyMs: number; count: number } => {
    if (kind < 0.06) return { everyMs: 0, count: between(100, 300) }
    if (kind < 0.16) return { everyMs: between(90, 180), count: between(10, 45) }
    return { everyMs: between(8, 45), count: between(8, 45) }
  })()
  const silent = random() < 0.08
  const name = hash(prompt).toString(36)
  return {
    pieces: Array.from({ length: pace.count }, (_, at) => `${name}.${at}${pick(random, oddities)} `),
    everyMs: pace.everyMs,
    silentAt: between(0, pace.count - 1),
    silentMs: silent ? between(2500, 4500) : 0,
    usage: random() < 0.5,
    ending: pick(random, endings),
  }
}

/** How long the model takes for all of it. */
export function durationOf({ pieces, everyMs, silentMs }: Script): number {
  return pieces.length * everyMs + silentMs
}

/** The whole reply as it must be when nothing happens to it; without its last delta where the model fails. */
export function deltasOf({ pieces, usage, ending }: Script): readonly Delta[] {
  const said = ending === 'refused' ? [] : pieces.map((text): Delta => ({ type: 'text', text }))
  const whole = ending === 'stop' || ending === 'length'
  return [
    { type: 'start' },
    ...said,
    ...(whole && usage ? [{ type: 'usage', ...usageOf(pieces) }] : []),
    ...(whole ? [{ type: 'finish', reason: ending }] : []),
  ]
}

/** What the model counts, in our words. */
export function usageOf(pieces: readonly string[]): { inputTokens: number; outputTokens: number } {
  return { inputTokens: 7, outputTokens: pieces.length }
}
