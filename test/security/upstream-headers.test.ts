import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { readOptions } from '../../handlers/options.ts'
import { wire } from '../../handlers/wire.ts'
import { createOpenAI } from '../../src/upstreams/openai.ts'
import { all, asking, http, soon, textOf } from '../src/kit.ts'
import { answerWith, type ModelServer, refuseWith, startModelServer } from './model-server.ts'

const CUSTOM = 'X-Gateway-Token: CanaryCustom1\nX-Team: CanaryTeam2\nUser-Agent: CanaryAgent3'
beforeEach(() => void vi.stubEnv('OPENAI_CUSTOM_HEADERS', CUSTOM))
afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
})

const start = () => startModelServer((response) => answerWith(response, 'fine'))
const sent = ({ received }: ModelServer): string => JSON.stringify(received.map(({ headers }) => headers))

async function askThrough(env: Readonly<Record<string, string>>): Promise<void> {
  const { handler } = wire(readOptions({ ...env, OPENAI_CUSTOM_HEADERS: CUSTOM, UPSTREAM_RETRIES: '0' }))
  const reply = await soon(handler(http('/chat', { body: { prompt: 'hi' } })))
  await soon(textOf(reply))
  await soon(reply.settled)
}

test('the headers of OPENAI_CUSTOM_HEADERS reach the one server that the environment names', async () => {
  const server = await start()

  await askThrough({ OPENAI_BASE_URL: server.url, OPENAI_API_KEY: 'k' })

  expect(server.received[0]!.headers).toMatchObject({
    'x-gateway-token': 'CanaryCustom1',
    'x-team': 'CanaryTeam2',
  })
})

test('they reach no entry of UPSTREAMS of another vendor; each gets its own', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const first = await startModelServer((response) => refuseWith(response, 500))
  const second = await start()
  const upstreams = [
    {
      name: 'a',
      baseURL: first.url,
      headers: { 'X-Region': 'eu' },
      headerVariables: { 'X-Own-Token': 'A_TOKEN' },
    },
    { name: 'b', baseURL: second.url },
  ]

  await askThrough({ UPSTREAMS: JSON.stringify(upstreams), A_TOKEN: 'CanaryOwn4 with a space' })

  expect(first.received[0]!.headers).toMatchObject({
    'x-region': 'eu',
    'x-own-token': 'CanaryOwn4 with a space',
  })
  expect(second.received).toHaveLength(1)
  expect(sent(first)).not.toMatch(/CanaryCustom|CanaryTeam|CanaryAgent/)
  expect(sent(second)).not.toMatch(/Canary|x-region/)
})

test.each([
  ['https://api.openai.com/v1', true],
  ['https://eu.api.openai.com/v1', true],
  ['https://api.openai.com.evil.example/v1', false],
  ['https://notapi.openai.com/v1', false],
  ['https://api.groq.com/openai/v1', false],
])('of the entries of UPSTREAMS, %s gets them: %s', async (baseURL, isOpenAI) => {
  const fetch = vi.fn<(input: unknown, init?: RequestInit) => Promise<Response>>(
    async () => new Response(null, { status: 500 }),
  )
  vi.doMock('../../adapters/node.ts', () => ({ createNodeFetch: () => fetch }))
  vi.resetModules()
  const fresh = await import('../../handlers/wire.ts')
  const options = readOptions({ UPSTREAMS: JSON.stringify([{ name: 'a', baseURL }]), UPSTREAM_RETRIES: '0' })
  const { handler } = fresh.wire(options, { onError: () => {}, onEnd: () => {} })

  const reply = await soon(handler(http('/chat', { body: { prompt: 'hi' } })))
  await soon(textOf(reply))

  const headers = new Headers(fetch.mock.calls[0]![1]!.headers)
  expect(headers.get('x-gateway-token')).toBe(isOpenAI ? 'CanaryCustom1' : null)
  vi.doUnmock('../../adapters/node.ts')
})

test.each([
  [undefined, { 'x-gateway-token': 'CanaryCustom1' }],
  [null, {}],
  [{ 'X-Own': 'mine' }, { 'x-own': 'mine' }],
])('in the library, headers: %j', async (headers, expected) => {
  const server = await start()
  const upstream = createOpenAI({ apiKey: 'k', baseURL: server.url, headers })

  await soon(all(upstream(asking(), { signal: new AbortController().signal })))

  const [{ headers: got }] = server.received as [ModelServer['received'][number]]
  expect(got).toMatchObject({ authorization: 'Bearer k', ...expected })
  expect(sent(server).includes('Canary')).toBe(headers === undefined)
})

