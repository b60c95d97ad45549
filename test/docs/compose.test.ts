import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { afterEach, expect, test } from 'vitest'
import { readOptions } from '../../handlers/options.ts'
import { describeRedis } from '../redis/gate.ts'
import { listen } from '../redis/listen.ts'
import { type RedisServer, startRedis } from '../redis/server.ts'

interface Service {
  readonly build?: string
  readonly command?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly healthcheck: { readonly test: readonly string[] }
  readonly ports?: readonly string[]
  readonly stop_grace_period?: string
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
  readonly volumes?: readonly string[]
}

const read = (name: string): string => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')
const require = createRequire(import.meta.url)
// What packages for AWS reads YAML: none of ours does.
const { load } = createRequire(require.resolve('osls/package.json'))('js-yaml') as {
  load(text: string): unknown
}
const { services } = load(read('compose.yaml')) as { services: Readonly<Record<string, Service>> }
const nginx = read('deploy/nginx.conf')
const servers = Object.keys(services).filter((name) => services[name]!.build !== undefined)

/** The environment of a server, with these variables where `docker compose` is called. */
function environmentOf(name: string, caller: Readonly<Record<string, string>> = {}): Record<string, string> {
  const entries = Object.entries(services[name]!.environment ?? {}).map(([variable, value]) => {
    const filled = value.replace(/\$\{(\w+):-([^}]*)\}/g, (_, from: string, fallback: string) => {
      return caller[from] ?? fallback
    })
    return [variable, filled]
  })
  return Object.fromEntries(entries) as Record<string, string>
}

let redis: RedisServer | undefined
afterEach(() => redis?.stop())

test('two servers of the Dockerfile stand behind nginx, at the port that all of them name', () => {
  const upstreams = [...nginx.matchAll(/\n *server ([\w-]+):(\d+) /g)].map(([, name, port]) => [name, port])
  const port = /^ENV .*\bPORT=(\d+)$/m.exec(read('Dockerfile'))?.[1]

  expect(servers).toEqual(['server-1', 'server-2'])
  // In both pools.
  expect(upstreams).toEqual([...servers, ...servers].map((name) => [name, port]))
  expect(servers.map((name) => environmentOf(name)['PORT'])).toEqual([port, port])
  expect(services['nginx']!.volumes).toEqual(['./deploy/nginx.conf:/etc/nginx/nginx.conf:ro'])
  expect(services['nginx']!.ports).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+:80$/)])
  expect(nginx).toContain('listen 80;')
})

test('the Dockerfile, the guide and npm start the server alike', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: { start: string } }
  const command = JSON.parse(/^CMD (\[.*\])$/m.exec(read('Dockerfile'))?.[1] ?? '[]') as readonly string[]

  expect(command.join(' ')).toBe(scripts.start)
  expect(read('docs/deploy.md')).toContain(`\`${scripts.start}\``)
})

test('every variable of a server is documented, and is one that it takes', () => {
  const documented = read('docs/configuration.md')
  const environment = environmentOf('server-1', { OPENAI_API_KEY: 'sk-any' })

  const options = readOptions(environment)

  for (const name of Object.keys(environment)) expect(documented).toContain(`\`${name}\``)
  expect(options).toMatchObject({
    apiKey: 'sk-any',
    production: true,
    host: '0.0.0.0',
    allowedHosts: ['localhost', '127.0.0.1'],
    // nginx.
    trustedProxies: 1,
  })
  expect(nginx).toMatch(/proxy_set_header X-Forwarded-For \$remote_addr;/)
  expect(nginx).toMatch(/proxy_set_header Host \$http_host;/)
  expect(new URL(options.redisUrl!).hostname).toBe('redis')
  expect(services).toHaveProperty('redis')
})

test('without a key it is an error, and with NODE_ENV the simulated model', () => {
  expect(readOptions(environmentOf('server-1'))).toMatchObject({ apiKey: undefined, production: true })
  expect(readOptions(environmentOf('server-1', { NODE_ENV: 'development' }))).toMatchObject({
    apiKey: undefined,
    production: false,
  })
})

test('a server has the time to end that it takes, and nginx waits for both', () => {
  const graceMs = (name: string): number =>
    Number.parseInt(services[name]!.stop_grace_period ?? '0', 10) * 1000
  const { drainMs } = readOptions(environmentOf('server-1'))

  // What does not end then is given two seconds more.
  for (const name of servers) expect(graceMs(name)).toBeGreaterThan(drainMs + 2000)
  expect(graceMs('nginx')).toBeGreaterThan(graceMs('server-1'))
  expect(Object.keys(services['nginx']!.depends_on ?? {})).toEqual(servers)
})

test('nginx takes bodies as large as the service does, and waits longer than answers and heartbeats take', () => {
  const { maxBodyBytes, totalTimeoutMs, heartbeatMs } = readOptions({})
  const megabytes = Number(/client_max_body_size (\d+)m;/.exec(nginx)?.[1])
  const seconds = Number(/proxy_read_timeout (\d+)s;/.exec(nginx)?.[1])

  expect(megabytes * 1024 * 1024).toBeGreaterThan(maxBodyBytes)
  expect(seconds * 1000).toBeGreaterThan(Math.max(totalTimeoutMs, heartbeatMs))
})

test.each([
  [200, 0],
  [503, 1],
])('the health check of a server whose /readyz is %i ends with %i', async (status, code) => {
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/readyz' ? status : 404).end()
  })
  const port = await listen(server)
  const [, command, ...args] = services['server-1']!.healthcheck.test
  expect(command).toBe('node')

  const child = spawn(
    process.execPath,
    args.map((arg) => arg.replace(':3000', `:${port}`)),
  )
  const [ended] = (await once(child, 'exit')) as [number]
  server.close()
  server.closeAllConnections()

  expect(ended).toBe(code)
})

describeRedis('the Redis of the compose file', () => {
  test('keeps what it was told, and refuses what it has no room for', async () => {
    redis = await startRedis({ args: services['redis']!.command!.slice(1) })
    const { command } = redis
    const setting = async (name: string): Promise<string> =>
      ((await command(['CONFIG', 'GET', name])) as string[])[1]!

    expect(services['redis']!.command![0]).toBe('redis-server')
    expect(await setting('appendonly')).toBe('yes')
    expect(await setting('appendfsync')).toBe('everysec')
    expect(await setting('maxmemory-policy')).toBe('noeviction')
    expect(Number(await setting('maxmemory'))).toBeGreaterThan(0)
  })
})
