import { readFileSync } from 'node:fs'
import { defaultMemoryBytes } from '../../handlers/memory.ts'
import { tools } from '../../handlers/tools.ts'
import { describe, expect, test } from 'vitest'
import { type Options, OptionsError, readFunctionOptions, readOptions } from '../../handlers/options.ts'
import { withAllowedHosts } from '../../src/hosts.ts'

const defaults: Options = {
  port: 3000,
  host: '127.0.0.1',
  workers: 1,
  apiKey: undefined,
  baseURL: undefined,
  api: 'chat-completions',
  upstreams: undefined,
  model: 'gpt-4.1-mini',
  models: ['gpt-4.1-mini'],
  systemPrompt: undefined,
  corsOrigins: [],
  allowedHosts: [],
  loopback: true,
  trustedProxies: 0,
  allowContinue: 'authenticated',
  chatUrl: undefined,
  production: false,
  imageHosts: undefined,
  dialects: undefined,
  tools: [],
  maxBodyBytes: 262_144,
  maxJsonNodes: 10_000,
  passFields: undefined,
  maxMessages: 200,
  maxReplies: undefined,
  maxSteps: undefined,
  maxOutputTokens: undefined,
  maxEventBytes: 1_048_576,
  maxReplyBytes: 8_388_608,
  maxMemoryBytes: defaultMemoryBytes(),
  retries: 2,
  headersTimeoutMs: 30_000,
  firstDeltaTimeoutMs: 60_000,
  idleTimeoutMs: 30_000,
  totalTimeoutMs: 600_000,
  heartbeatMs: 15_000,
  lingerMs: 30_000,
  retentionMs: 600_000,
  drainMs: 25_000,
  stallTimeoutMs: 30_000,
  bodyTimeoutMs: 15_000,
  acceptWaitMs: 5000,
  followMs: undefined,
  leaseMs: 15_000,
  redisUrl: undefined,
  redisDown: 'fail',
  redisPrefix: undefined,
  maxStoredBytes: undefined,
  stopOnPageHide: false,
  signingSecret: undefined,
}

function problems(env: Record<string, string>): readonly string[] {
  try {
    readOptions(env)
  } catch (error) {
    if (error instanceof OptionsError) return error.problems
    throw error
  }
  return []
}

test.each<[string, Record<string, string>]>([
  ['empty', {}],
  ['full of other things', { PATH: '/bin', OPENAI: 'x', npm_config_port: '1' }],
  [
    'set to nothing',
    {
      PORT: '',
      HOST: ' ',
      OPENAI_API_KEY: '',
      MODELS: ' , ',
      CORS_ORIGINS: '',
      REDIS_URL: '',
      REDIS_DOWN: '',
      UPSTREAMS: ' ',
      UPSTREAM_API: '',
      IMAGE_HOSTS: ',',
    },
  ],
])('an environment that is %s means the documented defaults', (_, env) => {
  expect(readOptions(env)).toEqual(defaults)
})

