import { afterEach, describe, expect, test, vi } from 'vitest'
import { type LambdaStream, serve } from '../../adapters/lambda.ts'
import { toExpress } from '../../adapters/express.ts'
import { ChatError, createHandler } from '../../src/index.ts'
import { callerOf } from '../../src/names.ts'
import type { HttpRequest } from '../../src/types.ts'
import { type Host, host } from '../adapters/host.ts'
import { saying } from '../adapters/script.ts'
import { http } from '../src/kit.ts'

type Principal = (request: unknown) => unknown
interface Answer {
  readonly status: number
  readonly body: string
}
/** Sends one request to a handler whose adapter determines the principal so. */
type Ask = (principal: Principal, path: string, method?: string) => Promise<Answer>

const onError = vi.fn<(error: ChatError) => void>()
const handler = createHandler({ upstream: saying('secret of ann'), model: 'm', onError })
const asTyped = (principal: Principal) => principal as () => string // what a caller without types can do

let running: Host | undefined
afterEach(async () => {
  onError.mockClear()
  await running?.close()
  running = undefined
})

const onExpress: Ask = async (principal, path, method = 'GET') => {
  await running?.close()
  const relay = toExpress(handler, { principal: asTyped(principal) })
  running = await host((request, response) => void relay(request, response))
  const response = await fetch(running.url + path, {
    method,
    ...(method === 'POST'
      ? { headers: { 'content-type': 'application/json' }, body: '{"prompt":"hi","stream":false}' }
      : {}),
  })
  return { status: response.status, body: await response.text() }
}

const onLambda: Ask = async (principal, path, method = 'GET') => {
  let body = ''
  let status = 0
  const stream: LambdaStream = {
    write: (chunk) => {
      body += typeof chunk === 'string' ? chunk : new TextDecoder().decode(chunk)
      return true
    },
    on: () => {},
    once: () => {},
    off: () => {},
    end: () => {},
  }
  await serve(handler, {
    principal: asTyped(principal),
    event: {
      rawPath: path,
      headers: { 'content-type': 'application/json' },
      requestContext: { http: { method } },
      body: method === 'POST' ? '{"prompt":"hi","stream":false}' : '',
    },
    stream,
    context: { getRemainingTimeInMillis: () => 60_000 },
    from: (out, head) => {
      status = head.statusCode
      return out
    },
  })
  return { status, body }
}

describe.each([
  ['Express', onExpress],
  ['Lambda', onLambda],
])('the principal on %s', (_, ask) => {
  test('may be a promise: one client does not read the reply of another', async () => {
    const answer = await ask(async () => 'ann', '/chat', 'POST')
    const { id } = JSON.parse(answer.body) as { id: string }

    const bob = await ask(async () => 'bob', `/chat/${id}`)
    const anonymous = await ask(async () => undefined, `/chat/${id}`)
    const ann = await ask(async () => 'ann', `/chat/${id}`)

    expect(answer.status).toBe(200)
    expect([bob.status, anonymous.status, ann.status]).toEqual([404, 404, 200])
    expect(bob.body + anonymous.body).not.toContain('secret')
    expect(ann.body).toContain('secret of ann')
  })

  test.each([
    ['a number', 7],
    ['null', null],
    ['an object', { id: 'ann' }],
    ['a list', ['ann']],
    ['a boolean', true],
    ['a promise of an object', Promise.resolve({ id: 'ann' })],
  ])('that is %s is refused and reported', async (_kind, value) => {
    const answer = await ask(() => value, '/chat', 'POST')

    expect(answer.status).toBe(500)
    expect(JSON.parse(answer.body)).toMatchObject({ error: { code: 'internal' } })
    await vi.waitFor(() => expect(onError).toHaveBeenCalledTimes(1))
    expect(onError.mock.calls[0]![0].cause).toMatchObject({
      message: expect.stringMatching(/^The principal of a request must be a string; got /),
    })
  })

  test.each([
    ['throws', () => { throw new ChatError('rate-limited', 'Too many requests of yours.') }], // prettier-ignore
    ['rejects', () => Promise.reject(new ChatError('rate-limited', 'Too many requests of yours.'))],
  ])('keeps the status of a ChatError that it %s', async (_how, principal) => {
    const answer = await ask(principal, '/chat', 'POST')

    expect(answer.status).toBe(429)
    expect(JSON.parse(answer.body)).toEqual({
      error: { code: 'rate-limited', message: 'Too many requests of yours.' },
    })
  })

  test('that fails in another way is an internal error without its words', async () => {
    const answer = await ask(() => Promise.reject(new Error('db password hunter2')), '/chat', 'POST')

    expect(answer.status).toBe(500)
    expect(answer.body).not.toContain('hunter2')
    await vi.waitFor(() => expect(onError).toHaveBeenCalledTimes(1))
  })

  test('is not needed for a health check, a preflight, or an address without a route', async () => {
    const principal = vi.fn<() => never>(() => {
      throw new ChatError('rate-limited', 'no')
    })

    const statuses = []
    for (const [path, method] of [['/healthz'], ['/readyz'], ['/chat', 'OPTIONS'], ['/nothing']] as const)
      statuses.push((await ask(principal, path, method)).status)

    expect(statuses).toEqual([200, 200, 204, 404])
    expect(principal).not.toHaveBeenCalled()
  })
})

test.each([
  [{ principal: 'ann', address: '192.0.2.1' }, 'principal ann'],
  [{ address: '192.0.2.1' }, 'address 192.0.2.1'],
  [{ address: '::ffff:192.0.2.1' }, 'address 192.0.2.1'],
  [{ address: '2001:db8:1:2:3:4:5:6' }, 'address 2001:db8:1:2::/64'],
  [{ address: '2001:DB8:1:2::9' }, 'address 2001:db8:1:2::/64'],
  [{ address: '2001:db8::1' }, 'address 2001:db8:0:0::/64'],
  [{ address: '::1' }, 'address 0:0:0:0::/64'],
  [{ address: 'fe80::1%eth0' }, 'address fe80:0:0:0::/64'],
  [{}, undefined],
] satisfies (readonly [Partial<HttpRequest>, string | undefined])[])(
  'the caller of %j is %s',
  (who, caller) => {
    expect(callerOf({ ...http('/chat'), ...who })).toBe(caller)
  },
)
