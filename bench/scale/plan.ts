import type { Figures } from './figures.ts'

/** What so many running answers need. */
export interface Plan {
  readonly streams: number
  readonly repliesPerSecond: number
  readonly deltasPerSecond: number
  /** Processors that workers keep busy. */
  readonly cores: number
  readonly instances: number
  /** On each of them, when all zones are there. */
  readonly streamsEach: number
  readonly gibEach: number
  /** Gbit/s. */
  readonly toReaders: number
  readonly fromModels: number
  readonly withRedis: number
  readonly scriptsPerSecond: number
  /** Processors that Redis keeps busy; one Redis cannot use two. */
  readonly redisCores: number
  readonly shards: number
  readonly redisGiB: number
  /** USD a month. */
  readonly instancesCost: number
  readonly redisCost: number
  readonly egressCost: number
  readonly cost: number
  /** USD for a thousand answers. */
  readonly costPerThousand: number
}

const MONTH_HOURS = 730

/** How long an answer runs, in seconds, on average. */
export function secondsOf({ deltas, perSecond, firstSeconds }: Figures): number {
  return firstSeconds + deltas / perSecond
}

/** How much of a processor one running answer takes. */
export function coresOf(figures: Figures): number {
  const seconds = secondsOf(figures)
  return (figures.deltas * figures.cpuUs + figures.requestUs) / seconds / 1e6
}

/** Streams that an instance is planned to carry while a zone is gone. */
export function capacityOf(figures: Figures): number {
  return Math.floor((figures.processors * figures.use) / coresOf(figures))
}

export function plan(streams: number, figures: Figures): Plan {
  const { zones, processors } = figures
  const repliesPerSecond = streams / secondsOf(figures)
  const deltasPerSecond = repliesPerSecond * figures.deltas
  const spare = zones / (zones - 1)
  // As many in each zone.
  const instances = Math.ceil(((streams / capacityOf(figures)) * spare) / zones) * zones
  const streamsEach = streams / instances
  const redisCores = (deltasPerSecond * figures.redisCpuUs) / 1e6
  const redisGiB =
    (repliesPerSecond * figures.keptSeconds * figures.redisReplyKiB * (figures.deltas / 300)) / 1024 ** 2
  const shards = Math.ceil(Math.max(redisCores / figures.use, redisGiB / figures.redisGiB))
  const gbits = (bytes: number): number => (deltasPerSecond * bytes * 8) / 1e9

  const instancesCost = instances * figures.instanceHour * MONTH_HOURS
  const redisCost = shards * 2 * figures.redisHour * MONTH_HOURS
  const bytes = deltasPerSecond * figures.readerBytes * figures.meanToPeak * MONTH_HOURS * 3600
  const egressCost = egressOf(bytes / 1e9, figures)
  const cost = instancesCost + redisCost + egressCost
  return {
    streams,
    repliesPerSecond,
    deltasPerSecond,
    cores: streams * coresOf(figures),
    instances,
    streamsEach,
    gibEach: (processors * figures.workerMiB) / 1024 + (streamsEach * spare * figures.streamKiB) / 1024 ** 2,
    toReaders: gbits(figures.readerBytes),
    fromModels: gbits(figures.modelBytes),
    withRedis: gbits(figures.redisBytesIn + figures.redisBytesOut),
    scriptsPerSecond: deltasPerSecond * figures.scripts,
    redisCores,
    shards,
    redisGiB,
    instancesCost,
    redisCost,
    egressCost,
    cost,
    costPerThousand: cost / ((repliesPerSecond * figures.meanToPeak * MONTH_HOURS * 3600) / 1000),
  }
}

function egressOf(gigabytes: number, { egress }: Figures): number {
  let cost = 0
  let below = 0
  for (const [upTo, price] of egress) {
    cost += Math.max(0, Math.min(gigabytes, upTo) - below) * price
    below = upTo
  }
  return cost
}