describe('a setting is read', () => {
  const rows: [Record<string, string>, Partial<Options>][] = [
    [{ PORT: '0' }, { port: 0 }],
    [{ PORT: ' 8080 ' }, { port: 8080 }],
    [
      { HOST: '0.0.0.0', ALLOWED_HOSTS: '*', ALLOW_ANONYMOUS: '1' },
      { host: '0.0.0.0', allowedHosts: '*', loopback: false },
    ],
    [{ WORKERS: '1' }, { workers: 1 }],
    [
      { WORKERS: ' 256 ', REDIS_URL: 'redis://localhost' },
      { workers: 256, redisUrl: 'redis://localhost' },
    ],
    [
      { AWS_LAMBDA_HTTP_ENDPOINT: '127.0.0.1:8081', PORT: '1', HOST: 'x' },
      { host: '127.0.0.1', port: 8081, production: true, allowedHosts: '*' },
    ],
    [
      { AWS_LAMBDA_HTTP_ENDPOINT: 'http://localhost:9/' },
      { host: 'localhost', port: 9, production: true, allowedHosts: '*' },
    ],
    [{ AWS_LAMBDA_HTTP_ENDPOINT: '[::1]:9' }, { host: '::1', port: 9, production: true, allowedHosts: '*' }],
    [{ NODE_ENV: 'production' }, { production: true }],
    [{ OPENAI_API_KEY: ' sk-1 ' }, { apiKey: 'sk-1', secrets: ['sk-1'] }],
    [{ OPENAI_BASE_URL: 'http://127.0.0.1:11434/v1' }, { baseURL: 'http://127.0.0.1:11434/v1' }],
    [{ OPENAI_MODEL: 'x' }, { model: 'x', models: ['x'] }],
    [{ MODELS: 'a, b,,a' }, { model: 'a', models: ['a', 'b'] }],
    [{ MODELS: '*' }, { models: '*' }],
    [{ MODELS: '*,b' }, { model: 'b', models: '*' }],
    [
      { OPENAI_MODEL: 'x', MODELS: 'a,x' },
      { model: 'x', models: ['x', 'a'] },
    ],
    [{ SYSTEM_PROMPT: 'Be kind.' }, { systemPrompt: 'Be kind.' }],
    [
      { CORS_ORIGINS: 'https://a.example, http://localhost:5173' },
      { corsOrigins: ['https://a.example', 'http://localhost:5173'] },
    ],
    [
      {
        CORS_ORIGINS:
          'tauri://localhost,app://obsidian.md,capacitor://localhost,chrome-extension://abc,vscode-webview://x',
      },
      {
        corsOrigins: [
          'tauri://localhost',
          'app://obsidian.md',
          'capacitor://localhost',
          'chrome-extension://abc',
          'vscode-webview://x',
        ],
      },
    ],
    [{ CHAT_URL: 'https://f.example/' }, { chatUrl: 'https://f.example/' }],
    [{ UPSTREAM_API: 'responses' }, { api: 'responses' }],
    [
      { IMAGE_HOSTS: 'a.example, IMG.b.example,127.0.0.1,a.example:8443' },
      { imageHosts: ['a.example', 'img.b.example', '127.0.0.1', 'a.example:8443'] },
    ],
    [{ IMAGE_HOSTS: '*' }, { imageHosts: '*' }],
    [{ DIALECTS: ' ai-sdk, events' }, { dialects: ['events', 'ai-sdk'] }],
    [{ TOOLS: '*' }, { tools }],
    [{ TOOLS: ' get_time ,' }, { tools }],
    [{ MAX_MESSAGES: '1' }, { maxMessages: 1 }],
    [{ MAX_JSON_NODES: '500' }, { maxJsonNodes: 500 }],
    [{ PASS_FIELDS: 'min_tokens, messages.id' }, { passFields: ['min_tokens', 'messages.id'] }],
    [{ MAX_STEPS: '3' }, { maxSteps: 3 }],
    [{ MAX_BODY_BYTES: '1' }, { maxBodyBytes: 1 }],
    [
      { ALLOWED_HOSTS: 'chat.example, *.chat.example:8443,[::1]:3000,10.0.0.1' },
      { allowedHosts: ['chat.example', '*.chat.example:8443', '[::1]:3000', '10.0.0.1'] },
    ],
    [{ ALLOWED_HOSTS: 'a.example,*' }, { allowedHosts: '*' }],
    [{ TRUSTED_PROXIES: '2' }, { trustedProxies: 2 }],
    [{ ON_DISCONNECT_CONTINUE: 'always' }, { allowContinue: 'always' }],
    [{ ON_DISCONNECT_CONTINUE: 'never' }, { allowContinue: 'never' }],
    [{ MAX_REPLIES: 'none' }, { maxReplies: Infinity }],
    [{ MAX_OUTPUT_TOKENS: 'none' }, { maxOutputTokens: Infinity }],
    [{ MAX_REPLIES: '50' }, { maxReplies: 50 }],
    [{ MAX_OUTPUT_TOKENS: '1000' }, { maxOutputTokens: 1000 }],
    [{ MAX_EVENT_BYTES: '1024' }, { maxEventBytes: 1024 }],
    [{ MAX_REPLY_BYTES: '1024' }, { maxReplyBytes: 1024 }],
    [{ MAX_MEMORY_BYTES: '8000000000' }, { maxMemoryBytes: 8_000_000_000 }],
    [{ UPSTREAM_RETRIES: '0' }, { retries: 0 }],
    [{ HEADERS_TIMEOUT_MS: '1' }, { headersTimeoutMs: 1 }],
    [{ FIRST_DELTA_TIMEOUT_MS: '2' }, { firstDeltaTimeoutMs: 2 }],
    [{ IDLE_TIMEOUT_MS: '3' }, { idleTimeoutMs: 3 }],
    [{ TOTAL_TIMEOUT_MS: '2147483647' }, { totalTimeoutMs: 2_147_483_647 }],
    [{ HEARTBEAT_MS: '5' }, { heartbeatMs: 5 }],
    [{ LINGER_MS: '0' }, { lingerMs: 0 }],
    [{ RETENTION_MS: '0' }, { retentionMs: 0 }],
    [{ DRAIN_MS: '0' }, { drainMs: 0 }],
    [{ STALL_TIMEOUT_MS: '9' }, { stallTimeoutMs: 9 }],
    [{ BODY_TIMEOUT_MS: '10' }, { bodyTimeoutMs: 10 }],
    [{ ACCEPT_WAIT_MS: '0' }, { acceptWaitMs: 0 }],
    [{ FOLLOW_MS: '5' }, { followMs: 5 }],
    [{ STOP_ON_PAGE_HIDE: 'yes' }, { stopOnPageHide: true }],
    [{ LEASE_MS: '1000' }, { leaseMs: 1000 }],
    [
      { REDIS_URL: 'redis://:secret@localhost:6379/1' },
      { redisUrl: 'redis://:secret@localhost:6379/1', secrets: ['secret'] },
    ],
    [{ REDIS_URL: 'rediss://r.example' }, { redisUrl: 'rediss://r.example' }],
    [{ REDIS_DOWN: 'degrade' }, { redisDown: 'degrade' }],
    [{ REDIS_PREFIX: 'chat:1' }, { redisPrefix: 'chat:1' }],
  ]

  test.each(rows)('%j', (env, changed) => {
    expect(readOptions(env)).toEqual({ ...defaults, ...changed })
  })
})

