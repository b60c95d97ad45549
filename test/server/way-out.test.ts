// How the server reaches its model: certificates of a company, and its proxy.
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { soon } from '../src/kit.ts'
import { createLauncher, type Launcher } from './process.ts'

const file = (name: string): string => fileURLToPath(new URL(`../adapters/tls/${name}`, import.meta.url))
let launcher: Launcher
let simulator: Simulator
let secure: string
let proxy: string
const tunnels: string[] = []
const open: Server[] = []

async function listen(server: Server): Promise<number> {
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** Hands what comes in on to a port of this machine. */
function passOn(client: Socket, port: number): void {
  const target = connect(port, '127.0.0.1')
  target.pipe(client).pipe(target)
  for (const [one, other] of [
    [client, target],
    [target, client],
  ] as const)
    one.on('error', () => {}).on('close', () => other.destroy())
}

beforeAll(async () => {
  launcher = await createLauncher()
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
  const tls = { key: readFileSync(file('key.pem')), cert: readFileSync(file('cert.pem')) }
  const plainPort = Number(new URL(simulator.url).port)
  const front = createTlsServer(tls)
  // What arrives is HTTP for the simulator, once it is no longer secret.
  front.removeAllListeners('secureConnection')
  front.on('secureConnection', (socket) => passOn(socket, plainPort))
  const securePort = await listen(front)
  secure = `https://localhost:${securePort}/v1`
  const forward = createServer()
  forward.on('connect', ({ url = '' }, client: Socket) => {
    tunnels.push(url)
    client.write('HTTP/1.1 200 Connection established\r\n\r\n')
    passOn(client, securePort)
  })
  proxy = `http://127.0.0.1:${await listen(forward)}`
})
afterEach(async () => {
  tunnels.length = 0
  await launcher.stopAll()
})
afterAll(async () => {
  await launcher.remove()
  await simulator.close()
  for (const server of open) server.close()
})

async function ask(environment: Readonly<Record<string, string>>): Promise<Response> {
  const url = await launcher.launch({ OPENAI_API_KEY: 'any', UPSTREAM_RETRIES: '0', ...environment }).ready
  const body = JSON.stringify({ prompt: 'hello' })
  return soon(fetch(`${url}/chat`, { method: 'POST', body, headers: { 'content-type': 'application/json' } }))
}

test('the simulated model is on this machine: no proxy is asked for it', async () => {
  const url = await launcher.launch({ HTTP_PROXY: 'http://127.0.0.1:9' }).ready

  const response = await soon(fetch(`${url}/stream?prompt=hi`))

  expect(await soon(response.text())).toContain('"finish"')
})

describe('a server with a certificate of its own', () => {
  test('is refused as long as nobody vouches for it', async () => {
    const response = await ask({ OPENAI_BASE_URL: secure })

    expect(response.status).toBe(502)
    expect(await response.json()).toMatchObject({ error: { code: 'upstream-unreachable' } })
  })

  test('is asked with NODE_EXTRA_CA_CERTS', async () => {
    const response = await ask({ OPENAI_BASE_URL: secure, NODE_EXTRA_CA_CERTS: file('cert.pem') })

    expect(await soon(response.text())).toContain('"finish"')
  })

  test('is reached through the proxy of HTTPS_PROXY, as a tunnel, though its name is known to the proxy alone', async () => {
    const response = await ask({
      OPENAI_BASE_URL: 'https://localhost:9/v1',
      NODE_EXTRA_CA_CERTS: file('cert.pem'),
      HTTPS_PROXY: proxy,
    })

    expect(await soon(response.text())).toContain('"finish"')
    expect(tunnels).toEqual(['localhost:9'])
  })

  test('is reached past the proxy where NO_PROXY says so', async () => {
    const response = await ask({
      OPENAI_BASE_URL: secure,
      NODE_EXTRA_CA_CERTS: file('cert.pem'),
      HTTPS_PROXY: proxy,
      NO_PROXY: 'localhost',
    })

    expect(await soon(response.text())).toContain('"finish"')
    expect(tunnels).toEqual([])
  })
})
