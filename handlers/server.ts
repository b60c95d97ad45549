// The Express server: a laptop, a container, or a Lambda Web Function.
import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimer } from '../src/timer.ts'
import { createApp } from './app.ts'
import { logWarning } from './log.ts'
import { canLead, onPrimary, orderOfPrimary, startWorkers } from './cluster.ts'
import { limitConnections } from './descriptors.ts'
import { type Options, OptionsError, readOptions } from './options.ts'
import { pageIn } from './page.ts'
import { openRedis } from './redis.ts'
import { requireModel } from './require-model.ts'
import { signingSecretFor } from './signing.ts'
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
  process.exit(1) // a worker would go on by itself
}

/** Reads `.env` in the working directory, when there is one; what is set already stays. */
function loadEnvFile(): void {
  if (existsSync('.env')) process.loadEnvFile('.env')
}

async function main(environment: Options): Promise<void> {
  const simulated = !environment.apiKey && !environment.baseURL && !environment.upstreams
  // Nobody who runs this for others wants to find out from them that the answers were made up.
  if (environment.production) requireModel(environment)
  const order = orderOfPrimary()
  if (!order && !environment.loopback) logWarning(withoutAuthentication(environment))
  const simulator = simulated ? (order?.simulator ?? (await startModel())) : undefined
  const options = simulator ? pointedAt(simulator, environment) : environment
  if (order) serve({ ...options, port: order.port }, { simulated, alone: false })
  else if (options.workers > 1 && canLead) await lead(options, simulator)
  else serve(options, { simulated, alone: true })
}

/** Answers requests, in this process. `alone`: no other one speaks for it. */
function serve(
  options: Options,
  { simulated, alone }: { readonly simulated: boolean; readonly alone: boolean },
): void {
  const page = pageIn(new URL('./web/', import.meta.url), options, simulated)
  const { redisUrl, drainMs } = options
  const shared = redisUrl ? { store: openRedis({ ...options, redisUrl, freezes: false }) } : {}
  const { handler, close } = wire(options, { page, ...shared })
  const server = createServer(
    // The body has a limit of its own, which comes first and says what is wrong.
    { ...limits, requestTimeout: limits.headersTimeout + options.bodyTimeoutMs + 5000 },
    createApp(handler, options),
  )
  server.on('error', (error: NodeJS.ErrnoException) => {
    if (!server.listening) refuse(error, options)
  })
  // A client's connection and the upstream's; the simulated model runs in this process and has the other end of that.
  limitConnections(server, { perClient: simulated && alone ? 3 : 2 })
  server.listen(options.port, options.host, () => {
    if (alone) announce(addressOf(server), describe(options, simulated))
  })
  const stop = (): void => end(server, { close, drainMs })
  if (alone) onSignals(stop, () => process.exit(1))
  else onPrimary(stop)
}

/** Has workers answer the requests, all at one port. */
async function lead(options: Options, simulator: string | undefined): Promise<void> {
  const { workers, drainMs } = options
  // Looked at before, so that one process says that it is in use, and not each of them.
  const address = await tryPort(options)
  // Workers have the environment of this process: they accept the calls of each other.
  process.env['SIGNING_SECRET'] = signingSecretFor(options)
  const onReady = (): void => {
    announce(address, `${describe(options, simulator !== undefined)}; ${workers} workers`)
  }
  const { stop, kill } = startWorkers(workers, { port: address.port, simulator }, { drainMs, onReady })
  onSignals(stop, kill)
}

function withoutAuthentication({ host }: Options): string {
  return `This server has no authentication, and listens on ${host}: everyone who reaches it can spend tokens (ALLOW_ANONYMOUS=1).`
}

/** Starts the simulated model on a free port of this machine. */
async function startModel(): Promise<string> {
  const { startSimulator } = await import('../simulator/index.ts')
  const { url } = await startSimulator()
  return url
}

function pointedAt(simulator: string, options: Options): Options {
  const model = { model: 'simulator', models: ['simulator'], nearby: true }
  const simulated = { ...model, apiKey: 'simulated', baseURL: simulator }
  // Here they cost nothing, and show how it is done.
  return { ...options, ...simulated, tools }
}

function announce({ address, port, family }: AddressInfo, about: string): void {
  const host = family === 'IPv6' ? `[${address}]` : address
  console.log(`deltarelay is listening on http://${host}:${port} (${about})`)
}

function describe(options: Options, simulated: boolean): string {
  const { redisUrl } = options
  return (
    describeModel(options, simulated) + (redisUrl ? `; replies in Redis at ${new URL(redisUrl).host}` : '')
  )
}

function describeModel({ model, baseURL, upstreams }: Options, simulated: boolean): string {
  if (simulated) return 'simulated model: set OPENAI_API_KEY or OPENAI_BASE_URL for a real one'
  if (upstreams) return `model ${model}, upstreams ${upstreams.map(({ name }) => name).join(', ')}`
  return `model ${model} at ${baseURL ? new URL(baseURL).host : 'api.openai.com'}`
}

/** The address that workers will have, where it can be had. */
function tryPort(options: Options): Promise<AddressInfo> {
  return new Promise((resolve) => {
    const server = createServer()
    server.on('error', (error: NodeJS.ErrnoException) => refuse(error, options))
    server.listen(options.port, options.host, () => {
      const address = addressOf(server)
      server.close(() => resolve(address))
    })
  })
}

function addressOf(server: Server): AddressInfo {
  return server.address() as AddressInfo // it listens on TCP
}

function refuse(error: NodeJS.ErrnoException, { host, port }: Options): void {
  const why = error.code === 'EADDRINUSE' ? 'something else uses it; set PORT to another one' : error.code
  console.error(`Cannot listen on ${host}:${port}: ${why}.`)
  process.exit(1)
}

/** Calls one on the first SIGTERM or SIGINT, and the other on the next. */
function onSignals(stop: () => void, stopNow: () => void): void {
  let stopping = false
  function onSignal(): void {
    if (stopping) return stopNow()
    stopping = true
    stop()
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
}

/**
 * Comes to an end: no new replies, running ones get `drainMs` to end, then they are told. Who comes back is served
 * until then.
 */
function end(
  server: Server,
  { close, drainMs }: { readonly close: Wired['close']; readonly drainMs: number },
): void {
  async function drain(): Promise<void> {
    await close({ drainMs })
    server.close(() => process.exit(0))
    // Clients keep a connection for its next request, after their answer has ended too.
    setInterval(() => server.closeIdleConnections(), 100)
  }
  void drain() // never rejects
  // What does not end then either is not waited for.
  setTimer(() => process.exit(0), drainMs + 2000)
}