/** Forms in which an upstream may repeat a secret. */
const encodings: Readonly<Record<string, (text: string) => string>> = {
  'as it is': (text) => text,
  'in capitals': (text) => text.toUpperCase(),
  'in base64': (text) => Buffer.from(text).toString('base64'),
  'in base64, with a name before it': (text) => Buffer.from(`user:${text}`).toString('base64'),
  'in base64url': (text) => Buffer.from(`?>${text}`).toString('base64url'),
  'in hexadecimal': (text) => Buffer.from(text).toString('hex'),
  'as a URL has it': (text) => encodeURIComponent(text),
  'percent by percent': (text) => Buffer.from(text).toString('hex').replace(/../g, '%$&'),
  'as JSON has it': (text) => [...text].map((char) => `\\u00${char.charCodeAt(0).toString(16)}`).join(''),
  'as HTML has it': (text) => [...text].map((char) => `&#${char.charCodeAt(0)};`).join(''),
  'cut in half': (text) => text.slice(0, Math.ceil(text.length * 0.7)),
  'in two lines': (text) => `${text.slice(0, 9)}\n${text.slice(9)}`,
}
const secrets = [
  'thekeyofthisservice',
  'org-of-the-company',
  'project-of-mine',
  'gateway token words',
  'proxy/pass+word&x',
]

test.each(Object.entries(encodings))(
  'no secret that is repeated %s reaches a client or the log',
  async (_, encode) => {
    const log: string[] = []
    vi.spyOn(console, 'error').mockImplementation((line: string) => void log.push(line))
    vi.stubEnv('OPENAI_CUSTOM_HEADERS', '')
    const [key, organization, project, token, password] = secrets as [string, string, string, string, string]
    let said = ''
    for (const secret of secrets) {
      for (const param of ['messages', 'messages[0].content', `messages.${secret}`, secret]) {
        const words = `Wrong field: ${encode(secret)}`
        const error = { message: words, code: encode(secret), type: secret, param }
        for (const answer of [
          (response: Parameters<typeof refuseWith>[0]) => refuseWith(response, 400, error),
          (response: Parameters<typeof refuseWith>[0]) =>
            void response
              .writeHead(200, { 'content-type': 'text/event-stream' })
              .end(`data: ${JSON.stringify({ error: { ...error, type: 'invalid_request_error' } })}\n\n`),
          (response: Parameters<typeof refuseWith>[0]) => {
            const choices = [{ index: 0, delta: { content: 'x' }, finish_reason: encode(secret) }]
            response.writeHead(200, {
              'content-type': 'text/event-stream',
              'x-echo': encodeURIComponent(secret),
            })
            response.end(`data: ${JSON.stringify({ choices })}\n\ndata: [DONE]\n\n`)
          },
        ]) {
          const server = await startModelServer(answer)
          const entry = { name: 'a', baseURL: server.url, keyVariable: 'KEY', organization, project }
          const upstreams = [{ ...entry, headerVariables: { 'X-Gateway': 'TOKEN' } }]
          const proxy = `http://me:${encodeURIComponent(password)}@127.0.0.1:9`
          const env = { UPSTREAMS: JSON.stringify(upstreams), KEY: key, TOKEN: token, HTTPS_PROXY: proxy }
          const { handler } = wire(readOptions({ ...env, UPSTREAM_RETRIES: '0' }))
          for (const [url, body] of [
            ['/chat', { prompt: 'hi' }],
            ['/v1/chat/completions', { messages: [{ role: 'user', content: 'hi' }] }],
          ] as const) {
            const reply = await soon(handler(http(url, { body })), 20_000)
            said += JSON.stringify(reply.headers) + (await soon(textOf(reply), 20_000))
            await soon(reply.settled, 20_000)
          }
        }
      }
      expect(said).not.toContain(encode(secret))
      expect(said.toLowerCase()).not.toContain(secret.toLowerCase())
      expect(log.join('\n').toLowerCase()).not.toContain(secret.toLowerCase())
      expect(log.join('\n')).not.toContain(encode(secret))
    }
    expect(said).toContain('refused the request')
  },
  120_000,
)
