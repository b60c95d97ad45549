import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { expect, onTestFinished, test } from 'vitest'
import { createLaunch } from '../server/launch.ts'
import { startModelServer } from './model-server.ts'
import { size } from './size.ts'

const { launchOnce } = createLaunch()

/** Deltas of one calm answer, and the time between two of them. */
const DELTAS = 20
const GAP_MS = 20

/** A model's server whose every delta is the time at which it left. */
function startCalm() {
  return startModelServer((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    let sent = 0
    const timer = setInterval(() => {
      const end = ++sent > DELTAS
      const choice = end
        ? { index: 0, delta: {}, finish_reason: 'stop' }
        : { index: 0, delta: { content: `${Date.now()} ` } }
      response.write(`data: ${JSON.stringify({ choices: [choice] })}\n\n`)
      if (!end) return
      clearInterval(timer)
      response.end('data: [DONE]\n\n')
    }, GAP_MS)
    response.on('close', () => clearInterval(timer))
  })
}

async function startFlood(): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const child = fork(new URL('flood.mjs', import.meta.url), { execArgv: [] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [port] = (await once(child, 'message')) as [number]
  return { child, port }
}

/** How late the deltas of one calm answer are, and how long its head takes. */
async function readCalm(url: string): Promise<{ readonly headMs: number; readonly lateMs: number[] }> {
  const asked = Date.now()
  const response = await fetch(`${url}/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"model":"calm","prompt":"hi"}',
  })
  const headMs = Date.now() - asked - GAP_MS
  expect(response.status).toBe(200)
  const lateMs: number[] = []
  let text = ''
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece
    const frames = text.split('\n\n')
    text = frames.pop() ?? ''
    for (const [, left] of frames.join('\n').matchAll(/"text":"(\d+) /g))
      lateMs.push(Date.now() - Number(left))
  }
  return { headMs, lateMs }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Infinity
}

async function measure(url: string, rounds: number) {
  const heads: number[] = []
  const late: number[] = []
  for (let i = 0; i < rounds; i++) {
    const { headMs, lateMs } = await readCalm(url)
    heads.push(headMs)
    late.push(...lateMs)
  }
  expect(late).toHaveLength(rounds * DELTAS)
  return { headMs: median(heads), lateMs: median(late) }
}

test('endless streams of one-character deltas leave time for the answers of others', async () => {
  const [calm, flood] = [await startCalm(), await startFlood()]
  const server = launchOnce({
    UPSTREAMS: JSON.stringify([
      { name: 'flood', baseURL: `http://127.0.0.1:${flood.port}/v1`, models: ['flood'] },
      { name: 'calm', baseURL: calm.url, models: ['calm'] },
    ]),
    MAX_REPLY_BYTES: String(1024 * 1024 * 1024),
  })
  const url = await server.ready
  const streams = size(10, 20)
  const before = await measure(url, 3)

  flood.child.send({ url, streams })
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const during = await measure(url, size(5, 20))

  flood.child.send({})
  const [bytes] = (await once(flood.child, 'message')) as [number]
  console.info(
    `${streams} streams, ${(bytes / 1e6).toFixed()} MB to their readers; p50 of a head ${before.headMs} -> ${during.headMs} ms, of a delta ${before.lateMs} -> ${during.lateMs} ms`,
  )
  expect(bytes).toBeGreaterThan(0)
  // A machine that does much else gets more time than the 50 ms of the full-size run.
  expect(during.lateMs).toBeLessThanOrEqual(size(150, 50) + before.lateMs)
  expect(during.headMs).toBeLessThanOrEqual(size(500, 150) + before.headMs)
}, 120_000)
