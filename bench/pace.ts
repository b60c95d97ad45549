// How much later than from a plain server each token arrives, at a pace of one in 5 ms: `npm run bench:pace`.
import { parseArgs } from 'node:util'
import { startLambda } from '../test/lambda/emulator.ts'
import {
  type Arrival,
  cache,
  fetchFunction,
  findNode,
  receive,
  serverArgs,
  startServer,
  writeFunction,
} from './lab.ts'
import { median, quantile, rotated, table, verdict } from './stats.ts'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '7' },
    events: { type: 'string', default: '400' },
    every: { type: 'string', default: '5' },
  },
})
const order = { events: Number(options.events), everyMs: Number(options.every) }

const node = await findNode()
const upstream = await startServer(node, [`${cache}servers.mjs`, 'upstream'])
const env = { OPENAI_BASE_URL: `${upstream.url}/v1`, OPENAI_API_KEY: 'any' }
const plain = await startServer(node, [`${cache}servers.mjs`, 'plain'])
const pipe = await startServer(node, [`${cache}servers.mjs`, 'pipe'], env)
const express = await startServer(node, serverArgs, { ...env, PORT: '0' })
const lambda = await startLambda({ taskRoot: `${cache}dist/lambda/chat`, env })
const bareLambda = await startLambda({ taskRoot: await writeFunction('fetch', fetchFunction), env })

/** The first is what the others are measured against. */
const subjects = [
  { name: 'plain server', url: plain.url },
  { name: 'plain pipe', url: pipe.url },
  { name: 'deltarelay on Express', url: `${express.url}/chat` },
  { name: 'fetch on Lambda', url: `${bareLambda.url}/chat` },
  { name: 'deltarelay on Lambda', url: `${lambda.url}/chat` },
] as const
type Name = (typeof subjects)[number]['name']

const rounds: Record<Name, Arrival>[] = []
try {
  for (const { url } of subjects) await receive(url, order)
  for (let round = 0; round < Number(options.rounds); round++) {
    const arrivals: [Name, Arrival][] = []
    for (const { name, url } of rotated(subjects, round)) arrivals.push([name, await receive(url, order)])
    rounds.push(Object.fromEntries(arrivals) as Record<Name, Arrival>) // every subject was asked
  }
} finally {
  await Promise.all([upstream, plain, pipe, express, lambda, bareLambda].map((server) => server.stop()))
}

const results = subjects.map(({ name }) => {
  const of = (subject: Name, q: number): readonly number[] =>
    rounds.map((round) => quantile(round[subject].delays, q))
  const added = (q: number, base: Name): number => {
    const bases = of(base, q)
    return median(of(name, q).map((value, round) => value - bases[round]!))
  }
  const reads = rounds.reduce((sum, round) => sum + round[name].reads, 0)
  const single = rounds.reduce((sum, round) => sum + round[name].single, 0)
  return {
    name,
    p50: median(of(name, 0.5)),
    p99: median(of(name, 0.99)),
    addedP50: added(0.5, 'plain server'),
    addedP99: added(0.99, 'plain server'),
    overPipeP50: added(0.5, 'plain pipe'),
    overPipeP99: added(0.99, 'plain pipe'),
    oneByOne: single / reads,
  }
})

if (options.json) {
  console.log(JSON.stringify({ node, ...order, rounds: rounds.length, results }, null, 2))
} else {
  const cell = (value: number): string => value.toFixed(2)
  const rows = results.map((row) => [
    row.name,
    ...[row.p50, row.p99, row.addedP50, row.addedP99, row.overPipeP50, row.overPipeP99].map(cell),
    `${(row.oneByOne * 100).toFixed(1)} %`,
  ])
  const head = ['ms', 'p50', 'p99', '+p50 plain', '+p99 plain', '+p50 pipe', '+p99 pipe', 'one per read']
  const what = `${order.events} events, one every ${order.everyMs} ms, medians of ${rounds.length} rounds`
  console.log(`${what}\n\n${table([head, ...rows])}\n`)
  for (const { name, addedP50, addedP99 } of results) {
    if (!name.startsWith('deltarelay')) continue
    console.log(verdict(`${name}, added p50`, addedP50, 0.5, ' ms'))
    console.log(verdict(`${name}, added p99`, addedP99, 5, ' ms'))
  }
}
