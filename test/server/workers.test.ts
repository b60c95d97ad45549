import { writeFile } from 'node:fs/promises'
import { expect, test, describe } from 'vitest'
import { ask, post } from '../hosts/client.ts'
import { describeRedis } from '../redis/gate.ts'
import { freePort } from '../redis/server.ts'
import { createCrew, preload, telling, workerOf } from './crew.ts'
import { createLaunch } from './launch.ts'
import { expectPortRefused } from './process.ts'
import { after, idOf, isOver, lastId, readPart } from './reading.ts'

describe('how many', () => {
  const { launchOnce } = createLaunch()

  test('without a Redis several workers are refused, with a sentence and exit code 1', async () => {
    const server = launchOnce({ WORKERS: '4' })

    expect(await server.exited).toBe(1)
    expect(server.stderr).toBe(
      'The environment has a problem:\n  - WORKERS must be 1 without REDIS_URL, because workers do not know the replies of each other: set REDIS_URL, or unset WORKERS; got "4"\n',
    )
    expect(server.stdout).toBe('')
  })

  test('one worker is the one process that it was, and needs no Redis', async () => {
    const server = launchOnce({ WORKERS: '1', OPENAI_API_KEY: 'any', NODE_OPTIONS: telling })
    const url = await server.ready

    expect(workerOf(await ask(url, { path: '/healthz' }))).toBe(server.child.pid)
    expect(server.stdout).toBe(`deltarelay is listening on ${url} (model gpt-4.1-mini at api.openai.com)\n`)
  })
})

describeRedis('three workers and one Redis', () => {
  const { crew, launchOnce, launch, question, key, askedOf, workersAt, streaming } = createCrew()

  test('all of them share the one port, and one line says when they do', async () => {
    const url = await crew.shared.ready

    const workers = await workersAt(url)

    expect(workers).toHaveLength(3)
    expect(workers).not.toContain(crew.shared.child.pid)
    expect(crew.shared.stdout).toBe(
      `deltarelay is listening on ${url} (model gpt-4.1-mini at ${new URL(crew.simulator.url).host}; replies in Redis at 127.0.0.1:${crew.redis.port}; 3 workers)\n`,
    )
    expect(crew.shared.stderr).toBe('')
  })

  test('the line comes when the last of them listens', async () => {
    const port = await freePort()
    const file = `${crew.redis.directory}/go`
    const late = preload(`
      import cluster from 'node:cluster'
      import { existsSync } from 'node:fs'
      while (cluster.worker?.id === 2 && !existsSync(${JSON.stringify(file)}))
        await new Promise((resolve) => setTimeout(resolve, 20))`)
    const server = launch({ PORT: String(port), NODE_OPTIONS: `${telling} ${late}` })
    const answering = (): Promise<readonly number[]> =>
      workersAt(`http://127.0.0.1:${port}`, 4).catch(() => [])
    await expect.poll(answering, { timeout: 10_000 }).toHaveLength(2)

    expect(server.stdout).toBe('')
    await writeFile(file, '')
    await server.ready

    expect(await answering()).toHaveLength(3)
  })

  test('they share one simulated model', async () => {
    const server = launchOnce({
      WORKERS: '3',
      REDIS_URL: crew.redis.url,
      DRAIN_MS: '0',
      NODE_OPTIONS: telling,
    })
    const url = await server.ready

    const asking = { path: '/stream?prompt=hello' }
    const parts = await Promise.all(Array.from({ length: 6 }, () => readPart(url, asking, 2)))

    expect(server.stdout).toContain(
      '(simulated model: set OPENAI_API_KEY or OPENAI_BASE_URL for a real one; ',
    )
    expect(new Set(parts.map(workerOf)).size).toBe(3)
    for (const { text } of parts) expect(text).toContain('"model":"simulator"')
  })

  test('forty readers of a reply, each on a connection of its own, get the same bytes from all workers', async () => {
    const url = await crew.shared.ready
    const prompt = question('pause;after=8;ms=1000')
    const whole = readPart(url, post({ prompt }, key()))
    const started = await readPart(url, post({ prompt }, key()), 2)

    const parts = await Promise.all(
      Array.from({ length: 40 }, (_, n) => readPart(url, after(idOf(started), n % 8))),
    )

    const { text } = await whole
    expect(isOver(text)).toBe(true)
    expect(new Set(parts.map(workerOf)).size).toBe(3)
    for (const [n, part] of parts.entries()) {
      expect(text.endsWith(part.text)).toBe(true)
      expect(/^id: (\d+)$/m.exec(part.text)?.[1]).toBe(String((n % 8) + 1))
    }
    expect(askedOf(prompt)).toHaveLength(1)
  })

  test('a stop at another worker closes the upstream', async () => {
    const url = await crew.shared.ready
    const pairs: (readonly [number, number])[] = []
    for (let n = 0; n < 6; n++) {
      const prompt = question('stall;after=3')
      const cut = await readPart(url, post({ prompt }), 3)

      const stopped = await ask(url, { method: 'DELETE', path: `/chat/${idOf(cut)}` })

      expect(JSON.parse(stopped.body)).toMatchObject({ status: 'stopped' })
      const [request] = askedOf(prompt)
      await request!.done
      expect(request!.hungUp).toBe(true)
      pairs.push([workerOf(cut), workerOf(stopped)])
    }
    expect(pairs.filter(([asked, told]) => asked !== told).length).toBeGreaterThan(2)
  })

  test('thirty questions under one key, at once, are one call of the upstream', async () => {
    const url = await crew.shared.ready
    const prompt = question('pause;after=5;ms=300')
    const asking = post({ prompt }, key())

    const parts = await Promise.all(Array.from({ length: 30 }, () => readPart(url, asking)))

    expect(askedOf(prompt)).toHaveLength(1)
    expect(new Set(parts.map(workerOf)).size).toBe(3)
    expect(new Set(parts.map(idOf)).size).toBe(1)
    expect(new Set(parts.map(({ text }) => text)).size).toBe(1)
    expect(isOver(parts[0]!.text)).toBe(true)
  })

  test('a reader that comes back to a worker that did not know its reply has what it missed', async () => {
    const { url, id } = await streaming(crew.shared, 'stall;after=6')
    const seen: number[] = []
    for (let seq = 0; seq < 6; seq++) {
      const part = await readPart(url, after(id, seq), 1)
      expect(lastId(part.text)).toBe(seq + 1)
      seen.push(workerOf(part))
    }
    expect(new Set(seen).size).toBe(3)
  })

  test('a port in use is one sentence and exit code 1', async () => {
    await expectPortRefused(launch)
  })

  test('a port that is named is theirs', async () => {
    const port = await freePort()

    const url = await launch({ PORT: String(port) }).ready

    expect(url).toBe(`http://127.0.0.1:${port}`)
    expect(await workersAt(url)).toHaveLength(3)
  })
})
