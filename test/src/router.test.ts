import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createHandler } from '../../src/handler.ts'
import type { Page } from '../../src/page.ts'
import { hel, http, script, stop, textOf } from './kit.ts'

const page: Page = {
  read: async (name) => `the file ${name}`,
  info: { simulated: false, model: 'm', models: ['m'] },
}

/** A service with a page and one reply, `r1`, that is over. */
async function service() {
  const scripted = script([hel, stop])
  const handler = createHandler({ upstream: scripted.upstream, model: 'm', page, createId: () => 'r1' })
  await textOf(await handler(http('/chat', { body: { prompt: 'hi' } })))
  const ask = async (method: string, url: string, headers = {}) => {
    const reply = await handler(http(url, { method, headers }))
    return { reply, body: await textOf(reply) }
  }
  return { ask, asked: scripted.asked }
}

describe('HEAD', () => {
  test.each<[number, string, Record<string, string>?]>([
    [200, '/'],
    [200, '/page.js'],
    [200, '/page.css'],
    [200, '/healthz'],
    [200, '/v1/models'],
    [200, '/stream?prompt=hi'],
    [200, '/chat/r1'],
    [200, '/chat/r1', { 'last-event-id': '1' }],
    [404, '/chat/r2'],
    [404, '/nowhere'],
    [405, '/chat'],
    [405, '/chat/r1/stop'],
    [400, 'http://['],
  ])('answers %i to %s with the headers alone, and starts nothing', async (status, url, headers) => {
    const { ask, asked } = await service()

    const { reply, body } = await ask('HEAD', url, headers)

    expect([reply.status, reply.body, body]).toEqual([status, '', ''])
    expect(reply.headers['content-type']).toMatch(/; charset=utf-8$/)
    expect(asked).toHaveLength(1)
  })

  test('of any address, in any spelling, has no body', async () => {
    const { ask, asked } = await service()
    const url = fc.oneof(
      fc.webPath(),
      fc.string().map((text) => `/${text}`),
      fc.string(),
    )

    await fc.assert(
      fc.asyncProperty(url, fc.constantFrom('HEAD', 'head', 'Head'), async (text, method) => {
        expect((await ask(method, text)).reply.body).toBe('')
      }),
    )
    expect(asked).toHaveLength(1)
  })
})

describe('the page', () => {
  test.each(['/', '/page.js', '/page.css'])('at %s can be read and nothing else', async (url) => {
    const { ask } = await service()

    const read = await ask('GET', url)
    const options = await ask('OPTIONS', url)
    const posted = await ask('POST', url)

    expect([read.reply.status, options.reply.status, posted.reply.status]).toEqual([200, 204, 405])
    expect(options.reply.headers).toMatchObject({ allow: 'GET, HEAD, OPTIONS' })
    expect(posted.reply.headers).toMatchObject({ allow: 'GET, HEAD, OPTIONS' })
    expect(options.body).toBe('')
  })

  test.each([
    '/index.html',
    '/page.js/',
    '/page.js.map',
    '/pagexjs',
    '/page.cssx',
    '/web/page.js',
    '/__proto__',
    '/constructor',
    '/..%2fpage.js',
    '/page.js%00',
  ])('is not at %s', async (url) => {
    const { reply } = await (await service()).ask('GET', url)

    expect([reply.status, reply.unmatched]).toEqual([404, true])
  })

  test('is at these three paths and no others', async () => {
    const { ask } = await service()
    const near = fc.array(fc.constantFrom('page', 'js', 'css', '.', '/', 'index', 'html', '%', '-'), {
      maxLength: 5,
    })

    await fc.assert(
      fc.asyncProperty(near, async (parts) => {
        const url = `/${parts.join('')}`
        const path = new URL(url.replace(/^\/+/, '/'), 'http://localhost').pathname
        const { reply } = await ask('GET', url)
        expect(reply.status).toBe(['/', '/page.js', '/page.css'].includes(path) ? 200 : 404)
      }),
    )
  })
})
