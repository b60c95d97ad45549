import { readFile } from 'node:fs/promises'
import { createHandler, type HandlerOptions } from '../../src/handler.ts'
import { createMemoryStore } from '../../src/stores/memory.ts'
import type { Handler } from '../../src/types.ts'
import { createOpenAI } from '../../src/upstreams/openai.ts'

/** What both hosts run: everything that could differ between two runs is given or counted. */
export interface SubjectOptions {
  /** Base URL of the upstream. */
  readonly baseURL: string
  /** Where the page's files are; ends with a slash. */
  readonly page: URL
  /** Other limits than the defaults: plain values, because they travel to the runtime as JSON. */
  readonly limits?: SubjectLimits | undefined
}

export type SubjectLimits = Pick<
  HandlerOptions,
  'maxReplyBytes' | 'acceptWaitMs' | 'heartbeatMs' | 'lingerMs' | 'totalTimeoutMs' | 'retries'
> & {
  /** How long a reply can be read after its end. */
  readonly retentionMs?: number
}

const createdAt = Date.UTC(2026, 0, 1)

/**
 * Creates the handler of one host. Ids are counted and the clock stands still, so that the same requests in the
 * same order get the same bytes; `GET /fresh` begins again with an empty store and the first id.
 */
export function createSubject({ baseURL, page, limits = {} }: SubjectOptions): Handler {
  const { retentionMs, ...rest } = limits
  const info = { model: 'model-a', models: ['model-a', 'model-b'] }
  const upstream = createOpenAI({ baseURL, apiKey: 'sk-canary-0123456789' })

  function create(): Handler {
    let ids = 0
    return createHandler({
      upstream,
      ...info,
      // Retries wait at random; whoever wants them says so.
      retries: 0,
      store: createMemoryStore(retentionMs === undefined ? {} : { ttlMs: retentionMs }),
      page: { read: (name) => readFile(new URL(name, page), 'utf8'), info: { simulated: false, ...info } },
      createId: () => `reply-${++ids}`,
      now: () => createdAt,
      ...rest,
    })
  }

  let current = create()
  return async (request) => {
    if (request.url !== '/fresh') return current(request)
    current = create()
    return { status: 204, headers: {}, body: '', settled: Promise.resolve() }
  }
}
