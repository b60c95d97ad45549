import { type Account, type Budget, outOfMemory } from './budget.ts'
import { startOf, streamBatches, terminalFor } from './chat.ts'
import { ChatError, toChatError } from './errors.ts'
import { type Hooks, type Watch, watchReply } from './finished.ts'
import { bytesOfValue } from './memory.ts'
import type { RequestKey } from './names.ts'
import { type Reply, startReply } from './reply.ts'
import type { Report } from './report.ts'
import type { Signer } from './signing.ts'
import type { Toolbox } from './tools.ts'
import type { Ask, Binding, ChatRequest, StartDelta, StreamStore, Upstream } from './types.ts'

export interface RepliesOptions extends Hooks {
  readonly upstream: Upstream
  readonly store: StreamStore
  /** Counts what a running reply takes beside its log; a store that counts has the same. */
  readonly budget: Budget
  readonly maxReplies: number
  readonly maxReplyBytes: number
  readonly totalTimeoutMs: number
  readonly lingerMs: number
  readonly retries: number
  readonly signal?: AbortSignal | undefined
  readonly report: Report
  readonly tools?: Toolbox | undefined
  readonly maxSteps?: number | undefined
  /** Signs calls of tools that run in the client. Default: they have no signature. */
  readonly signer?: Signer | undefined
  readonly createId: () => string
  readonly now: () => number
}

/** The replies that this process is producing. */
export interface Replies {
  /**
   * Starts one, or finds the one that was started under the same key before.
   * @throws `ChatError` `overloaded`, `idempotency-mismatch`, `store-unavailable`, or what the service shuts down with.
   */
  start(request: ChatRequest, options?: StartOptions): Promise<Started>
  /** One that is being produced here. */
  get(id: string): Reply | undefined
  /** Takes no new ones from now on. */
  refuse(reason: ChatError): void
  /** Ends all of them. */
  end(reason: ChatError): void
  /** Resolves when none is being produced, and none is about to be. */
  idle(): Promise<void>
}

export interface StartOptions {
  /** Whose it will be. Default `''`. */
  readonly owner?: string | undefined
  /** On whose behalf it is produced and stored: `callerOf`. */
  readonly caller?: string | undefined
  /** What the request is known by, where it says so. */
  readonly key?: RequestKey | undefined
  /** How long the platform lets the answer take, in milliseconds. */
  readonly remainingMs?: number | undefined
  /** How long it goes on without a reader, where that is not as for every reply. */
  readonly lingerMs?: number | undefined
  /** The client's own name for the conversation. */
  readonly chatId?: string | undefined
  /** What the conversation is called in the store: `chatName`. Default: it has no name there. */
  readonly conversation?: string | undefined
  /** The client's id of the message that the answer goes on with. */
  readonly continues?: string | undefined
}

/** With its first delta, and the reply that its conversation had before. */
type Entered = StartOptions & {
  readonly start: StartDelta
  readonly before: Binding | undefined
  /** Counts what it takes beside its log. */
  readonly memory: Account
}

export interface Started {
  readonly id: string
  /** False when this request found what an earlier one had started. */
  readonly fresh: boolean
  /** False when its log is kept here alone, for its first readers. */
  readonly kept: boolean
  /** Where it is produced here; one that has just been started may be over already. */
  readonly reply: Reply | undefined
}

/** Memory of a running reply without its log and its request: streams, timers and both connections. Measured: 51 KB. */
const RUNNING_BYTES = 48 * 1024

