// The Express server: a laptop, a container, or a Lambda Web Function.
import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimer } from '../src/timer.ts'
import { createApp } from './app.ts'
import { type Options, OptionsError, readOptions } from './options.ts'
import { pageIn } from './page.ts'
import { openRedis } from './redis.ts'
import { requireModel } from './require-model.ts'
import { tools } from './tools.ts'
import { type Wired, wire } from './wire.ts'

/** An answer may take minutes; a request's head may not. Milliseconds. */
const limits = {
  headersTimeout: 15_000,
  connectionsCheckingInterval: 5000,
  // Longer than the idle time of common load balancers (60 s), so that it is never us who closes a connection
  // that they are just using again.
  keepAliveTimeout: 65_000,
}

loadEnvFile()
try {
  await main(readOptions(process.env))
} catch (error) {
  if (!(error instanceof OptionsError)) throw error
  console.error(error.message)
  process.exitCode = 1
}

/** Reads `.env` in the working directory, when there is one; what is set already stays. */
function loadEnvFile(): void {
  if (existsSync('.env')) process.loadEnvFile('.env')
}

async function main(environment: Options): Promise<void> {
  const simulated = !environment.apiKey && !environment.baseURL && !environment.upstreams
  // Nobody who runs this for others wants to find out from them that the answers were made up.
  if (environment.production) requireModel(environment)
  const options = simulated ? await withSimulator(environment) : environment
  const page = pageIn(new URL('./web/', import.meta.url), options, simulated)
  const { redisUrl } = options
  const shared = redisUrl ? { store: openRedis({ ...options, redisUrl, freezes: false }) } : {}
  const { handler, close } = wire(options, { page, ...shared })
  const server = createServer(
    // The body has a limit of its own, which comes first and says what is wrong.
    { ...limits, requestTimeout: limits.headersTimeout + options.bodyTimeoutMs + 5000 },
    createApp(handler, options),
  )
  server.on('error', (error: NodeJS.ErrnoException) => refuse(error, options))
  server.listen(options.port, options.host, () => {
    console.log(`deltarelay is listening on ${addressOf(server)} (${describe(options, simulated)})`)
  })
  stopOnSignals(server, { close, drainMs: options.drainMs })
}

/** Starts the simulated model on a free port of this machine and points everything at it. */
async function withSimulator(options: Options): Promise<Options> {
  const { startSimulator } = await import('../simulator/index.ts')
  const { url } = await startSimulator()
  const simulated = { apiKey: 'simulated', baseURL: url, model: 'simulator', models: ['simulator'] }
  // Here they cost nothing, and show how it is done.
  return { ...options, ...simulated, tools }
}

function describe(options: Options, simulated: boolean): string {
  const { redisUrl } = options
  return describeModel(options, simulated) + (redisUrl ? `; replies in Redis at ${new URL(redisUrl).host}` : '')
}

function describeModel({ model, baseURL, upstreams }: Options, simulated: boolean): string {
  if (simulated) return 'simulated model: set OPENAI_API_KEY or OPENAI_BASE_URL for a real one'
  if (upstreams) return `model ${model}, upstreams ${upstreams.map(({ name }) => name).join(', ')}`
  return `model ${model} at ${baseURL ? new URL(baseURL).host : 'api.openai.com'}`
}

function addressOf(server: Server): string {
  const { address, port, family } = server.address() as AddressInfo // it listens on TCP
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

function refuse(error: NodeJS.ErrnoException, { host, port }: Options): void {
  const why = error.code === 'EADDRINUSE' ? 'something else uses it; set PORT to another one' : error.code
  console.error(`Cannot listen on ${host}:${port}: ${why}.`)
  process.exit(1)
}

/**
 * On SIGTERM or SIGINT: no new replies, running ones get `drainMs` to end, then they are told. Who comes back is served
 * until then. Again: at once.
 */
function stopOnSignals(
  server: Server,
  { close, drainMs }: { readonly close: Wired['close']; readonly drainMs: number },
): void {
  let stopping = false
  async function drain(): Promise<void> {
    await close({ drainMs })
    server.close(() => process.exit(0))
    // Clients keep a connection for its next request, after their answer has ended too.
    setInterval(() => server.closeIdleConnections(), 100)
  }
  function stop(): void {
    if (stopping) process.exit(1)
    stopping = true
    void drain() // never rejects
    // What does not end then either is not waited for.
    setTimer(() => process.exit(0), drainMs + 2000)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}
