import type { ChatRequest, Upstream, UpstreamDelta } from '../../src/index.ts'

/** One question that reached the upstream, answered by the test. */
export interface Asked {
  readonly request: ChatRequest
  /** Aborts when nobody wants the answer any more. */
  readonly signal: AbortSignal
  say(...texts: readonly string[]): void
  finish(): void
  fail(error: unknown): void
}

export interface Script {
  readonly upstream: Upstream
  /** The questions so far. */
  readonly asked: readonly Asked[]
}

/** An upstream that says what the test tells it to say, when it does. */
export function createScript(): Script {
  const asked: Asked[] = []

  async function* upstream(request: ChatRequest, { signal }: { signal: AbortSignal }) {
    const queue: (UpstreamDelta | { readonly thrown: unknown })[] = []
    let wake = (): void => {}
    const put = (...items: typeof queue): void => {
      queue.push(...items)
      wake()
    }
    asked.push({
      request,
      signal,
      say: (...texts) => put(...texts.map((text) => ({ type: 'text', text }) as const)),
      finish: () => put({ type: 'finish', reason: 'stop' }),
      fail: (thrown) => put({ thrown }),
    })
    signal.addEventListener('abort', () => wake(), { once: true })
    for (;;) {
      const item = queue.shift()
      if (signal.aborted) throw signal.reason
      if (!item) await new Promise<void>((resolve) => (wake = resolve))
      else if ('thrown' in item) throw item.thrown
      else yield item
    }
  }

  return { upstream, asked }
}

/** An upstream that answers every question at once, with these words. */
export function saying(...texts: readonly string[]): Upstream {
  return async function* () {
    for (const text of texts) yield { type: 'text', text }
    yield { type: 'finish', reason: 'stop' }
  }
}
