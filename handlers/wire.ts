import { createNodeFetch } from '../adapters/node.ts'
import { withCors } from '../src/cors.ts'
import { withAllowedHosts } from '../src/hosts.ts'
import { type ChatHandler, createHandler, type HandlerOptions } from '../src/handler.ts'
import { createMemoryStore } from '../src/stores/memory.ts'
import type { Handler, Upstream } from '../src/types.ts'
import { createFailover, type FailoverEntry } from '../src/upstreams/failover.ts'
import { toTheirName } from '../src/upstreams/models.ts'
import { createOpenAI, type OpenAIOptions } from '../src/upstreams/openai.ts'
import { logError, logFailover, logReply } from './log.ts'
import type { Options } from './options.ts'
import { signingSecretFor } from './signing.ts'
import type { UpstreamSettings } from './upstreams.ts'

export interface Wired {
  readonly handler: Handler
  readonly close: ChatHandler['close']
}

/** Puts the parts together as the environment says; `more` is what a composition root adds. Without a store: in memory. */
export function wire(options: Options, more: Partial<HandlerOptions> = {}): Wired {
  const { corsOrigins, allowedHosts, loopback, tools, retentionMs, maxMemoryBytes, ...rest } = options
  const handler = createHandler({
    ...rest,
    upstream: upstreamFor(options),
    tools: tools.length > 0 ? tools : undefined,
    store: createMemoryStore({ ttlMs: retentionMs, maxBytes: maxMemoryBytes }),
    signingSecret: signingSecretFor(options),
    onError: logError,
    onEnd: logReply,
    ...more,
  })
  // The host is checked first: a page that was rebound to this server counts as its own for everything after it.
  const guarded = withAllowedHosts(withCors(handler, { origins: corsOrigins }), {
    hosts: allowedHosts,
    loopback,
  })
  return { handler: guarded, close: handler.close }
}

// What the environment says of an OpenAI account is nothing for the servers of others.
const noAccount = { organization: null, project: null }

/** `OPENAI_CUSTOM_HEADERS` is for OpenAI alone: with null no header of the environment's is sent. */
function headersFor({ baseURL, headers }: UpstreamSettings): OpenAIOptions['headers'] {
  return headers ?? (/(?:^|\.)api\.openai\.com$/.test(new URL(baseURL).hostname) ? undefined : null)
}

/** One server as it is; several so that one stands in for another. */
function upstreamFor(options: Options): Upstream {
  const { upstreams = [], headersTimeoutMs, firstDeltaTimeoutMs, idleTimeoutMs, maxEventBytes } = options
  const limits = { headersTimeoutMs, firstDeltaTimeoutMs, idleTimeoutMs, maxEventBytes }
  const shared = { ...limits, secrets: options.secrets, fetch: createNodeFetch({ proxies: !options.nearby }) }
  // Servers without keys (Ollama, vLLM) still get a header, because the client insists on one.
  const { apiKey = 'none', baseURL, api } = options
  const [first, ...others] = upstreams.map(({ name, models, ...rest }) => {
    const own = { ...rest, headers: headersFor({ name, ...rest }) }
    return { name, models, upstream: createOpenAI({ ...shared, apiKey: 'none', ...noAccount, ...own }) }
  })
  if (!first) return createOpenAI({ ...shared, apiKey, baseURL, api })
  if (others.length === 0) return renaming(first)
  return createFailover([first, ...others], { onFailover: logFailover })
}

function renaming({ upstream, models }: FailoverEntry): Upstream {
  const theirName = toTheirName(models)
  return (request, options) => {
    return upstream({ ...request, model: theirName(request.model) ?? request.model }, options)
  }
}
