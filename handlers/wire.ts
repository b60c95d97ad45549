import { withCors } from '../src/cors.ts'
import { createHandler, type HandlerOptions } from '../src/handler.ts'
import { createMemoryStore } from '../src/stores/memory.ts'
import type { Handler } from '../src/types.ts'
import { createOpenAI } from '../src/upstreams/openai.ts'
import { logError } from './log.ts'
import type { Options } from './options.ts'

/** Puts the parts together as the environment says; `more` is what a composition root adds. */
export function wire(options: Options, more: Partial<HandlerOptions> = {}): Handler {
  const { retentionMs, apiKey, corsOrigins, ...rest } = options
  const handler = createHandler({
    ...rest,
    // Servers without keys (Ollama, vLLM) still get a header, because the client insists on one.
    upstream: createOpenAI({ ...rest, apiKey: apiKey ?? 'none' }),
    store: createMemoryStore({ ttlMs: retentionMs }),
    onError: logError,
    ...more,
  })
  return withCors(handler, { origins: corsOrigins })
}
