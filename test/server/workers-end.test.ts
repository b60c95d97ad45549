import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { stopwatch } from '../stopwatch.ts'
import { ask, deltas, open, post } from '../hosts/client.ts'
import { describeRedis } from '../redis/gate.ts'
import { createCrew, freeze, LEASE_MS, preload, workerOf, textOf } from './crew.ts'
import { after, readPart } from './reading.ts'

describeRedis('three workers come to an end', () => {
  const { crew, launchOnce, environment, launch, question, workersAt, streaming } = createCrew()

  test('SIGTERM lets a running answer get to its end, refuses new ones, and ends with 0', async () => {
    const server = launch({ DRAIN_MS: '20000' })
    const { url, text } = await streaming(server, 'pause;after=3;ms=1500')

    server.child.kill('SIGTERM')
    await expect
      .poll(() => ask(url, { path: '/readyz' }))
      .toMatchObject({ status: 503, body: '{"status":"draining"}' })
    const refused = await ask(url, post({ prompt: question() }))

    expect(refused).toMatchObject({ status: 503, body: expect.stringContaining('server-shutdown') })
    expect(deltas(await text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(await server.exited).toBe(0)
    expect(server.stderr).not.toContain('Worker')
  })

  test('SIGTERM while workers still start ends them at once, with 0', async () => {
    const stuck = preload(`
      if (process.argv[2] === 'worker') {
        console.error('starting')
        await new Promise((resolve) => setTimeout(resolve, 60_000))
      }`)
    const server = launch({ NODE_OPTIONS: stuck, DRAIN_MS: '60000' })
    await expect.poll(() => server.stderr, { timeout: 10_000 }).toBe('starting\n'.repeat(3))
    const since = stopwatch()

    server.child.kill('SIGTERM')

    expect(await server.exited).toBe(0)
    expect(since()).toBeLessThan(2000)
  })

  test('an answer that does not end in time is told so, and the server ends with 0', async () => {
    const server = launch({ DRAIN_MS: '300' })
    const { text } = await streaming(server, 'stall;after=3')

    server.child.kill('SIGTERM')

    expect(deltas(await text).at(-1)).toMatchObject({ type: 'error', code: 'server-shutdown' })
    expect(await server.exited).toBe(0)
  })

  test('SIGINT to all processes at once, as by a terminal, is one signal', async () => {
    const server = launchOnce(environment({ DRAIN_MS: '20000' }), { group: true })
    const { text } = await streaming(server, 'pause;after=3;ms=1000')

    process.kill(-server.child.pid!, 'SIGINT')

    expect(deltas(await text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(await server.exited).toBe(0)
    expect(server.stderr).not.toContain('Worker')
  })

  test.each([false, true])('a second signal ends all of them at once; to the group: %s', async (group) => {
    const server = launchOnce(environment({ DRAIN_MS: '60000' }), { group: true })
    const { url, text } = await streaming(server, 'stall;after=3')
    const pid = group ? -server.child.pid! : server.child.pid!
    process.kill(pid, 'SIGINT')
    await expect.poll(() => ask(url, { path: '/readyz' })).toMatchObject({ status: 503 })
    const since = stopwatch()

    process.kill(pid, 'SIGINT')

    expect(await server.exited).toBe(1)
    expect(since()).toBeLessThan(3000) // of the 60 s that it would have
    expect(await text).not.toContain('"error"')
  })

  test('a worker that is killed is replaced, and its readers hear of it within the lease', async () => {
    const server = launch()
    const { url, id, pid } = await streaming(server, 'stall;after=3')
    const others = (await workersAt(url)).filter((each) => each !== pid)
    expect(others).toHaveLength(2)
    const readers = await Promise.all(Array.from({ length: 6 }, () => open(url, after(id, 0))))
    const elsewhere = readers.filter((reader) => workerOf(reader) !== pid).map(textOf)
    const since = stopwatch()

    process.kill(pid, 'SIGKILL')

    expect(elsewhere.length).toBeGreaterThan(2)
    for (const text of await Promise.all(elsewhere))
      expect(deltas(text).at(-1)).toMatchObject({ type: 'error', code: 'producer-lost', retryable: true })
    expect(since()).toBeLessThan(LEASE_MS + 2000)
    const late = await readPart(url, after(id, 3))
    expect(late.text).toContain('"code":"producer-lost"')
    await expect.poll(() => workersAt(url)).toHaveLength(3)
    expect(await workersAt(url)).toEqual(expect.arrayContaining(others))
    const lines = server.stderr.split('\n').filter((line) => line.includes('Worker'))
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      {
        time: expect.any(String),
        level: 'error',
        message: `Worker ${pid} ended with SIGKILL: another one takes its place in 100 ms.`,
      },
    ])
  })

  test('a connection that was on its way to a worker that is killed is closed, and not forgotten', async () => {
    const server = launch()
    const url = await server.ready
    const [pid] = await workersAt(url)
    freeze(pid!)
    const asked = Array.from({ length: 3 }, () => ask(url, { path: '/healthz' }))
    const answers = Promise.allSettled(asked)
    // The others have answered: this one waits for a worker that does not take it.
    await expect.poll(() => workersAt(url, 4)).toHaveLength(2)

    process.kill(pid!, 'SIGKILL')

    const states = (await answers).map(({ status }) => status)
    expect(states.toSorted()).toEqual(['fulfilled', 'fulfilled', 'rejected'])
  })

  test('where all of them are killed at once, the others have the port again', async () => {
    const server = launch()
    const url = await server.ready
    const before = await workersAt(url)

    for (const pid of before) process.kill(pid, 'SIGKILL')

    const answered = (): Promise<readonly number[]> => workersAt(url).catch(() => [])
    await expect.poll(answered, { timeout: 10_000 }).toHaveLength(3)
    expect((await workersAt(url)).filter((pid) => before.includes(pid))).toEqual([])
    expect(server.stdout.split('\n')).toHaveLength(2)
  })

  test('workers whose primary process is killed end their answers, and then themselves', async () => {
    const server = launch({ DRAIN_MS: '20000' })
    const { text, id } = await streaming(server, 'pause;after=3;ms=1000')

    server.child.kill('SIGKILL')
    await once(server.child, 'exit')

    expect(deltas(await text).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
    expect(await server.exited).toBe(null)
    const next = await readPart(await launch().ready, after(id, 0))
    expect(next.text).toBe(await text)
  })

  test('workers whose primary process is killed while they end are gone in time, whatever runs', async () => {
    const server = launch({ DRAIN_MS: '1000' })
    const { url, text } = await streaming(server, 'stall;after=3')
    server.child.kill('SIGTERM')
    await expect.poll(() => ask(url, { path: '/readyz' })).toMatchObject({ status: 503 })
    const since = stopwatch()

    server.child.kill('SIGKILL')

    expect(await server.exited).toBe(null)
    expect(since()).toBeLessThan(1000 + 2000 + 1000)
    expect(await text).toContain('server-shutdown')
  })

  test('a worker that hangs does not keep the server', async () => {
    const server = launch({ DRAIN_MS: '100' })
    const [pid] = await workersAt(await server.ready)
    freeze(pid!)
    const since = stopwatch()

    server.child.kill('SIGTERM')

    expect(await server.exited).toBe(1)
    expect(since()).toBeLessThan(100 + 3000 + 1000)
  })

  test('when no worker can start the server says so and ends with 1', async () => {
    const server = launch({ NODE_OPTIONS: preload('if (process.argv[2] === "worker") process.exit(7)') })

    expect(await server.exited).toBe(1)
    expect(server.stdout).toBe('')
    expect(JSON.parse(server.stderr)).toEqual({
      time: expect.any(String),
      level: 'error',
      message: expect.stringMatching(
        /^Worker \d+ ended with exit code 7 before it listened, and no other one listens: giving up\.$/,
      ),
    })
  })

  test('a worker that cannot be replaced is tried again with a growing wait, while the others serve', async () => {
    const file = `${crew.redis.directory}/upstreams.json`
    const good = JSON.stringify([{ name: 'one', baseURL: crew.simulator.url }])
    await writeFile(file, good)
    const server = launch({ UPSTREAMS: file })
    const url = await server.ready
    const [pid] = await workersAt(url)
    const waits = (): readonly number[] =>
      [...server.stderr.matchAll(/takes its place in (\d+) ms/g)].map(([, ms]) => Number(ms))
    await writeFile(file, 'nothing')

    process.kill(pid!, 'SIGKILL')

    await expect.poll(waits, { timeout: 20_000 }).toEqual([100, 200, 400])
    expect(server.stderr).toContain('UPSTREAMS names must be JSON')
    expect(await workersAt(url)).toHaveLength(2)
    await writeFile(file, good)
    await expect.poll(() => workersAt(url), { timeout: 20_000 }).toHaveLength(3)
    expect(server.stdout.split('\n')).toHaveLength(2)
  })

  test('when none is left, and none can be replaced, the server gives up', async () => {
    const file = `${crew.redis.directory}/upstreams-gone.json`
    await writeFile(file, JSON.stringify([{ name: 'one', baseURL: crew.simulator.url }]))
    const server = launch({ UPSTREAMS: file })
    const pids = await workersAt(await server.ready)
    await writeFile(file, 'nothing')

    for (const pid of pids) process.kill(pid, 'SIGKILL')

    expect(await server.exited).toBe(1)
    expect(server.stderr).toMatch(
      /ended with exit code 1 before it listened, and no other one listens: giving up\."\}\n/,
    )
  })
})
