import type { Figures } from './figures.ts'
import { capacityOf, secondsOf } from './plan.ts'

/** What happens to a group of instances when some of them are gone at once. */
export interface Outcome {
  /** Streams of an instance before: the mean, and the most that any had. */
  readonly mean: number
  readonly most: number
  readonly cut: number
  /** Of one survivor, in its worst second: readers who come back, questions that are asked again. */
  readonly comingBack: number
  readonly askedAgain: number
  /** The most streams that a survivor had after it, and how much of its processors that and the requests took. */
  readonly mostAfter: number
  readonly use: number
  /** Scripts that Redis ran in the worst second after, to the mean before. */
  readonly scripts: number
  /** Seconds until as many answers run as before, less one in a hundred. */
  readonly backAfter: number
}

export interface Incident {
  readonly instances: number
  /** The first so many are gone. */
  readonly gone: number
  readonly seed: number
}

/** Seconds: until all lengths of answers are there, then until the end. */
const BEFORE = 180
const AFTER = 60
/** Where the load is looked at before. */
const SETTLED = 120

/** Looks of a reader that waits for an answer that nobody writes, in a second: `src/stores/redis/mirror.ts`. */
const LOOKS_PER_SECOND = 1 / 0.75
/** A producer says so often that it is there. */
const RENEWALS_PER_SECOND = 1

/**
 * Lets questions come at random (Poisson) to instances at random, as a balancer that looks at nothing sends them, and
 * answers be as long as they are (log-normal). Then instances are gone: their readers come back within two seconds,
 * elsewhere, wait there until the lease is over, and ask again.
 */
export function simulate({ instances, gone, seed }: Incident, figures: Figures): Outcome {
  const random = createRandom(seed)
  const seconds = secondsOf(figures)
  const planned = (capacityOf(figures) * (figures.zones - 1)) / figures.zones
  const rate = (instances * planned) / seconds
  const mu = Math.log(figures.deltas) - figures.sigma ** 2 / 2
  const end = BEFORE + AFTER
  const grid = (): Float64Array => new Float64Array(instances * (end + 1))
  const [changes, requests, back, again, waiting] = [grid(), grid(), grid(), grid(), grid()]
  const at = (instance: number, second: number): number =>
    instance * (end + 1) + Math.min(end, Math.floor(second))
  const survivor = (): number => gone + Math.floor(random() * (instances - gone))
  let cut = 0

  function length(): number {
    const deltas = Math.exp(mu + figures.sigma * normal(random))
    return figures.firstSeconds + deltas / figures.perSecond
  }

  function run(instance: number, from: number): void {
    const until = from + length()
    requests[at(instance, from)]!++
    changes[at(instance, from)]!++
    if (instance >= gone || until < BEFORE) return void changes[at(instance, until)]!--
    changes[at(instance, BEFORE)]!--
    cut++
    const here = survivor()
    const comes = BEFORE + 1 + random()
    const told = BEFORE + figures.leaseSeconds + random()
    back[at(here, comes)]!++
    for (let second = Math.floor(comes); second < told; second++) waiting[at(here, second)]!++
    const elsewhere = survivor()
    const asks = told + 0.25 * random()
    again[at(elsewhere, asks)]!++
    run(elsewhere, asks)
  }

  for (let now = 0; now < end; now += -Math.log(1 - random()) / rate) {
    run(now < BEFORE ? Math.floor(random() * instances) : survivor(), now)
  }

  const streams = new Float64Array(instances * (end + 1))
  for (let n = 0; n < instances; n++) {
    for (let second = 0, open = 0; second <= end; second++)
      streams[at(n, second)] = open += changes[at(n, second)]!
  }
  const cells = (from: number, to: number, first = 0): number[] =>
    Array.from({ length: (instances - first) * (to - from) }, (_, n) =>
      at(first + Math.floor(n / (to - from)), from + (n % (to - from))),
    )
  const before = cells(SETTLED, BEFORE)
  const after = cells(BEFORE, end, gone)
  const most = (values: Float64Array, where: readonly number[]): number =>
    where.reduce((top, cell) => Math.max(top, values[cell]!), 0)
  const total = (values: Float64Array, second: number): number =>
    Array.from({ length: instances }, (_, n) => values[at(n, second)]!).reduce((sum, value) => sum + value, 0)

  const perStream = figures.deltas / seconds
  const use = after.map((cell) => {
    const work = streams[cell]! * perStream * figures.cpuUs
    return (work + (requests[cell]! + back[cell]!) * figures.requestUs) / 1e6 / figures.processors
  })
  const scripts = (second: number): number =>
    total(streams, second) * (perStream * figures.scripts + RENEWALS_PER_SECOND) +
    total(waiting, second) * LOOKS_PER_SECOND
  const times = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => from + n)
  const meanOf = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length
  const all = meanOf(times(SETTLED, BEFORE).map((second) => total(streams, second)))
  // Not the first second: those who are gone are not missed before it is over.
  const whole = times(BEFORE, end).find((second) => second > BEFORE && total(streams, second) >= all * 0.99)
  return {
    mean: all / instances,
    most: most(streams, before),
    cut,
    comingBack: most(back, after),
    askedAgain: most(again, after),
    mostAfter: most(streams, after),
    use: Math.max(...use),
    scripts: Math.max(...times(BEFORE, end).map(scripts)) / meanOf(times(SETTLED, BEFORE).map(scripts)),
    backAfter: (whole ?? Number.NaN) - BEFORE,
  }
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}
