import { passFieldProblem } from '../src/dialects/openai-pass.ts'
import { type DialectName, dialectNames } from '../src/handler.ts'
import { hostProblem, isLoopback } from '../src/hosts.ts'
import type { AllowContinue } from '../src/policy.ts'
import type { Tool } from '../src/tools.ts'
import { defaultMemoryBytes } from './memory.ts'
import { tools } from './tools.ts'
import { secretsIn } from './secrets.ts'
import { type Api, apis, modelsNamed, readUpstreams, type UpstreamSettings } from './upstreams.ts'
import { type Environment, keyProblem, MAX_MS, parseUrl, quote, textIn, urlProblem } from './values.ts'

/** Everything the environment can set. Durations in milliseconds; absent = the default of the part that uses it. */
export interface Options {
  readonly port: number
  readonly host: string
  /** Processes that answer requests, all at that port. */
  readonly workers: number
  readonly apiKey: string | undefined
  readonly baseURL: string | undefined
  /** What the one server speaks; each of `upstreams` says so itself. */
  readonly api: Api
  /** Servers to be asked in this order, in place of the one at `baseURL`. */
  readonly upstreams: readonly UpstreamSettings[] | undefined
  /** Keys and passwords of the environment: no words of an upstream that hold one are shown. */
  readonly secrets?: readonly string[] | undefined
  readonly model: string
  readonly models: readonly string[] | '*'
  readonly systemPrompt: string | undefined
  readonly corsOrigins: readonly string[]
  /** Host names under which clients reach the service, beside those of this machine where `loopback` is set. */
  readonly allowedHosts: readonly string[] | '*'
  /** Whether only this machine can reach the server. */
  readonly loopback: boolean
  /** Proxies in front of the server, whose `X-Forwarded-For` states the client's address. */
  readonly trustedProxies: number
  readonly allowContinue: AllowContinue
  /** Where the streaming function is, for the one that cannot stream. */
  readonly chatUrl: string | undefined
  readonly production: boolean
  readonly imageHosts: readonly string[] | '*' | undefined
  readonly dialects: readonly DialectName[] | undefined
  /** Those of `tools.ts` that the model may call. */
  readonly tools: readonly Tool[]
  /** Whether the upstream is on this machine, and no proxy is asked for it. Not of the environment. */
  readonly nearby?: boolean | undefined
  readonly maxBodyBytes: number
  readonly maxJsonNodes: number
  readonly passFields: readonly string[] | undefined
  readonly maxMessages: number
  readonly maxReplies: number | undefined
  readonly maxSteps: number | undefined
  readonly maxOutputTokens: number | undefined
  readonly maxEventBytes: number
  readonly maxReplyBytes: number
  /** Memory of all replies of one process together. */
  readonly maxMemoryBytes: number
  readonly retries: number
  readonly headersTimeoutMs: number
  readonly firstDeltaTimeoutMs: number
  readonly idleTimeoutMs: number
  readonly totalTimeoutMs: number
  readonly heartbeatMs: number
  readonly lingerMs: number
  readonly retentionMs: number
  readonly drainMs: number
  readonly stallTimeoutMs: number
  readonly bodyTimeoutMs: number
  readonly acceptWaitMs: number
  /** How long somebody who came back is served before it has to come again. */
  readonly followMs: number | undefined
  readonly leaseMs: number
  /** Where replies are kept; in memory without it. */
  readonly redisUrl: string | undefined
  readonly redisDown: 'fail' | 'degrade'
  /** Bytes that the finished replies of one caller may take in Redis. */
  readonly maxStoredBytes: number | undefined
  readonly redisPrefix: string | undefined
  /** Signs the calls of tools that run in the client. */
  readonly signingSecret: string | undefined
  /** Whether leaving the page stops its answer. */
  readonly stopOnPageHide: boolean
}

/** What the server binds. */
type Address = Pick<Options, 'host' | 'loopback'>

/** The model where neither `OPENAI_MODEL` nor `MODELS` nor `UPSTREAMS` says anything. */
const DEFAULT_MODEL = 'gpt-4.1-mini'

/** Settings that the documentation of later versions names: ignoring them would be a promise broken in silence. */
const notYet: Readonly<Record<string, string>> = {
  API_KEYS: 'this version has no keys of its own; put an authenticating proxy in front, or unset it',
}

/** Origins of desktop shells and extensions, such as `tauri://localhost`: the URL standard knows none for their schemes. */
const shellOrigin = /^(?!(?:https?|wss?|ftp|file):)[a-z][a-z0-9+.-]*:\/\/[a-z0-9._-]+(?::\d{1,5})?$/

