import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createRandom, hash, pick, type Random } from '../../simulator/random.ts'
import type { RedisServer } from '../../test/redis/server.ts'
import type { Fault } from './history.ts'
import type { World } from './world.ts'

type Kind = Exclude<Fault['kind'], 'stall'>

/** How long a server gives running answers after SIGTERM. */
export const DRAIN_MS = 1500

/** How often each fault is injected in a run. */
export type Doses = Readonly<Record<Kind, number>>

/** Does to the service what the plan says. */
export interface Monkey {
  /** The n-th question is about to be asked. */
  onQuestion(n: number): void
  /** Resolves when everything is up again. */
  settled(): Promise<void>
}

/** Spreads the faults over the questions, by the seed: which fault strikes at which question does not depend on time. */
export function createMonkey(
  world: World,
  redis: RedisServer,
  { doses, questions }: { readonly doses: Doses; readonly questions: number },
): Monkey {
  const random = createRandom(hash(`${world.seed}/monkey`))
  const plan = new Map<number, Kind[]>()
  for (const [kind, times] of Object.entries(doses) as [Kind, number][]) {
    for (let time = 0; time < times; time++) {
      // Not at the edges: there is somebody to suffer, and time to recover.
      const n = Math.floor(questions * (0.05 + 0.9 * ((time + random()) / times)))
      plan.set(n, [...(plan.get(n) ?? []), kind])
    }
  }
  let redisBusy: Promise<void> = Promise.resolve()
  const tasks = new Set<Promise<void>>()

  function inject(kind: Kind): Promise<void> {
    switch (kind) {
      case 'kill':
      case 'drain':
        return strikeServer(kind)
      default:
        // One after the other: there is only one Redis.
        return (redisBusy = redisBusy.then(() => strikeRedis(kind)))
    }
  }

  async function strikeServer(kind: 'kill' | 'drain'): Promise<void> {
    const standing = world.instances.filter(({ up }) => up)
    if (standing.length < 2) return
    const instance = pick(random, standing)
    const downMs = 100 + random() * 1500
    const fault: Fault = { kind, instance: instance.name, at: world.now(), until: Infinity }
    world.faults.push(fault)
    if (kind === 'kill') await instance.end('SIGKILL')
    else if (!(await instance.end('SIGTERM', DRAIN_MS + 3000))) {
      world.crashes.push(`${instance.name} did not end in order within ${DRAIN_MS + 3000} ms of SIGTERM`)
    }
    await sleep(downMs)
    await instance.start()
    fault.until = world.now()
  }

  async function strikeRedis(kind: Kind): Promise<void> {
    const fault: Fault = { kind, at: world.now(), until: Infinity }
    world.faults.push(fault)
    const downMs = random() < 0.65 ? 100 + random() * 900 : 3300 + random() * 1200
    switch (kind) {
      case 'flush':
        await redis.command(['FLUSHALL'])
        break
      case 'redis-pause':
        redis.pause()
        // Now and then for longer than anybody waits for an answer.
        await sleep(random() < 0.7 ? 200 + random() * 1000 : 6000)
        redis.resume()
        break
      default:
        await redis.kill('SIGKILL')
        await sleep(downMs)
        if (kind === 'redis-rollback') await forgetTail(redis.directory, random)
        await redis.restart()
    }
    fault.until = world.now()
  }

  return {
    onQuestion(n) {
      for (const kind of plan.get(n) ?? []) {
        const task = inject(kind).finally(() => tasks.delete(task))
        tasks.add(task)
      }
    },
    async settled() {
      while (tasks.size > 0) await Promise.all(tasks)
    },
  }
}

/** Takes the last writes back, as a machine does that loses its power before they are on its disk. */
async function forgetTail(directory: string, random: Random): Promise<void> {
  const folder = join(directory, 'appendonlydir')
  const name = (await readdir(folder))
    .filter((file) => file.endsWith('.incr.aof'))
    .sort()
    .at(-1)
  if (!name) return
  const path = join(folder, name)
  const { size } = await stat(path)
  const file = await open(path, 'r+')
  await file.truncate(Math.max(0, size - Math.floor(random() * 120_000)))
  await file.close()
}
