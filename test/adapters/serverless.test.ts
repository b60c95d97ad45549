import serverless from 'serverless-http'
import { expect, test } from 'vitest'
import { createApp } from '../../handlers/app.ts'
import { readOptions } from '../../handlers/options.ts'
import { createHandler } from '../../src/index.ts'
import { saying } from './script.ts'

interface Result {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

const app = createApp(createHandler({ model: 'm', upstream: saying('Hél', 'lo') }), readOptions({}))
const handler = serverless(app)

/** An event of an HTTP API, payload format 2.0. */
async function invoke(method: string, path: string, body?: string): Promise<Result> {
  const event = {
    version: '2.0',
    rawPath: path,
    rawQueryString: '',
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    requestContext: { http: { method, path, sourceIp: '127.0.0.1' } },
    body: body && Buffer.from(body).toString('base64'),
    isBase64Encoded: body !== undefined,
  }
  return (await handler(event, {})) as Result // serverless-http says `Object`
}

test('behind serverless-http the body is read and the headers are kept', async () => {
  const { statusCode, headers, body } = await invoke('POST', '/chat', '{"prompt":"grüß dich","stream":false}')

  expect(statusCode).toBe(200)
  expect(JSON.parse(body)).toMatchObject({ text: 'Héllo' })
  expect(headers).toMatchObject({
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'x-reply-id': expect.stringMatching(/^[\w-]{22}$/),
  })
})

test.each([
  ['GET', '/healthz', undefined, 200],
  ['POST', '/chat', '', 400],
  ['POST', '/chat', '{"prompt":""}', 400],
  ['GET', '/nowhere', undefined, 404],
  ['PUT', '/chat', '{}', 405],
])('behind serverless-http %s %s with the body %j is %i, as JSON', async (method, path, text, status) => {
  const { statusCode, headers, body } = await invoke(method, path, text)

  expect(statusCode).toBe(status)
  expect(headers['content-type']).toBe('application/json; charset=utf-8')
  expect(JSON.parse(body)).toBeTypeOf('object')
})