/** One bad value each, and what its problem says. */
const bad: Record<string, [string, RegExp]> = {
  WORKERS: ['257', /^WORKERS must be a whole number from 1 to 256; got "257"$/],
  PORT: ['65536', /^PORT must be a whole number from 0 to 65535; got "65536"$/],
  AWS_LAMBDA_HTTP_ENDPOINT: ['localhost', /^AWS_LAMBDA_HTTP_ENDPOINT must be host:port; got "localhost"$/],
  OPENAI_API_KEY: ['sk-canary\nnext', /^OPENAI_API_KEY must consist of printable ASCII/],
  OPENAI_BASE_URL: ['http://user:canary@host', /^OPENAI_BASE_URL must not hold a user name or password/],
  CHAT_URL: ['nowhere', /^CHAT_URL must be a URL/],
  CORS_ORIGINS: [
    'https://a.example/',
    /^CORS_ORIGINS must list exact origins such as .*; got "https:\/\/a.example\/"$/,
  ],
  API_KEYS: ['canary', /^API_KEYS is set, but /],
  REDIS_URL: ['http://:canary@host', /^REDIS_URL must be an address such as redis:\/\/host:6379 or rediss/],
  REDIS_DOWN: ['retry', /^REDIS_DOWN must be one of fail, degrade; got "retry"$/],
  REDIS_PREFIX: ['a b', /^REDIS_PREFIX must be 1 to 64 letters, .*; got "a b"$/],
  STOP_ON_PAGE_HIDE: ['true', /^STOP_ON_PAGE_HIDE must be one of no, yes; got "true"$/],
  FOLLOW_MS: ['0', /^FOLLOW_MS must be a whole number from 1 to /],
  LEASE_MS: ['999', /^LEASE_MS must be a whole number from 1000 to /],
  UPSTREAM_API: ['assistants', /^UPSTREAM_API must be one of chat-completions, responses; got "assistants"$/],
  UPSTREAMS: ['[', /^UPSTREAMS must be JSON: there is a mistake at line 1, column 2$/],
  IMAGE_HOSTS: [
    'https://a.example',
    /^IMAGE_HOSTS must list exact host names such as .*, or \*; got "https:/,
  ],
  DIALECTS: ['events,grpc', /^DIALECTS must list some of events, openai, ai-sdk; got "grpc"$/],
  TOOLS: ['get_time,fly', /^TOOLS must list tools of handlers\/tools.ts \(get_time\), or be \*; got "fly"$/],
  MAX_JSON_NODES: ['0', /^MAX_JSON_NODES must be a whole number from 1 /],
  PASS_FIELDS: ['model', /^PASS_FIELDS must not list a field that the service sets/],
  MAX_MESSAGES: ['0', /^MAX_MESSAGES must be a whole number from 1 /],
  ALLOWED_HOSTS: ['https://a.example', /^ALLOWED_HOSTS must be a host name such as .*, or \*; got "https:/],
  ALLOW_ANONYMOUS: ['yes', /^ALLOW_ANONYMOUS must be one of 0, 1; got "yes"$/],
  TRUSTED_PROXIES: ['true', /^TRUSTED_PROXIES must be a whole number from 0 to 100; got "true"$/],
  ON_DISCONNECT_CONTINUE: ['yes', /^ON_DISCONNECT_CONTINUE must be one of authenticated, never, always; /],
  MAX_BODY_BYTES: ['256k', /^MAX_BODY_BYTES must be a whole number from 1 to 1073741824; got "256k"$/],
  MAX_STEPS: ['0', /^MAX_STEPS must be a whole number from 1 /],
  MAX_REPLIES: ['0', /^MAX_REPLIES must be .* from 1 /],
  MAX_OUTPUT_TOKENS: ['-1', /^MAX_OUTPUT_TOKENS must be /],
  MAX_EVENT_BYTES: ['1e6', /^MAX_EVENT_BYTES must be /],
  MAX_REPLY_BYTES: ['0', /^MAX_REPLY_BYTES must be /],
  UPSTREAM_RETRIES: ['11', /^UPSTREAM_RETRIES must be a whole number from 0 to 10; got "11"$/],
  HEADERS_TIMEOUT_MS: ['0', /^HEADERS_TIMEOUT_MS must be a whole number from 1 to 2147483647; got "0"$/],
  FIRST_DELTA_TIMEOUT_MS: ['1.5', /^FIRST_DELTA_TIMEOUT_MS /],
  IDLE_TIMEOUT_MS: ['30s', /^IDLE_TIMEOUT_MS .* got "30s"$/],
  TOTAL_TIMEOUT_MS: ['2147483648', /^TOTAL_TIMEOUT_MS /],
  HEARTBEAT_MS: ['0', /^HEARTBEAT_MS /],
  LINGER_MS: ['-5', /^LINGER_MS must be a whole number from 0 /],
  RETENTION_MS: ['NaN', /^RETENTION_MS /],
  DRAIN_MS: ['Infinity', /^DRAIN_MS /],
  STALL_TIMEOUT_MS: ['0x10', /^STALL_TIMEOUT_MS /],
  BODY_TIMEOUT_MS: ['١', /^BODY_TIMEOUT_MS /],
  ACCEPT_WAIT_MS: ['five', /^ACCEPT_WAIT_MS /],
}

describe('a bad value', () => {
  test.each(Object.entries(bad))('of %s is named, with what it must be', (name, [value, problem]) => {
    expect(problems({ [name]: value })).toEqual([expect.stringMatching(problem)])
  })

  test('is listed together with all the others, and no secret with them', () => {
    const env = Object.fromEntries(Object.entries(bad).map(([name, [value]]) => [name, value]))

    const found = problems(env)

    expect(found).toHaveLength(Object.keys(bad).length)
    for (const name of Object.keys(bad)) expect(found.some((problem) => problem.startsWith(name))).toBe(true)
    expect(() => readOptions(env)).toThrow(`The environment has ${found.length} problems:\n  - `)
    expect(found.join('\n')).not.toContain('canary')
  })

  test.each(['0', '-1', '1.5', '2x', '0x2', 'auto', '1e1', 'Infinity', '257'])(
    'of WORKERS is refused: %s',
    (value) => {
      expect(problems({ WORKERS: value, REDIS_URL: 'redis://localhost' })).toEqual([
        `WORKERS must be a whole number from 1 to 256; got "${value}"`,
      ])
    },
  )

  test('that is long is not repeated whole', () => {
    expect(problems({ PORT: 'x'.repeat(1000) })[0]?.length).toBeLessThan(150)
  })

  test.each([
    '*',
    'null',
    'https://*.example',
    'a.example',
    'HTTPS://A.EXAMPLE',
    'file:///',
    'file://a',
    'https://a.example:443',
    'tauri://localhost/',
    'tauri://',
    'Tauri://localhost',
    'app://*',
    'app:a',
  ])('of an origin that no browser sends is refused: %s', (origin) => {
    expect(problems({ CORS_ORIGINS: `https://good.example,${origin}` })).toHaveLength(1)
  })

  test.each([
    '*.example',
    'a.example:443',
    'a.example:',
    'a.example:99999',
    'a.example/',
    'user@a.example',
    'ä.example',
    'a b',
    '%41.example',
  ])('of a host is refused: %j', (host) => {
    expect(problems({ IMAGE_HOSTS: `good.example,${host}` })).toHaveLength(1)
  })

  test.each(['127.0.0.1', ':80x', '127.0.0.1:65536', '127.0.0.1:', 'https://127.0.0.1:443'])(
    'of an endpoint is refused: %s',
    (value) => {
      expect(problems({ AWS_LAMBDA_HTTP_ENDPOINT: value })).toHaveLength(1)
    },
  )
})

test('workers without a store that they share are refused, among all that is wrong', () => {
  const refused =
    'WORKERS must be 1 without REDIS_URL, because workers do not know the replies of each other: set REDIS_URL, or unset WORKERS; got "4"'

  expect(problems({ WORKERS: '4' })).toEqual([refused])
  expect(problems({ WORKERS: '4', REDIS_URL: ' ' })).toEqual([refused])
  expect(problems({ WORKERS: '4', PORT: 'x' })).toEqual(expect.arrayContaining([refused]))
  expect(problems({ WORKERS: '4', PORT: 'x' })).toHaveLength(2)
  // What is wrong with that is said by itself.
  expect(problems({ WORKERS: '4', REDIS_URL: 'here' })).toEqual([expect.stringMatching(/^REDIS_URL must/)])
})

describe('a server that others can reach', () => {
  const open = { ALLOWED_HOSTS: 'chat.lan', ALLOW_ANONYMOUS: '1' }

  test.each([
    { HOST: '0.0.0.0' },
    { HOST: '::' },
    { HOST: '[::]' },
    { HOST: '192.168.1.5' },
    { HOST: 'chat.lan' },
    { HOST: 'localhost.example' },
    { HOST: '127.0.0.1.example' },
    { HOST: '1270.0.0.1' },
  ])('must name its hosts, and say that it has no authentication: %j', (bound) => {
    expect(problems(bound)).toEqual([
      expect.stringMatching(
        /^ALLOW_ANONYMOUS must be 1 because .* has no authentication: .*ALLOW_ANONYMOUS=1/,
      ),
      expect.stringMatching(
        /^ALLOWED_HOSTS must list the host names .*, such as chat.example, because .*: set it/,
      ),
    ])
    expect(readOptions({ ...bound, ...open })).toMatchObject({ allowedHosts: ['chat.lan'], loopback: false })
  })

  test('is one problem each', () => {
    const bound = { HOST: '0.0.0.0' }

    expect(problems({ ...bound, ALLOWED_HOSTS: '*' })).toEqual([expect.stringMatching(/^ALLOW_ANONYMOUS /)])
    expect(problems({ ...bound, ALLOW_ANONYMOUS: '1' })).toEqual([expect.stringMatching(/^ALLOWED_HOSTS /)])
    expect(problems({ ...bound, ...open, ALLOW_ANONYMOUS: 'true' })).toHaveLength(1)
    expect(problems({ AWS_LAMBDA_HTTP_ENDPOINT: '0.0.0.0:8080' })).toEqual([
      expect.stringMatching(/^ALLOW_ANONYMOUS /),
    ])
  })

  test.each([
    {},
    { HOST: ' ' },
    { HOST: 'localhost' },
    { HOST: 'LOCALHOST' },
    { HOST: '127.0.0.1' },
    { HOST: '127.8.9.10' },
    { HOST: '::1' },
    { HOST: '0:0:0:0:0:0:0:1' },
  ])('is not one that listens on loopback: %j', (bound) => {
    expect(readOptions(bound)).toMatchObject({ allowedHosts: [], loopback: true })
  })

  test('is no function, and no Web Function on loopback, for which AWS checks the host names', () => {
    const any = { allowedHosts: '*', loopback: true }

    expect(readOptions({ AWS_LAMBDA_HTTP_ENDPOINT: '127.0.0.1:8080', HOST: '0.0.0.0' })).toMatchObject(any)
    expect(readFunctionOptions({ HOST: '0.0.0.0', WORKERS: '4' })).toMatchObject({ ...any, workers: 1 })
    expect(readFunctionOptions({ ALLOWED_HOSTS: 'chat.example' })).toMatchObject({
      allowedHosts: ['chat.example'],
    })
  })

  test.each([
    'a b',
    'a/b',
    'user@a',
    'http://a',
    'a:b',
    '::1',
    '*',
    '*.',
    '*.*.a',
    'a.*',
    '',
    'a,b',
    'a:123456',
  ])('has no host that is called %j', (entry) => {
    expect(() => withAllowedHosts(async () => expect.fail(), { hosts: [entry] })).toThrow(
      /must be a host name/,
    )
  })
})

describe('the documentation', () => {
  const text = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
  const documented = [...text.matchAll(/^\| (`[^|]+)\|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([A-Z_]+)`/g)].map(([, name]) => name),
  )

  test('has every variable that is read, and no other', () => {
    const read = new Set<string>()
    const known = ['API_KEYS'] // refused, because other versions have them
    const environment = new Proxy({}, { get: (_, name) => void read.add(String(name)) })
    readOptions(environment)

    // The `openai` package reads these itself, and whatever asks the model's server those.
    const account = ['OPENAI_ORG_ID', 'OPENAI_PROJECT_ID', 'OPENAI_CUSTOM_HEADERS']
    const elsewhere = [...account, 'HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY']
    expect(documented.toSorted()).toEqual(
      [...new Set([...[...read].filter((name) => !known.includes(name)), ...elsewhere])].toSorted(),
    )
  })

  test('has every variable of the example file', () => {
    const example = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
    const names = [...example.matchAll(/^(?:# )?([A-Z_]+)=/gm)].map(([, name]) => name)

    expect(names).toContain('UPSTREAMS')
    expect(names.filter((name) => !documented.includes(name))).toEqual([])
  })
})
