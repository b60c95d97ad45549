// How long the chat function takes to be ready, and to its first token, under the real runtime: `npm run bench:cold`.
import { parseArgs } from 'node:util'
import { startLambda } from '../test/lambda/emulator.ts'
import { cache, emptyFunction, fetchFunction, findNode, receive, startServer, writeFunction } from './lab.ts'
import { median, rotated, table, verdict } from './stats.ts'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '21' },
  },
})
const order = { events: 1, everyMs: 0 }

const node = await findNode()
const upstream = await startServer(node, [`${cache}servers.mjs`, 'upstream'])
const env = { OPENAI_BASE_URL: `${upstream.url}/v1`, OPENAI_API_KEY: 'any' }

const subjects = [
  { name: 'empty', taskRoot: await writeFunction('empty', emptyFunction), asked: false },
  { name: 'fetch', taskRoot: await writeFunction('fetch', fetchFunction), asked: true },
  { name: 'deltarelay', taskRoot: `${cache}dist/lambda/chat`, asked: true },
] as const
type Name = (typeof subjects)[number]['name']

interface Start {
  /** From spawning the runtime to its first call for work. */
  readonly initMs: number
  /** From the first request to its first token. */
  readonly firstMs: number
}

async function startOnce({ taskRoot, asked }: (typeof subjects)[number]): Promise<Start> {
  const lambda = await startLambda({ taskRoot, env })
  try {
    await lambda.ready
    const initMs = lambda.readyMs!
    const firstMs = asked ? (await receive(`${lambda.url}/chat`, order)).firstMs : Number.NaN
    return { initMs, firstMs }
  } finally {
    await lambda.stop()
  }
}

const rounds: Record<Name, Start>[] = []
try {
  for (let round = 0; round < 3; round++) await receive(`${upstream.url}/v1`, order)
  for (const subject of subjects) await startOnce(subject)
  for (let round = 0; round < Number(options.rounds); round++) {
    const starts: [Name, Start][] = []
    for (const subject of rotated(subjects, round)) starts.push([subject.name, await startOnce(subject)])
    rounds.push(Object.fromEntries(starts) as Record<Name, Start>) // every subject was started
  }
} finally {
  await upstream.stop()
}

const results = subjects.map(({ name }) => {
  const sums = rounds.map((round) => round[name].initMs + round[name].firstMs)
  const inits = rounds.map((round) => round[name].initMs)
  return {
    name,
    initMs: median(inits),
    lowestInitMs: Math.min(...inits),
    firstMs: median(rounds.map((round) => round[name].firstMs)),
    sumMs: median(sums),
    lowestSumMs: Math.min(...sums),
  }
})
const overEmptyMs = median(rounds.map((round) => round.deltarelay.initMs - round.empty.initMs))
// A busy machine stretches medians; the lowest of many rounds is what is left without it.
const quietOverEmptyMs = lowestInit('deltarelay') - lowestInit('empty')
const overFetch = median(rounds.map((round) => sum(round.deltarelay) / sum(round.fetch)))

if (options.json) {
  console.log(
    JSON.stringify(
      { node, rounds: rounds.length, results, overEmptyMs, quietOverEmptyMs, overFetch },
      null,
      2,
    ),
  )
} else {
  const cell = (value: number): string => (Number.isNaN(value) ? '' : value.toFixed(1))
  const rows = results.map((row) => [
    row.name,
    ...[row.initMs, row.lowestInitMs, row.firstMs, row.sumMs, row.lowestSumMs].map(cell),
  ])
  const head = ['ms', 'init', 'lowest', 'first token', 'both', 'lowest']
  console.log(`medians of ${rounds.length} rounds\n\n${table([head, ...rows])}\n`)
  console.log(verdict('init over an empty handler', overEmptyMs, 40, ' ms'))
  console.log(verdict('the same, lowest of each', quietOverEmptyMs, 40, ' ms'))
  console.log(verdict('init and first token, to those of a handler with fetch', overFetch, 1.5, ' times'))
}

function lowestInit(name: Name): number {
  return Math.min(...rounds.map((round) => round[name].initMs))
}

function sum({ initMs, firstMs }: Start): number {
  return initMs + firstMs
}
