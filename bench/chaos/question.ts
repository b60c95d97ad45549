import { setTimeout as sleep } from 'node:timers/promises'
import { createRandom, hash, identifier, pick, type Random } from '../../simulator/random.ts'
import type { History, Probe, ReaderHistory, Stop } from './history.ts'
import type { Instance } from './instance.ts'
import { type Question, read, type ReaderOptions } from './reader.ts'
import { durationOf, scriptOf } from './truth.ts'
import { type Request, send } from './wire.ts'
import { note, type World } from './world.ts'

/** How long a reader may wait for something new beyond what the model is silent: outages of Redis are part of it. */
const PATIENCE_MS = 30_000

/** Asks the n-th question: who asks, who joins, who stops it, all by the seed. Resolves when everybody is done. */
export async function ask(world: World, n: number): Promise<void> {
  const random = createRandom(hash(`${world.seed}/${n}`))
  const prompt = `${n} of seed ${world.seed}`
  const script = scriptOf(prompt)
  const lastsMs = durationOf(script)
  const history: History = {
    n,
    prompt,
    script,
    posts: [],
    readers: [],
    visits: [],
    stop: undefined,
    imposter: undefined,
    head: undefined,
    abandoned: false,
    get calls() {
      return world.model.calls.get(prompt) ?? []
    },
    story: [],
  }
  world.histories.push(history)
  const kind = random()
  const leaves = kind < 0.03
  const doubled = kind >= 0.03 && kind < 0.2
  const stops = kind >= 0.2 && kind < 0.3
  history.abandoned = leaves
  const disconnect = leaves ? 'cancel' : pick(random, ['linger', 'continue', ''])
  const question: Question = {
    key: identifier(random, 24),
    body: JSON.stringify({ prompt }),
    headers: disconnect === '' ? {} : { 'x-on-disconnect': disconnect },
  }
  const patienceMs = script.silentMs + PATIENCE_MS
  const restless = leaves ? 1 : pick(random, [0.2, 0.8, 0.95, 0.97])

  const authors = doubled ? 2 + Math.floor(random() * 3) : 1
  if (doubled) world.counts.doubled++
  const tasks = Array.from({ length: authors }, (_, at) => {
    const name = at === 0 ? 'author' : `author ${at + 1}`
    const more = leaves ? { absentMs: 800 } : {}
    return follow(name, { question, ...more })
  })
  const joiners = leaves ? 0 : Math.floor(random() * 3)
  for (let at = 0; at < joiners; at++) tasks.push(join(`joiner ${at + 1}`, random() * (lastsMs + 600)))
  if (stops) tasks.push(stop(random() * lastsMs))
  if (doubled && random() < 0.5) tasks.push(impose(random() * lastsMs))
  await Promise.all(tasks)

  function follow(name: string, more: Partial<ReaderOptions>, replyId?: string): Promise<void> {
    const reader: ReaderHistory = {
      name,
      startedAt: world.now(),
      replyId,
      sightings: [],
      end: undefined,
      afterEnd: undefined,
    }
    history.readers.push(reader)
    const own = createRandom(hash(`${world.seed}/${n}/${name}`))
    const first = pick(own, world.instances)
    return read(world, history, reader, { random: own, first, restless, patienceMs, ...more })
  }

  async function join(name: string, afterMs: number): Promise<void> {
    await sleep(afterMs)
    const id = await idOf(history)
    if (id !== undefined) await follow(name, {}, id)
  }

  /** Another question under the same key, once the first one is known. */
  async function impose(afterMs: number): Promise<void> {
    await sleep(afterMs)
    if ((await idOf(history)) === undefined) return
    const instance = pick(createRandom(hash(`${world.seed}/${n}/imposter`)), world.instances)
    const headers = { ...question.headers, 'idempotency-key': question.key }
    const body = JSON.stringify({ prompt: `not ${prompt}` })
    history.imposter = await probe(world, instance, '/chat', { method: 'POST', headers, body })
    note(world, history, `imposter at ${instance.name}: ${history.imposter?.status ?? 'turned away'}`)
  }

  async function stop(afterMs: number): Promise<void> {
    await sleep(afterMs)
    const id = await idOf(history)
    if (id === undefined || history.readers.every(({ end }) => end)) return
    const own: Random = createRandom(hash(`${world.seed}/${n}/stop`))
    const stop: Stop = { at: world.now(), askedAt: 0, attempts: 0, ackAt: undefined, said: undefined }
    history.stop = stop
    while (stop.attempts < 40 && stop.said === undefined) {
      const { name, url } = pick(own, world.instances)
      stop.askedAt = world.now()
      stop.attempts++
      const reply = await send(`${url}/chat/${id}/stop`, { method: 'POST', silenceMs: 10_000 }).catch(
        () => undefined,
      )
      if (reply && reply.status !== 503) {
        const text = await reply.text()
        stop.ackAt = world.now()
        stop.said = /"status":"(\w+)"/.exec(text)?.[1] ?? String(reply.status)
      }
      note(world, history, `stop at ${name}: ${stop.said ?? 'turned away'}`)
      if (stop.said === undefined) await sleep(150)
    }
  }
}

/** Asks one server on the side; undefined when it does not answer, or not now. */
async function probe(
  world: World,
  { name, url }: Instance,
  path: string,
  request: Omit<Request, 'silenceMs'>,
): Promise<Probe | undefined> {
  const reply = await send(url + path, { ...request, silenceMs: 10_000 }).catch(() => undefined)
  reply?.leave()
  if (!reply || reply.status === 503) return undefined
  const length = reply.header('x-reply-length')
  return {
    at: world.now(),
    instance: name,
    status: reply.status,
    state: reply.header('x-reply-state'),
    length: length === undefined ? undefined : Number(length),
  }
}

/** Reads one reply again when all is over: the log holds what was seen. */
export async function audit(world: World, history: History): Promise<void> {
  const id = history.readers.map(({ replyId }) => replyId).find((id) => id !== undefined)
  if (id === undefined) return
  const random = createRandom(hash(`${world.seed}/${history.n}/audit`))
  const reader: ReaderHistory = {
    name: 'audit',
    startedAt: world.now(),
    replyId: id,
    sightings: [],
    end: undefined,
    afterEnd: undefined,
  }
  history.readers.push(reader)
  await read(world, history, reader, { random, restless: 0, patienceMs: 20_000 })
  history.head = await probe(world, pick(random, world.instances), `/chat/${id}`, { method: 'HEAD' })
}

/** The id of its reply, as soon as somebody knows it. */
async function idOf({ readers }: History): Promise<string | undefined> {
  for (;;) {
    const id = readers.find(({ replyId }) => replyId !== undefined)?.replyId
    if (id !== undefined || readers.every(({ end }) => end)) return id
    await sleep(20)
  }
}
