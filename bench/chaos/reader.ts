import { setTimeout as sleep } from 'node:timers/promises'
import { pick, type Random } from '../../simulator/random.ts'
import { type End, type History, isTerminal, type Post, type ReaderHistory, type Visit } from './history.ts'
import type { Instance } from './instance.ts'
import { type Reply, send, Silence } from './wire.ts'
import { note, type World } from './world.ts'

/** A question with its key: sent again, it is the same question. */
export interface Question {
  readonly key: string
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

export interface ReaderOptions {
  readonly random: Random
  /** Asks, where the reply has no id yet; else the reader joins. */
  readonly question?: Question
  /** Where its first request goes; anywhere by default. */
  readonly first?: Instance
  /** Share of connections that it leaves in the middle. */
  readonly restless: number
  /** Leaves for so long after its first connection. */
  readonly absentMs?: number
  /** How long it may be without anything new: no delta, no answer. */
  readonly patienceMs: number
}

/** Longer than the head of an answer may take, and than heartbeats are apart. */
const SILENCE_MS = 12_000
/** After so long it stays where it is. */
const RESTLESS_MS = 20_000
/** How long a stream may stay open after its end. */
const CLOSE_MS = 5000

/** Reads a reply to its end over many connections, each to another server, and notes what it sees. */
export async function read(
  world: World,
  history: History,
  reader: ReaderHistory,
  options: ReaderOptions,
): Promise<void> {
  const { random, restless, patienceMs, absentMs = 0 } = options
  const { name } = reader
  let cursor = 0
  let connections = 0
  let next = options.first
  let away = false
  let newAt = world.now()

  const remember = (text: string): void => note(world, history, `${name} ${text}`)
  const end = (how: End): void => {
    reader.end = how
    remember(`${how.how}${'what' in how ? `: ${how.what}` : ''}`)
  }

  while (!reader.end) {
    if (world.now() - newAt > patienceMs) {
      return end({ how: 'hang', what: `nothing new for ${patienceMs} ms, at seq ${cursor}`, at: world.now() })
    }
    const instance = next ?? pick(random, world.instances)
    next = undefined
    away = true
    await visit(instance)
    if (!reader.end) await sleep(pauseMs())
  }
  if (reader.end.how === 'terminal' && random() < 0.3) await checkAfterEnd()

  function pauseMs(): number {
    if (connections === 1 && absentMs > 0) return absentMs
    if (away) return 50 + random() * 250
    return random() < 0.85 ? random() * 40 : 100 + random() * 500
  }

  /** One connection. */
  async function visit(instance: Instance): Promise<void> {
    const asks = reader.replyId === undefined
    const tired = world.now() - reader.startedAt > RESTLESS_MS
    const cut = tired ? {} : cutOf(random, restless)
    const post: Post = { at: world.now(), instance: instance.name, replyId: undefined }
    if (asks) history.posts.push(post)
    let reply: Reply
    try {
      reply = await send(...requestTo(instance, asks, cut.bytes))
    } catch (error) {
      world.counts.turnedAway++
      remember(`${asks ? 'asks' : 'goes to'} ${instance.name} at ${cursor}: ${String(error)}`)
      if (error instanceof Silence) {
        end({ how: 'hang', what: `${error.message} from ${instance.name} before a head`, at: world.now() })
      }
      return
    }
    remember(
      `${asks ? 'asks' : 'goes to'} ${instance.name} at ${cursor}: ${reply.status} ${reply.replyId ?? ''}`,
    )
    if (asks) post.replyId = reply.replyId
    if (!reply.stream) return turnedAway(reply, instance, asks)
    if (asks) reader.replyId = reply.replyId
    else if (reader.replyId !== reply.replyId) {
      return end({ how: 'unexpected', what: `the id became ${reply.replyId}`, at: world.now() })
    }
    away = false
    if (connections++ > 0) world.counts.reconnects++
    const visit: Visit = { from: world.now(), to: Infinity }
    history.visits.push(visit)
    await listen(reply, instance, cut)
    reply.leave()
    visit.to = world.now()
  }

  function requestTo(instance: Instance, asks: boolean, cutAtBytes?: number): Parameters<typeof send> {
    if (asks) {
      const { key, body, headers } = options.question!
      const all = { ...headers, 'idempotency-key': key }
      return [
        `${instance.url}/chat`,
        { method: 'POST', headers: all, body, silenceMs: SILENCE_MS, cutAtBytes },
      ]
    }
    const headers: Record<string, string> = cursor > 0 ? { 'last-event-id': String(cursor) } : {}
    const url = `${instance.url}/chat/${reader.replyId}`
    return [url, { method: 'GET', headers, silenceMs: SILENCE_MS, cutAtBytes }]
  }

  /** Reads until it is cut, or the reply ends, or the server has enough. */
  async function listen(reply: Reply, instance: Instance, cut: Cut): Promise<void> {
    const from = cursor
    let seen = 0
    let closed = false
    const timer = cut.ms === undefined ? undefined : setTimeout(() => reply.leave(), cut.ms)
    try {
      if (cut.events === 0) return
      for await (const { seq, delta } of reply.events()) {
        if (seq === undefined && delta.type === 'error') return aside(String(delta['code']), instance)
        reader.sightings.push({ at: world.now(), instance: instance.name, seq, delta })
        cursor = Math.max(cursor, seq ?? 0)
        newAt = world.now()
        seen++
        if (isTerminal(delta) && !reader.end) {
          end({ how: 'terminal', at: world.now() })
          clearTimeout(timer)
          cut = {}
          setTimeout(stayedOpen, CLOSE_MS).unref()
        }
        if (seen === cut.events) return
      }
      if (!reader.end && cut.ms === undefined && cut.bytes === undefined) world.counts.broken++
    } catch (error) {
      const what = `${String(error)} from ${instance.name} at seq ${cursor}`
      if (!reader.end) end({ how: error instanceof Silence ? 'hang' : 'unexpected', what, at: world.now() })
    } finally {
      clearTimeout(timer)
      closed = true
      if (!reader.end) world.counts.cuts++
      remember(`reads ${from + 1}…${cursor} from ${instance.name}`)
    }

    function stayedOpen(): void {
      if (closed) return
      const what = `${instance.name} kept the stream open for ${CLOSE_MS} ms after its end`
      reader.end = { how: 'hang', what, at: world.now() }
      reply.leave()
    }
  }

  /** An error that is about this reader, and not in the log. */
  function aside(code: string, instance: Instance): void {
    remember(`told ${code} aside by ${instance.name}`)
    if (code === 'store-unavailable') world.counts.turnedAway++
    else end({ how: 'lost', what: code, at: world.now(), instance: instance.name })
  }

  async function turnedAway(reply: Reply, instance: Instance, asks: boolean): Promise<void> {
    const { status } = reply
    const text = await reply.text().catch(() => '')
    const code = codeIn(text)
    const [at, by] = [world.now(), instance.name]
    if (status === 503 && (reply.replyId === undefined || !asks)) return void world.counts.turnedAway++
    if ([404, 409, 410].includes(status) || (status === 204 && !asks)) {
      return end({ how: 'lost', what: String(status), at, instance: by })
    }
    if (asks && code) {
      reader.replyId = reply.replyId
      return end({ how: 'refused', what: code, at, instance: by })
    }
    if (status === 0 || text === '') return void world.counts.turnedAway++
    end({ how: 'unexpected', what: `${by} answered ${status}: ${text.slice(0, 200)}`, at })
  }

  /** At the end there is nothing more: `204`, from every server. */
  async function checkAfterEnd(): Promise<void> {
    for (let attempt = 0; attempt < 20; attempt++) {
      const instance = pick(random, world.instances)
      const reply = await send(...requestTo(instance, false)).catch(() => undefined)
      reply?.leave()
      if (reply && reply.status !== 503) {
        reader.afterEnd = { status: reply.status, at: world.now(), instance: instance.name }
        return remember(`asks ${instance.name} for more after the end: ${reply.status}`)
      }
      await sleep(250)
    }
  }
}

/** Where a connection is left: after so many events, bytes or milliseconds. */
interface Cut {
  readonly events?: number
  readonly bytes?: number
  readonly ms?: number
}

function cutOf(random: Random, restless: number): Cut {
  if (random() >= restless) return {}
  const kind = random()
  if (kind < 0.08) return { events: 0 }
  if (kind < 0.6) return { events: 1 + Math.floor(random() * 3) }
  if (kind < 0.7) return { events: 1 + Math.floor(random() * 12) }
  if (kind < 0.85) return { bytes: Math.floor(random() * 400) }
  return { ms: 5 + random() * 250 }
}

function codeIn(text: string): string | undefined {
  try {
    return JSON.parse(text).error.code
  } catch {
    return undefined // not a refusal of ours
  }
}
