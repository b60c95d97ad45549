import type { Expected } from '../hosts/recordings.ts'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import type {
  ChatDelta,
  ChatRequest,
  HttpReply,
  HttpRequest,
  Upstream,
  UpstreamDelta,
} from '../../src/types.ts'

/** A request with one question. */
export function asking(content = 'hi', more: Partial<ChatRequest> = {}): ChatRequest {
  return { model: 'm', messages: [{ role: 'user', content }], ...more }
}

/** Everything an iterable gives, as an array. */
export async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

/** All pieces of a body as one text. */
export async function textOf({ body }: Pick<HttpReply, 'body'>): Promise<string> {
  return typeof body === 'string' ? body : (await all(body)).join('')
}

/** Waits until a condition holds, looking again and again, and fails when it does not become true. */
export async function until(condition: () => boolean, withinMs = 5000): Promise<void> {
  const end = performance.now() + withinMs
  while (!condition()) {
    if (performance.now() > end)
      expect.fail(`it did not happen within ${withinMs} ms: ${condition.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A promise of something soon: it fails, instead of hanging, when nothing comes. */
export async function soon<T>(promise: PromiseLike<T>, withinMs = 5000): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came within ${withinMs} ms`)), withinMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The words of an answer, joined. */
export function textIn(deltas: readonly (ChatDelta | UpstreamDelta)[], type = 'text'): string {
  return deltas.map((delta) => (delta.type === type && 'text' in delta ? delta.text : '')).join('')
}

export type Step = UpstreamDelta | 'wait' | Error

export interface Script {
  readonly upstream: Upstream
  /** What was asked, in order. */
  readonly asked: ChatRequest[]
  /** How many answers are being given. */
  readonly open: () => number
  /** Lets everything go on that stands at a `'wait'`. */
  readonly release: () => void
}

/** An upstream that does what each script says, one script per request; the last one again and again. */
export function script(...scripts: readonly (readonly Step[])[]): Script {
  const asked: ChatRequest[] = []
  let open = 0
  let waiting: (() => void)[] = []

  function wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(signal.reason)
      if (signal.aborted) return stop()
      signal.addEventListener('abort', stop, { once: true })
      waiting.push(() => {
        signal.removeEventListener('abort', stop)
        resolve()
      })
    })
  }

  async function* upstream(request: ChatRequest, { signal }: { signal: AbortSignal }) {
    const steps = scripts[Math.min(asked.length, scripts.length - 1)] ?? []
    asked.push(request)
    open++
    try {
      for (const step of steps) {
        if (step === 'wait') await wait(signal)
        else if (step instanceof Error) throw step
        else yield step
      }
    } finally {
      open--
    }
  }

  function release(): void {
    const ready = waiting
    waiting = []
    for (const go of ready) go()
  }

  return { upstream, asked, open: () => open, release }
}

export const hel: UpstreamDelta = { type: 'text', text: 'Hel' }
export const lo: UpstreamDelta = { type: 'text', text: 'lo' }
export const stop: UpstreamDelta = { type: 'finish', reason: 'stop' }

export interface Asking {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as it is when it is a text, else as JSON. */
  readonly body?: unknown
  readonly signal?: AbortSignal
}

/** A request as a handler sees it. */
export function http(url: string, { method, headers = {}, body, signal }: Asking = {}): HttpRequest {
  const all = { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers }
  const fields = new Map(Object.entries(all))
  return {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    url,
    headers: { get: (name) => fields.get(name.toLowerCase()) ?? null },
    text: async () => (typeof body === 'string' ? body : JSON.stringify(body ?? '')),
    signal: signal ?? new AbortController().signal,
  }
}

/** The deltas of a text of events. */
export function deltasIn(text: string): ChatDelta[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => JSON.parse(line.slice(6)) as ChatDelta)
}

/** What `index.json` says of one recording. */
export interface Recording {
  readonly name: string
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly expected: Expected
}

/** Every recorded stream; none, with a word about it, where there are no recordings. */
export function recordings(): readonly Recording[] {
  const directory = process.env['RECORDINGS_DIR']
  if (!directory) {
    if (process.env['CI'])
      throw new Error('RECORDINGS_DIR must be set in CI: the recorded streams are required there.')
    console.warn(
      'Skipped: the recorded streams of real servers. Set RECORDINGS_DIR to the directory that holds them.',
    )
    return []
  }
  const index = JSON.parse(readFileSync(join(directory, 'index.json'), 'utf8')) as Omit<Recording, 'bytes'>[]
  return readdirSync(directory)
    .filter((file) => file.endsWith('.sse'))
    .map((file) => {
      const entry = index.find(({ name }) => `${name}.sse` === file)
      if (!entry) throw new Error(`${file} is not in index.json.`)
      return { ...entry, bytes: new Uint8Array(readFileSync(join(directory, file))) }
    })
}
