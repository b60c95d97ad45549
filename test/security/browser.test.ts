import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { host, type Host } from '../adapters/host.ts'
import { bundle, type Bundle } from '../hosts/bundle.ts'
import { type RunningServer, startServer } from '../hosts/server.ts'
import { until } from '../src/kit.ts'
import { hasChromium, launch } from '../web/browser.ts'
import { startTap, type Tap } from './tap.ts'
import { starts, stops, type Vector } from './vectors.ts'

interface Attack {
  /** The origin of the service. */
  readonly at: string
  /** The page that attacks it. */
  readonly from: string
  /** A reply that runs there. */
  readonly id?: string
}

/** By the name of a vector. */
type Seen = Readonly<Record<string, readonly (number | undefined)[]>>

/** Each vector reached the service, and was refused; 204 is a preflight without any permission. */
function expectRefused(seen: Seen, vectors: readonly Vector[]): void {
  for (const { name, blocked } of vectors) {
    expect({ name, seen: seen[name] }).not.toEqual({ name, seen: blocked ? undefined : [] })
    for (const status of seen[name] ?? []) expect({ name, status }).toEqual({ name, status: refused(status) })
  }
}

const refused = (status: number | undefined) => [204, 403, 415].find((each) => each === status)

// Chromium sends Fetch Metadata to 127.0.0.1 and localhost, and none to a name on plain http.
describe.skipIf(!hasChromium())('a page of another site', () => {
  let browser: Browser
  let built: Bundle
  let simulator: Simulator
  let server: RunningServer
  let tap: Tap
  let evil: Host

  beforeAll(async () => {
    built = await bundle('server')
    simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: 150 })
    server = await startServer(built, {
      OPENAI_BASE_URL: simulator.url,
      OPENAI_API_KEY: 'any',
      ALLOWED_HOSTS: 'chat.lan',
      ON_DISCONNECT_CONTINUE: 'always',
    })
    tap = await startTap(Number(new URL(server.url).port))
    evil = await host((request, response) => {
      const [, target] = /^\/to\?(.*)$/.exec(request.url ?? '') ?? []
      if (target) response.writeHead(302, { location: decodeURIComponent(target) }).end()
      else response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><body>')
    })
    browser = await launch([
      '--host-resolver-rules=MAP *.lan 127.0.0.1, MAP evil.example 127.0.0.1',
      // Newer browsers ask their user before a page may reach the local network. That must not be the only defence.
      '--disable-features=LocalNetworkAccessChecks',
    ])
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    await evil?.close()
    await tap?.close()
    await server?.stop()
    await simulator?.close()
    await built?.remove()
  })

  async function openPage(url: string): Promise<Page> {
    const context = await browser.newContext()
    onTestFinished(() => context.close())
    const page = await context.newPage()
    await page.goto(url)
    return page
  }

  /** Runs vectors in one page of another site, and gives the statuses of the requests of each that reached the service. */
  async function attack(vectors: readonly Vector[], { at, from, id = '' }: Attack): Promise<Seen> {
    const before = tap.passed.length
    const page = await openPage(from)
    for (const [n, { code }] of vectors.entries()) {
      await page.evaluate(`(() => {
        const v = 'x${n}x', id = '${id}', sink = 'sink' + v
        const url = (path) => '${at}' + path + (path.includes('?') ? '&v=' + v : '')
        const own = (path) => location.origin + path
        document.body.append(Object.assign(document.createElement('iframe'), { name: sink }))
        void (() => { ${code} })()
      })()`)
    }
    const mine = (n: number) => tap.passed.slice(before).filter(({ line }) => line.includes(`v=x${n}x`))
    const statuses = (n: number) => mine(n).map(({ status }) => status)
    const sent = ({ blocked }: Vector, n: number): boolean =>
      blocked || (mine(n).length > 0 && !statuses(n).includes(undefined))
    await until(() => vectors.every(sent), 30_000).catch(() => {}) // what was not sent is seen below
    return Object.fromEntries(vectors.map(({ name }, n) => [name, statuses(n)]))
  }

  const places = [
    ['a name on plain http', 'chat.lan', 'evil.example'],
    ['127.0.0.1', '127.0.0.1', 'evil.example'],
    ['localhost', 'localhost', 'evil.example'],
    ['a name on plain http, from another port of it', 'chat.lan', 'chat.lan'],
    ['127.0.0.1, from another port of it', '127.0.0.1', '127.0.0.1'],
  ] as const

  describe.each(places)('cannot use a service at %s:', (_, target, source) => {
    const at = () => ({ at: `http://${target}:${tap.port}`, from: `http://${source}:${evil.port}/` })

    test(`no reply is started by ${starts.length} vectors`, async () => {
      const calls = simulator.requests.length

      const seen = await attack(starts, at())

      expect(simulator.requests.length - calls).toBe(0)
      expectRefused(seen, starts)
    }, 60_000)

    test('a running reply is not stopped', async () => {
      const response = await fetch(`${server.url}/chat`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-on-disconnect': 'continue' },
        body: JSON.stringify({ prompt: 'Tell me a long story about the sea.' }),
      })
      const id = response.headers.get('x-reply-id') ?? ''

      const seen = await attack(stops, { ...at(), id })

      expect(await response.text()).toMatch(/"type":"finish","reason":"stop"\}\s*$/)
      expectRefused(seen, stops)
    }, 60_000)
  })

  test('cannot read an answer by a name that resolves to the service (DNS rebinding)', async () => {
    const calls = simulator.requests.length
    const own = `http://evil.example:${tap.port}`
    const context = await browser.newContext()
    onTestFinished(() => context.close())
    const page = await context.newPage()
    // The page was loaded before its name was made to resolve to the service.
    await page.route(`${own}/page`, (route) =>
      route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }),
    )
    await page.goto(`${own}/page`)

    const seen = await page.evaluate(`(async () => {
      const json = { method: 'POST', body: '{"prompt":"hi"}' }
      const type = { 'content-type': 'application/json' }
      const all = [
        ['/stream?prompt=hi', { headers: { accept: 'text/event-stream' } }],
        ['/chat', { ...json, headers: type }],
        ['/chat', { ...json, headers: { ...type, 'x-forwarded-host': 'chat.lan', 'x-forwarded-for': '127.0.0.1' } }],
        ['/v1/chat/completions', { ...json, headers: type }],
        ['/api/chat', { ...json, headers: { 'content-type': 'text/plain' } }],
        ['/v1/models', {}],
        ['/healthz', {}],
        ['/', {}],
      ]
      const seen = []
      for (const [path, init] of all) {
        const response = await fetch(path, init)
        seen.push([response.status, await response.text()])
      }
      return seen
    })()`)

    for (const [status, body] of seen as [number, string][]) {
      expect([status, body]).toEqual([421, expect.stringMatching(/evil\.example.*ALLOWED_HOSTS/)])
    }
    expect(seen).toHaveLength(8)
    expect(simulator.requests.length - calls).toBe(0)
  }, 30_000)

  describe.each(['chat.lan', '127.0.0.1'])('while at %s', (name) => {
    const origin = (): string => `http://${name}:${tap.port}`

    test('EventSource in a page of the service is answered', async () => {
      const page = await openPage(origin())

      const last = await page.evaluate(`new Promise((resolve, reject) => {
        const source = new EventSource('/stream?prompt=hello')
        source.onerror = () => reject(new Error('refused'))
        source.onmessage = ({ data }) => {
          if (JSON.parse(data).type !== 'finish') return
          source.close()
          resolve(data)
        }
      })`)

      expect(last).toContain('"reason":"stop"')
    }, 30_000)

    test('the chat page is answered', async () => {
      const page = await openPage(origin())

      await page.getByLabel('Your message').fill('What is the sea?')
      await page.keyboard.press('Enter')

      await page.locator('.answer[data-state=complete]').waitFor({ timeout: 20_000 })
    }, 30_000)

    test('what useChat sends is answered, resumed and stopped', async () => {
      const page = await openPage(origin())

      const seen = await page.evaluate(`(async () => {
        const message = { id: 'm', role: 'user', parts: [{ type: 'text', text: 'Tell me a long story about the sea.' }] }
        const init = { method: 'POST', headers: { 'content-type': 'application/json' } }
        const asked = await fetch('/api/chat', { ...init, body: JSON.stringify({ id: 'chat-1', messages: [message] }) })
        const resumed = await fetch('/api/chat/chat-1/stream')
        const stopped = await fetch('/api/chat/chat-1/stop', { method: 'POST' })
        const text = await asked.text()
        return [asked.status, resumed.status, stopped.status, text.includes('text-delta')]
      })()`)

      expect(seen).toEqual([200, 200, 200, true])
    }, 30_000)

    test.skipIf(!existsSync('/usr/bin/curl'))(
      'curl -N is answered',
      async () => {
        const resolve = `${name}:${tap.port}:127.0.0.1`
        const curl = spawn('/usr/bin/curl', ['-sN', '--resolve', resolve, `${origin()}/stream?prompt=hello`])
        let text = ''
        curl.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece))
        await once(curl, 'close')

        expect(text).toMatch(/"type":"finish","reason":"stop"/)
      },
      30_000,
    )
  })
})