/**
 * Reads the environment.
 *
 * @throws `OptionsError` that lists every problem at once, and no secret.
 */
export function readOptions(env: Environment): Options {
  const problems: string[] = []

  const text = (name: string): string | undefined => textIn(env, name)

  function whole(name: string, fallback: number, min: number, max: number): number {
    const value = text(name)
    if (value === undefined) return fallback
    const number = Number(value)
    if (/^\d+$/.test(value) && number >= min && number <= max) return number
    problems.push(`${name} must be a whole number from ${min} to ${max}; got ${quote(value)}`)
    return fallback
  }

  const ms = (name: string, fallback: number, min = 1): number => whole(name, fallback, min, MAX_MS)
  const bytes = (name: string, fallback: number): number => whole(name, fallback, 1, 2 ** 30)
  const count = (name: string): number | undefined => whole(name, 0, 1, 10_000_000) || undefined

  /** A count whose default limit can be lifted. */
  function limit(name: string): number | undefined {
    const value = text(name)
    if (value === undefined) return undefined
    if (value === 'none') return Infinity
    const number = Number(value)
    if (/^\d+$/.test(value) && number >= 1 && number <= 10_000_000) return number
    problems.push(`${name} must be a whole number from 1 to 10000000, or none; got ${quote(value)}`)
    return undefined
  }

  function list(name: string): readonly string[] {
    return (text(name) ?? '').split(',').flatMap((item) => item.trim() || [])
  }

  function dialects(name: string): readonly DialectName[] | undefined {
    const values = list(name)
    const wrong = values.find((value) => !dialectNames.some((known) => known === value))
    if (wrong !== undefined) {
      problems.push(`${name} must list some of ${dialectNames.join(', ')}; got ${quote(wrong)}`)
    }
    return values.length > 0 ? dialectNames.filter((known) => values.includes(known)) : undefined
  }

  // None by default: a model that knows of tools answers differently, and some models refuse them.
  function toolsNamed(name: string): readonly Tool[] {
    const names = list(name)
    if (names.includes('*')) return tools
    const known = tools.map((tool) => tool.name)
    for (const each of names) {
      if (known.includes(each)) continue
      problems.push(
        `${name} must list tools of handlers/tools.ts (${known.join(', ')}), or be *; got ${quote(each)}`,
      )
    }
    return tools.filter((tool) => names.includes(tool.name))
  }

  function url(name: string): string | undefined {
    const value = text(name)
    const problem = value && urlProblem(value, 'OPENAI_API_KEY')
    if (problem) problems.push(`${name} ${problem}`)
    return value
  }

  function origins(name: string): readonly string[] {
    const values = list(name)
    for (const value of values) {
      if (shellOrigin.test(value) || (parseUrl(value)?.origin === value && !value.includes('*'))) continue
      problems.push(`${name} must list exact origins such as https://chat.example; got ${quote(value)}`)
    }
    return values
  }

  function key(name: string): string | undefined {
    const value = text(name)
    const problem = value && keyProblem(value)
    if (problem) problems.push(`${name} ${problem}`)
    return value
  }

  function secret(name: string): string | undefined {
    const value = text(name)
    if (value !== undefined && value.length < 16) {
      problems.push(`${name} must have at least 16 characters; got ${value.length}`)
    }
    return value
  }

  /** The first is the default. */
  function oneOf<T extends string>(name: string, choices: readonly [T, ...T[]]): T {
    const value = text(name) ?? choices[0]
    const known = choices.find((each) => each === value)
    if (!known) problems.push(`${name} must be one of ${choices.join(', ')}; got ${quote(value)}`)
    return known ?? choices[0]
  }

  function redis(name: string): string | undefined {
    const value = text(name)
    if (value === undefined) return undefined
    const known = /^rediss?:$/.test(parseUrl(value)?.protocol ?? '') && parseUrl(value)?.hostname
    // It may hold a password.
    if (!known) problems.push(`${name} must be an address such as redis://host:6379 or rediss://host:6379`)
    return value
  }

  function prefix(name: string): string | undefined {
    const value = text(name)
    if (value !== undefined && !/^[\w.:-]{1,64}$/.test(value)) {
      problems.push(`${name} must be 1 to 64 letters, digits or any of _ . : -; got ${quote(value)}`)
    }
    return value
  }

  function workers(name: string): number {
    const count = whole(name, 1, 1, 256)
    if (count > 1 && text('REDIS_URL') === undefined) {
      problems.push(
        `${name} must be 1 without REDIS_URL, because workers do not know the replies of each other: set REDIS_URL, or unset ${name}; got ${quote(String(count))}`,
      )
    }
    return count
  }

  function passFields(name: string): readonly string[] | undefined {
    const values = list(name)
    for (const value of values) {
      const problem = passFieldProblem(value)
      if (problem) problems.push(`${name} ${problem}; got ${quote(value)}`)
    }
    return values.length > 0 ? values : undefined
  }

  function hosts(name: string): readonly string[] | '*' | undefined {
    const values = list(name).map((value) => value.toLowerCase())
    if (values.includes('*')) return '*'
    for (const value of values) {
      if (parseUrl(`https://${value}`)?.host === value && !value.includes('*')) continue
      const examples = 'images.example or images.example:8443'
      problems.push(`${name} must list exact host names such as ${examples}, or *; got ${quote(value)}`)
    }
    return values.length > 0 ? values : undefined
  }

  function endpoint(): { readonly host: string; readonly port: number } {
    const value = text('AWS_LAMBDA_HTTP_ENDPOINT')
    const host = text('HOST') ?? '127.0.0.1'
    const port = whole('PORT', 3000, 0, 65535)
    if (value === undefined) return { host, port }
    const match = /^(?:http:\/\/)?([^/]+):(\d{1,5})\/?$/.exec(value)
    if (match && Number(match[2]) <= 65535)
      return { host: match[1]!.replace(/^\[|\]$/g, ''), port: Number(match[2]) }
    problems.push(`AWS_LAMBDA_HTTP_ENDPOINT must be host:port; got ${quote(value)}`)
    return { host, port }
  }

  /** Host names that requests may be sent to. Other sites' pages reach a server that checks none (DNS rebinding). */
  function allowedHosts(name: string, { host, loopback }: Address): readonly string[] | '*' {
    const values = list(name)
    if (values.includes('*')) return '*'
    for (const value of values) {
      const problem = hostProblem(value)
      if (problem) problems.push(`${name} ${problem}, or *; got ${quote(value)}`)
    }
    // AWS calls a Web Function for the host names of its own URL only.
    if (values.length === 0 && text('AWS_LAMBDA_HTTP_ENDPOINT') !== undefined) return '*'
    if (values.length === 0 && !loopback) {
      problems.push(
        `${name} must list the host names under which clients reach this server, such as chat.example, because it listens on ${quote(host)}: set it, or set it to * where a proxy in front checks them`,
      )
    }
    return values
  }

  function requireAnonymous(name: string, { host, loopback }: Address): void {
    const value = oneOf(name, ['0', '1'])
    if (loopback || value === '1' || (text(name) ?? '0') !== '0') return
    problems.push(
      `${name} must be 1 because the server listens on ${quote(host)} and has no authentication: everyone who reaches it can spend tokens. Put an authenticating proxy in front and set ${name}=1, or unset HOST`,
    )
  }

  for (const [name, why] of Object.entries(notYet))
    if (text(name)) problems.push(`${name} is set, but ${why}`)
  const bound = endpoint()
  const address = { host: bound.host, loopback: isLoopback(bound.host) }
  requireAnonymous('ALLOW_ANONYMOUS', address)
  const upstreams = readUpstreams(env, problems)
  const choice = chooseModels(text('OPENAI_MODEL'), list('MODELS'), upstreams)
  if (problems.length === 0) problems.push(...unserved(choice, upstreams))
  const options: Options = {
    ...bound,
    loopback: address.loopback,
    workers: workers('WORKERS'),
    apiKey: key('OPENAI_API_KEY'),
    baseURL: url('OPENAI_BASE_URL'),
    api: oneOf('UPSTREAM_API', apis),
    upstreams,
    ...secretsIn(env, upstreams),
    ...choice,
    systemPrompt: text('SYSTEM_PROMPT'),
    corsOrigins: origins('CORS_ORIGINS'),
    allowedHosts: allowedHosts('ALLOWED_HOSTS', address),
    trustedProxies: whole('TRUSTED_PROXIES', 0, 0, 100),
    allowContinue: oneOf('ON_DISCONNECT_CONTINUE', ['authenticated', 'never', 'always']),
    chatUrl: url('CHAT_URL'),
    production: env['NODE_ENV'] === 'production' || text('AWS_LAMBDA_HTTP_ENDPOINT') !== undefined,
    dialects: dialects('DIALECTS'),
    tools: toolsNamed('TOOLS'),
    imageHosts: hosts('IMAGE_HOSTS'),
    maxBodyBytes: bytes('MAX_BODY_BYTES', 262_144),
    maxJsonNodes: whole('MAX_JSON_NODES', 10_000, 1, 10_000_000),
    passFields: passFields('PASS_FIELDS'),
    maxMessages: whole('MAX_MESSAGES', 200, 1, 1_000_000),
    maxReplies: limit('MAX_REPLIES'),
    maxSteps: count('MAX_STEPS'),
    maxOutputTokens: limit('MAX_OUTPUT_TOKENS'),
    maxEventBytes: bytes('MAX_EVENT_BYTES', 1024 * 1024),
    maxReplyBytes: bytes('MAX_REPLY_BYTES', 8 * 1024 * 1024),
    maxMemoryBytes: whole('MAX_MEMORY_BYTES', defaultMemoryBytes(), 1024 * 1024, 2 ** 40),
    retries: whole('UPSTREAM_RETRIES', 2, 0, 10),
    headersTimeoutMs: ms('HEADERS_TIMEOUT_MS', 30_000),
    firstDeltaTimeoutMs: ms('FIRST_DELTA_TIMEOUT_MS', 60_000),
    idleTimeoutMs: ms('IDLE_TIMEOUT_MS', 30_000),
    totalTimeoutMs: ms('TOTAL_TIMEOUT_MS', 600_000),
    heartbeatMs: ms('HEARTBEAT_MS', 15_000),
    lingerMs: ms('LINGER_MS', 30_000, 0),
    retentionMs: ms('RETENTION_MS', 600_000, 0),
    drainMs: ms('DRAIN_MS', 25_000, 0),
    stallTimeoutMs: ms('STALL_TIMEOUT_MS', 30_000),
    bodyTimeoutMs: ms('BODY_TIMEOUT_MS', 15_000),
    acceptWaitMs: ms('ACCEPT_WAIT_MS', 5000, 0),
    followMs: ms('FOLLOW_MS', 0) || undefined,
    leaseMs: ms('LEASE_MS', 15_000, 1000),
    redisUrl: redis('REDIS_URL'),
    redisDown: oneOf('REDIS_DOWN', ['fail', 'degrade']),
    redisPrefix: prefix('REDIS_PREFIX'),
    maxStoredBytes: whole('MAX_STORED_BYTES', 0, 1, 2 ** 40) || undefined,
    signingSecret: secret('SIGNING_SECRET'),
    stopOnPageHide: oneOf('STOP_ON_PAGE_HIDE', ['no', 'yes']) === 'yes',
  }
  if (problems.length > 0) throw new OptionsError(problems)
  return options
}

