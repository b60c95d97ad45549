import type { ChatDelta } from '../src/types.ts'
import { openConnection, toBreak, type Connection } from './connection.ts'
import { Trouble } from './errors.ts'
import { fade, readEvents } from './events.ts'
import { listen, type Host } from './host.ts'
import { createPatience, LONGEST_WAIT_MS, type Patience } from './patience.ts'
import { createReading } from './reading.ts'
import { createRequests } from './requests.ts'
import type { AskOptions, Chat, ChatClient, ChatState } from './types.ts'

/** Makes the client for a place to run in. */
export function createChat(host: Host): ChatClient {
  return Object.assign((options: AskOptions) => follow(host, options), {
    resume: ((id, { after = 0, ...options } = {}) =>
      follow(host, options, { id, after })) satisfies ChatClient['resume'],
  })
}

/** What a loop that was left by its owner ends with: nobody sees it. */
const LEFT = Symbol('left')
const never = new AbortController().signal

function follow(
  host: Host,
  options: AskOptions,
  { id, after }: { id?: string | undefined; after: number } = { after: 0 },
): Chat {
  const { heartbeatMs = 15_000, signal, onState, onId, stopOnPageHide } = options
  const requests = createRequests(options, host.scope)
  const patience = createPatience(host, options)
  const reading = createReading(after)
  const leaving = new AbortController()
  const silenceMs = heartbeatMs * 2 + 5_000
  let state: ChatState = 'connecting'
  let begun = false
  let stopping: Promise<'stopped' | 'ended'> | undefined
  let connection: Connection | undefined
  /** Ends each wait that goes on now. */
  const waits = new Set<() => void>()
  let tellName = (): void => {}
  const named = new Promise<void>((resolve) => (tellName = resolve))

  function setState(next: ChatState): void {
    if (next === state && begun) return
    state = next
    onState?.(next)
  }

  function setId(told: string | null): void {
    if (id !== undefined || !told) return
    id = told
    tellName()
    onId?.(told)
  }

  function open(leaving: AbortSignal, onStall = (): void => {}): Connection {
    return openConnection({ host, silenceMs, leaving, onStall })
  }

  async function* deltas(): AsyncGenerator<ChatDelta, void, undefined> {
    const leave = (): void => leaving.abort(signal?.reason)
    signal?.addEventListener('abort', leave)
    if (signal?.aborted) leave()
    const unlisten = listen(host.scope, {
      online: look,
      visibilitychange: () => host.scope.document?.visibilityState === 'hidden' || look(),
      // A page that is only put away comes back.
      pagehide: ({ persisted }) => {
        if (stopOnPageHide && !persisted && id !== undefined) requests.sendStop(open(never), id)
      },
    })
    try {
      setState('connecting')
      begun = true
      for (;;) {
        leaving.signal.throwIfAborted()
        try {
          return yield* connect()
        } catch (thrown) {
          if (!(thrown instanceof Trouble)) throw thrown
          if (!reading.resumable) throw toBreak('incomplete', thrown.error)
          setState('resuming')
          await pause(patience, thrown, leaving.signal)
        }
      }
    } catch (thrown) {
      if (thrown !== LEFT) throw thrown
    } finally {
      signal?.removeEventListener('abort', leave)
      unlisten()
      end()
    }
  }

  /** One connection. Returns at the end of the reply. */
  async function* connect(): AsyncGenerator<ChatDelta, void, undefined> {
    const own = (connection = open(leaving.signal, () => setState('stalled')))
    let openedAt = Infinity
    let over = false
    try {
      const response = await (id === undefined ? requests.ask(own) : requests.resume(own, id, reading.cursor))
      if (!response) return
      openedAt = own.heardMs
      if (response.headers.get('x-reply-resumable') === 'no') reading.forgo()
      setId(response.headers.get('x-reply-id'))
      setState('live')
      const reader = response.body!.getReader()
      for await (const event of readEvents(reader, own)) {
        const delta = reading.take(event)
        if (!delta) continue
        patience.renew()
        if (delta.type === 'start') setId(delta.id)
        over = delta.type === 'finish' || delta.type === 'error'
        yield delta
        if (over) return void fade(reader, own, host) // ends by itself, soon
      }
      throw new Trouble(toBreak('incomplete'), { orderly: true })
    } finally {
      if (own.heardMs - openedAt > LONGEST_WAIT_MS) patience.renew()
      if (!over) own.close()
    }
  }

  async function pause(patience: Patience, trouble: Trouble, leaving: AbortSignal): Promise<void> {
    const ms = patience.wait(trouble)
    if (ms === undefined) throw trouble.error
    // It may have been left by whoever was just told that it is resuming.
    if (leaving.aborted) return
    await new Promise<void>((resolve) => {
      const cancel = host.setTimer(done, ms)
      function done(): void {
        cancel()
        waits.delete(done)
        leaving.removeEventListener('abort', done)
        resolve()
      }
      leaving.addEventListener('abort', done)
      // What the service asked for is waited for, whatever happens here.
      if (trouble.error.retryAfterMs === undefined) waits.add(done)
    })
  }

  /** The network, or the reader, is back: as good as the first time. */
  function look(): void {
    patience.renew()
    connection?.check()
    for (const done of waits) done()
  }

  function end(): void {
    tellName()
    setState('ended')
  }

  async function stop(): Promise<'stopped' | 'ended'> {
    if (!begun && id === undefined) {
      leaving.abort(LEFT)
      return 'ended'
    }
    if (id === undefined) await named
    if (id === undefined) return 'ended'
    const patience = createPatience(host, options)
    for (;;) {
      const own = open(never)
      try {
        return await requests.stop(own, id)
      } catch (thrown) {
        if (!(thrown instanceof Trouble)) throw thrown
        await pause(patience, thrown, never)
      } finally {
        own.close()
      }
    }
  }

  const source = deltas()
  const iterator: AsyncIterableIterator<ChatDelta> = {
    next: () => source.next(),
    // A generator's own `return` waits for what may never come.
    return() {
      leaving.abort(LEFT)
      if (!begun) end()
      return source.return()
    },
    [Symbol.asyncIterator]: () => iterator,
  }

  return {
    get id() {
      return id
    },
    get cursor() {
      return reading.cursor
    },
    get state() {
      return state
    },
    stop: () => (stopping ??= stop()),
    [Symbol.asyncIterator]: () => iterator,
  }
}
