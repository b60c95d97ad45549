/** Everything the environment can set. Durations in milliseconds; absent = the default of the part that uses it. */
export interface Options {
  readonly port: number
  readonly host: string
  readonly apiKey: string | undefined
  readonly baseURL: string | undefined
  readonly model: string
  readonly models: readonly string[] | '*'
  readonly systemPrompt: string | undefined
  readonly corsOrigins: readonly string[]
  /** Where the streaming function is, for the one that cannot stream. */
  readonly chatUrl: string | undefined
  readonly production: boolean
  readonly maxBodyBytes: number
  readonly maxReplies: number | undefined
  readonly maxOutputTokens: number | undefined
  readonly maxEventBytes: number
  readonly maxReplyBytes: number
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
}

type Environment = Readonly<Record<string, string | undefined>>

/** The model where neither `OPENAI_MODEL` nor `MODELS` says anything. */
const DEFAULT_MODEL = 'gpt-4.1-mini'

/** Settings that the documentation of later versions names: ignoring them would be a promise broken in silence. */
const notYet: Readonly<Record<string, string>> = {
  API_KEYS: 'this version has no keys of its own; put an authenticating proxy in front, or unset it',
  REDIS_URL: 'this version keeps replies in memory only; unset it',
}

/** The longest a timer can wait. */
const MAX_MS = 2 ** 31 - 1

/**
 * Reads the environment.
 *
 * @throws `OptionsError` that lists every problem at once, and no secret.
 */
export function readOptions(env: Environment): Options {
  const problems: string[] = []

  function text(name: string): string | undefined {
    const value = env[name]?.trim()
    return value === '' ? undefined : value
  }

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

  function list(name: string): readonly string[] {
    return (text(name) ?? '').split(',').flatMap((item) => item.trim() || [])
  }

  function url(name: string): string | undefined {
    const value = text(name)
    const parsed = value === undefined ? undefined : parseUrl(value)
    if (parsed && (parsed.username || parsed.password)) {
      problems.push(`${name} must not hold a user name or password; keys go into OPENAI_API_KEY`)
    } else if (value !== undefined && !/^https?:$/.test(parsed?.protocol ?? '')) {
      problems.push(`${name} must be a URL that begins with http:// or https://`)
    }
    return value
  }

  function origins(name: string): readonly string[] {
    const values = list(name)
    for (const value of values) {
      if (parseUrl(value)?.origin === value && !value.includes('*')) continue
      problems.push(`${name} must list exact origins such as https://chat.example; got ${quote(value)}`)
    }
    return values
  }

  // A key with a line break or a space in it is a mistake of copying, and would fail in every request.
  function key(name: string): string | undefined {
    const value = text(name)
    if (value !== undefined && !/^[\x21-\x7e]+$/.test(value)) {
      problems.push(`${name} must consist of printable ASCII characters without spaces`)
    }
    return value
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

  for (const [name, why] of Object.entries(notYet))
    if (text(name)) problems.push(`${name} is set, but ${why}`)
  const listed = list('MODELS')
  const model = text('OPENAI_MODEL') ?? listed.find((name) => name !== '*') ?? DEFAULT_MODEL
  const options: Options = {
    ...endpoint(),
    apiKey: key('OPENAI_API_KEY'),
    baseURL: url('OPENAI_BASE_URL'),
    model,
    models: listed.includes('*') ? '*' : [...new Set([model, ...listed])],
    systemPrompt: text('SYSTEM_PROMPT'),
    corsOrigins: origins('CORS_ORIGINS'),
    chatUrl: url('CHAT_URL'),
    production: env['NODE_ENV'] === 'production' || text('AWS_LAMBDA_HTTP_ENDPOINT') !== undefined,
    maxBodyBytes: bytes('MAX_BODY_BYTES', 262_144),
    maxReplies: count('MAX_REPLIES'),
    maxOutputTokens: count('MAX_OUTPUT_TOKENS'),
    maxEventBytes: bytes('MAX_EVENT_BYTES', 1024 * 1024),
    maxReplyBytes: bytes('MAX_REPLY_BYTES', 8 * 1024 * 1024),
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
  }
  if (problems.length > 0) throw new OptionsError(problems)
  return options
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

function quote(value: string): string {
  return JSON.stringify(value.slice(0, 60))
}

function parseUrl(value: string): URL | undefined {
  try {
    return new URL(value)
  } catch {
    return undefined // not a URL
  }
}