/**
 * Reads the environment of a function, which binds nothing: AWS calls it for the host names of its own URL only, so that
 * any is allowed unless `ALLOWED_HOSTS` says otherwise. It is one process for each request at a time, without workers.
 */
export function readFunctionOptions(env: Environment): Options {
  const allowed = textIn(env, 'ALLOWED_HOSTS') ?? '*'
  return readOptions({ ...env, WORKERS: undefined, HOST: undefined, ALLOWED_HOSTS: allowed })
}

/** What is wrong with the environment, one sentence each. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(
      `The environment has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${problems
        .map((problem) => `  - ${problem}`)
        .join('\n')}`,
    )
    this.problems = problems
  }
}

/** The default model and those that may be asked for. What the upstreams name counts where nothing else is said. */
function chooseModels(
  chosen: string | undefined,
  listed: readonly string[],
  upstreams: readonly UpstreamSettings[] = [],
): Pick<Options, 'model' | 'models'> {
  const said = chosen === undefined && listed.length === 0 ? upstreams.flatMap(modelsNamed) : listed
  const model = chosen ?? said.find((name) => name !== '*') ?? DEFAULT_MODEL
  return { model, models: said.includes('*') ? '*' : [...new Set([model, ...said])] }
}

/** One sentence for each model that may be asked for and that no upstream would answer with. */
function unserved(
  { model, models }: Pick<Options, 'model' | 'models'>,
  upstreams: readonly UpstreamSettings[] = [],
): readonly string[] {
  if (upstreams.length === 0 || upstreams.some((upstream) => !upstream.models)) return []
  const served = new Set(upstreams.flatMap(modelsNamed))
  const asked = models === '*' ? [model] : models
  return asked
    .filter((name) => !served.has(name))
    .map((name) => `UPSTREAMS must have an entry whose models name ${quote(name)}, which may be asked for`)
}
