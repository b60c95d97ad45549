/** What was measured on one machine, with the command that says it. */
export const measured = {
  /** CPU of the server for one delta, in µs, with the log in Redis. `npm run bench:log`: CPU µs per delta. */
  cpuUs: 75,
  /** CPU of Redis for one delta, in µs. `npm run bench:log`: of Redis. */
  redisCpuUs: 25,
  /** Of Redis' memory for a finished reply of 300 deltas, in KiB. `npm run bench:log`. */
  redisReplyKiB: 13,
  /** Scripts that Redis runs for one delta, and bytes to it and from it. `npm run bench:workers`. */
  scripts: 1,
  redisBytesIn: 280,
  redisBytesOut: 30,
  /** CPU of the server for a request and its end, in µs. `npm run bench:workers`: CPU µs of a request. */
  requestUs: 1500,
  /** Memory of a stream at the server, in KiB. `npm run bench:workers`: KiB each. */
  streamKiB: 125,
  /** Memory of a worker that has nothing to do, in MiB: `ps -o rss`. */
  workerMiB: 115,
}

/** What was not: the load, the machines, the prices. Put your own here. */
export const assumed = {
  /** Of an answer: deltas on average, the spread of its length (log-normal), and its pace. */
  deltas: 300,
  sigma: 0.8,
  perSecond: 20,
  /** Before its first token, in seconds. */
  firstSeconds: 0.5,
  /** How long an answer is kept, with the lease, in seconds. */
  keptSeconds: 615,
  leaseSeconds: 15,

  /**
   * Bytes on the wire of one delta: to a reader, an event of 45 in a chunk, a TLS record and a packet of its own; from a
   * model, a chunk of OpenAI's API in the same.
   */
  readerBytes: 45 + 6 + 22 + 54,
  modelBytes: 330 + 6 + 22 + 54,

  /** How much of a processor is planned with. */
  use: 0.6,
  /** One of so many zones may fail. */
  zones: 3,
  /** c7g.2xlarge, with one worker for each processor; c7g.large for one Redis, and one for its replica. */
  processors: 8,
  redisGiB: 3,
  /** USD an hour, on demand, Linux, us-east-1. */
  instanceHour: 0.29,
  redisHour: 0.0725,
  /** USD for a GB to the internet: up to 10 TB, 50 TB, 150 TB a month, and above. */
  egress: [
    [10_000, 0.09],
    [50_000, 0.085],
    [150_000, 0.07],
    [Infinity, 0.05],
  ] as readonly (readonly [number, number])[],
  /** How busy the month is on average, to the busiest time: machines are paid for the latter, bytes for the former. */
  meanToPeak: 0.5,
}

export type Figures = typeof measured & typeof assumed

export const figures: Figures = { ...measured, ...assumed }