/** Keeps count of the replies produced here, and ends them all when `signal` aborts. */
export function createReplies(options: RepliesOptions): Replies {
  const { upstream, store, budget, maxReplies, maxReplyBytes, totalTimeoutMs, lingerMs, retries } = options
  const { signal: shutdown, report, onFinish, onEnd, tools, maxSteps, signer, createId, now } = options
  const running = new Map<string, Reply>()
  const idlers = new Set<() => void>()
  let starting = 0
  let refusing: ChatError | undefined
  shutdown?.addEventListener('abort', () => endAll(toChatError(shutdown.reason)))
  if (shutdown?.aborted) refusing = toChatError(shutdown.reason)

  function endAll(reason: ChatError): void {
    refusing ??= reason
    for (const reply of running.values()) {
      reply.stop(reason).catch((error: unknown) => report(toChatError(error), { replyId: reply.id }))
    }
  }

  function lookIdle(): void {
    if (running.size + starting > 0) return
    for (const resolve of idlers) resolve()
    idlers.clear()
  }

  function requireRoom({ caller }: StartOptions): void {
    if (refusing) throw refusing
    budget.admit(caller)
    if (running.size + starting < maxReplies) return
    const busy = [...running.values()].filter(({ over }) => !over)
    if (busy.length + starting >= maxReplies) {
      const text = `This service answers at most ${maxReplies} requests at once. Try again in a moment.`
      throw new ChatError('overloaded', text, { retryAfterMs: 1000 })
    }
  }

  function watchFor(
    id: string,
    request: ChatRequest,
    { chatId, memory }: Pick<Entered, 'chatId' | 'memory'>,
  ): Watch | undefined {
    if (!onFinish && !onEnd) return undefined
    return watchReply({ id, request, chatId, now, onFinish, onEnd, report, onHold: memory.add })
  }

  /** Counts what a reply takes beside its log while it runs. */
  function openMemory(request: ChatRequest): Account {
    const memory = budget.open()
    memory.add(RUNNING_BYTES + bytesOfValue(request))
    return memory
  }

  /** Ends a reply because the memory is needed. Never rejects. */
  async function endForRoom(id: string, memory: Account): Promise<void> {
    memory.leave()
    try {
      await running.get(id)?.stop(outOfMemory('The answer was ended'))
    } catch (error) {
      report(toChatError(error), { replyId: id })
    }
  }

  function produce(id: string, request: ChatRequest, options: Entered): Reply {
    const {
      owner,
      caller,
      remainingMs = Infinity,
      lingerMs: ownLingerMs = lingerMs,
      continues,
      start,
      memory,
    } = options
    const watch = watchFor(id, request, options)
    const reply = startReply({
      id,
      owner,
      store,
      start,
      lingerMs: ownLingerMs,
      maxBytes: maxReplyBytes,
      totalTimeoutMs: Math.max(0, Math.min(totalTimeoutMs, remainingMs)),
      produce: (signal, told) =>
        streamBatches(request, {
          upstream,
          signal,
          id,
          caller,
          continues,
          retries,
          tools,
          onToolError: (error) => report(error, { replyId: id }),
          maxSteps,
          sign: signer && ((call) => signer.sign(call, owner ?? '')),
          onHold: memory.add,
          now: () => start.createdAt,
          ...told,
        }),
      onAccept: watch?.onAccept,
      onDelta: watch?.onDelta,
      onSeen: () => leaveChat(id, options),
      async onEnd({ failure, upstream: answeredBy, missed }) {
        if (!missed) await leaveChat(id, options)
        if (failure) report(failure, { replyId: id, ...(answeredBy ? { upstream: answeredBy } : {}) })
        await watch?.finish({ error: failure, upstream: answeredBy })
        running.delete(id)
        memory.close()
        lookIdle()
      },
    })
    running.set(id, reply)
    return reply
  }

  async function refuseLate(
    id: string,
    request: ChatRequest,
    entered: Entered,
    error: ChatError,
  ): Promise<ChatError> {
    const { key, start } = entered
    // Nothing was asked: the same request may be another instance's.
    await releaseKey(id, key)
    await leaveChat(id, entered)
    const deltas = [start, terminalFor(error)]
    await store.append(id, deltas)
    const watch = watchFor(id, request, entered)
    for (const delta of deltas) watch?.onDelta(delta)
    await watch?.finish({ error, upstream: undefined })
    return error
  }

  // Whoever asks the next question will not come back for an answer that was left: the AI SDK's own stop says no more.
  async function enterChat(id: string, { conversation }: StartOptions): Promise<Binding | undefined> {
    if (conversation === undefined) return undefined
    try {
      const before = await store.claim(conversation, { id }, { replace: true })
      if (before) await tell(before.id, 'supersede')
      return before
    } catch (error) {
      report(toChatError(error), { replyId: id })
      return undefined
    }
  }

  async function leaveChat(id: string, { conversation, before }: Entered): Promise<void> {
    if (conversation === undefined) return
    try {
      await store.release(conversation, id)
      // An older answer that somebody still reads is the newest again.
      if (before && running.get(before.id)?.over === false) await store.claim(conversation, before)
    } catch (error) {
      report(toChatError(error), { replyId: id })
    }
  }

  /** Passes on what is asked of a reply's producer: this process, or another one. Never rejects. */
  async function tell(id: string, ask: Ask): Promise<void> {
    const reply = running.get(id)
    try {
      if (ask === 'supersede' && reply) reply.supersede()
      else if (reply) await reply.stop(new ChatError('cancelled', 'The reply was stopped.'))
      else if (ask === 'supersede') await store.ask(id, ask)
    } catch (error) {
      report(toChatError(error), { replyId: id })
    }
  }

  /** What was started under this key before; undefined when nothing was. */
  async function startedBefore(key: RequestKey | undefined): Promise<Started | undefined> {
    const before = key && (await store.find(key.name))
    return before && requireSame(before.id, before.note, key)
  }

  function requireSame(id: string, note: string | undefined, key: RequestKey): Started {
    if (note === key.note) return { id, fresh: false, kept: true, reply: running.get(id) }
    const text = 'This Idempotency-Key was used for another request. Use a new key for a new question.'
    throw new ChatError('idempotency-mismatch', text, { param: 'Idempotency-Key' })
  }

  async function open(id: string, request: ChatRequest, options: StartOptions): Promise<Started> {
    const memory = openMemory(request)
    try {
      return await openCounted(id, request, options, memory)
    } finally {
      // One that is produced closes it at its end, which may be over.
      if (!running.has(id)) memory.close()
    }
  }

  async function openCounted(
    id: string,
    request: ChatRequest,
    options: StartOptions,
    memory: Account,
  ): Promise<Started> {
    const { owner, caller, key, continues } = options
    const start = startOf({ id, model: request.model, createdAt: now(), continues })
    let kept: boolean
    try {
      kept = await store.create(id, {
        owner,
        caller,
        start,
        onAsk: (ask) => void (running.has(id) && tell(id, ask)),
        onOverload: () => void endForRoom(id, memory),
      })
    } catch (error) {
      // A store without room for another reply still has this one.
      const before = await startedBefore(key).catch(() => undefined)
      if (before) return before
      throw error
    }
    try {
      const before = kept && key && (await store.claim(key.name, { id, note: key.note }))
      if (before) {
        await store.discard(id)
        return requireSame(before.id, before.note, key)
      }
      // No other request has this name yet.
      if (kept && key?.alias !== undefined) await store.claim(key.alias, { id, note: key.note })
    } catch (error) {
      // A claim may have succeeded all the same: nobody shall be led to a log that is not there.
      await releaseKey(id, key)
      await store.discard(id)
      throw error
    }
    const entered = { ...options, start, memory, before: kept ? await enterChat(id, options) : undefined }
    // The shutdown came while the store was busy: nobody shall wait for this log.
    if (refusing) throw await refuseLate(id, request, entered, refusing)
    return { id, fresh: true, kept, reply: produce(id, request, entered) }
  }

  async function releaseKey(id: string, key: RequestKey | undefined): Promise<void> {
    for (const name of key ? [key.name, key.alias] : []) {
      if (name !== undefined) await Promise.resolve(store.release(name, id)).catch(() => {})
    }
  }

  /** Makes room by ending what the same conversation has left behind. */
  async function makeRoom(options: StartOptions): Promise<void> {
    const { conversation } = options
    const before = conversation === undefined ? undefined : await store.find(conversation)
    if (before) await tell(before.id, 'supersede')
    requireRoom(options)
  }

  return {
    async start(request, options = {}) {
      try {
        requireRoom(options)
      } catch (error) {
        // What is there already needs no room.
        const before = await startedBefore(options.key)
        if (before) return before
        if (refusing) throw error
        await makeRoom(options)
      }
      // Counted without a gap: `running` has it before `starting` has it no more.
      starting++
      try {
        return await open(createId(), request, options)
      } finally {
        starting--
        lookIdle()
      }
    },
    get: (id) => running.get(id),
    refuse: (reason) => void (refusing ??= reason),
    end: endAll,
    idle: () =>
      new Promise((resolve) => {
        idlers.add(resolve)
        lookIdle()
      }),
  }
}
