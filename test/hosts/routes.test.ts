import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { missingRuntime } from '../lambda/lab.ts'
import { ask, deltas, open, pieces, post } from './client.ts'
import { createHosts, hostNames } from './hosts.ts'
import { answer, finish, openStream, role, say, send, stall, stream } from './upstream.ts'

const missing = await missingRuntime()
// start, two texts, usage, finish
const length = 5

describe.skipIf(missing)('both hosts', () => {
  const hosts = createHosts()

  test('say that they are well', async () => {
    expect(await hosts.ask({ path: '/healthz' })).toMatchObject({ status: 200, body: '{"status":"ok"}' })
  })

  test('list the models', async () => {
    const { body } = await hosts.ask({ path: '/v1/models' })

    const { data } = JSON.parse(body) as { data: readonly { id: string }[] }
    expect(data.map(({ id }) => id)).toEqual(['model-a', 'model-b'])
  })

  test.each([0, 1, 2, length - 1])('resume a reply after event %i with what is missing', async (after) => {
    hosts.upstream.script = stream(answer('Hel', 'lo.'))
    const full = await hosts.ask(post({ prompt: 'Hi' }))

    const byHeader = await hosts.ask({ path: '/chat/reply-1', headers: { 'last-event-id': String(after) } })
    const byNativeId = await hosts.ask({
      path: '/chat/reply-1',
      headers: { 'last-event-id': `reply-1.${after}` },
    })
    const byQuery = await hosts.ask({ path: `/chat/reply-1?last_event_id=${after}` })

    expect(deltas(byHeader.body)).toEqual(deltas(full.body).slice(after))
    expect(byHeader.body).toBe(full.body.slice(-byHeader.body.length))
    expect(byNativeId.body).toBe(byHeader.body)
    expect(byQuery.body).toBe(byHeader.body)
    expect(byHeader.headers).toEqual(full.headers)
  })

  test.each([0, 1, 2, length - 1])('resume /stream after event %i without asking again', async (after) => {
    hosts.upstream.script = stream(answer('Hel', 'lo.'))
    const full = await hosts.ask({ path: '/stream?prompt=Hi' })
    const before = hosts.upstream.asked.length

    const rest = await hosts.ask({
      path: '/stream?prompt=Hi',
      headers: { 'last-event-id': `reply-1.${after}` },
    })

    expect(rest.status).toBe(200)
    expect(deltas(rest.body)).toEqual(deltas(full.body).slice(after))
    expect(full.body.endsWith(rest.body)).toBe(true)
    expect(hosts.upstream.asked.length).toBe(before)
  })

  test('end a reader who has everything with 204, and refuse one who claims more', async () => {
    hosts.upstream.script = stream(answer('Hel', 'lo.'))
    await hosts.ask(post({ prompt: 'Hi' }))
    const before = hosts.upstream.asked.length
    const resume = (path: string, id: string) => hosts.ask({ path, headers: { 'last-event-id': id } })

    expect((await resume('/chat/reply-1', `${length}`)).status).toBe(204)
    expect((await resume('/stream?prompt=Hi', `reply-1.${length}`)).status).toBe(204)
    expect((await resume('/stream?prompt=Hi', 'forgotten.3')).status).toBe(204)
    expect(await resume('/chat/reply-1', `${length + 1}`)).toMatchObject({
      status: 409,
      body: expect.stringContaining('cursor-beyond-tail'),
    })
    expect(hosts.upstream.asked.length).toBe(before)
  })

  test('give a reply that failed again as it was', async () => {
    hosts.upstream.script = stream(role, say('The begin'))
    const full = await hosts.ask(post({ prompt: 'Hi' }))

    const again = await hosts.ask({ path: '/chat/reply-1' })

    expect(again.body).toBe(full.body)
    expect(deltas(again.body).at(-1)).toMatchObject({ type: 'error', code: 'upstream-truncated' })
  })

  test('answer a stop of a reply that is over, as often as it comes', async () => {
    await hosts.ask(post({ prompt: 'Hi' }))
    const ended = { status: 200, body: '{"id":"reply-1","status":"ended"}' }

    expect(await hosts.ask({ method: 'DELETE', path: '/chat/reply-1' })).toMatchObject(ended)
    expect(await hosts.ask({ method: 'POST', path: '/chat/reply-1/stop' })).toMatchObject(ended)
  })

  test('take a body of several chunks and bytes', async () => {
    const prompt = 'Zoë 你好 👩‍👩‍👧‍👦 '.repeat(2000)

    await hosts.ask(post({ prompt }))

    const [first, second] = hosts.upstream.asked.slice(-2) as { messages: unknown }[]
    expect(first?.messages).toEqual([{ role: 'user', content: prompt }])
    expect(second).toEqual(first)
  })

  test.each([
    ['/', 'text/html; charset=utf-8', 'web/index.html'],
    ['/page.js', 'text/javascript; charset=utf-8', undefined],
    ['/page.css', 'text/css; charset=utf-8', undefined],
  ])('serve %s with a strict policy', async (path, type, source) => {
    const { status, headers, body } = await hosts.ask({ path })

    expect({ status, type: headers['content-type'] }).toEqual({ status: 200, type })
    expect(headers['content-security-policy']).toContain("default-src 'none'; script-src 'self'")
    expect(headers['x-content-type-options']).toBe('nosniff')
    expect(body.length).toBeGreaterThan(1000)
    if (source) {
      const html = await readFile(new URL(`../../${source}`, import.meta.url), 'utf8')
      const info =
        '{&#34;simulated&#34;:false,&#34;model&#34;:&#34;model-a&#34;,&#34;models&#34;:[&#34;model-a&#34;,&#34;model-b&#34;]}'
      expect(body).toBe(html.replace('content="{}"', `content="${info}"`))
    }
  })

  test.each(hostNames)('%s passes each token on before the next one comes', async (name) => {
    const tokens = ['one ', 'two ', 'three ', 'four ']
    let release = (): void => {}
    hosts.upstream.script = async (response) => {
      openStream(response)
      await send(response, role)
      for (const token of tokens) {
        const arrived = new Promise<void>((resolve) => (release = resolve))
        await send(response, say(token))
        await arrived
      }
      response.end(finish('stop'))
    }

    const response = await open(hosts.urls[name], post({ prompt: 'Hi' }))
    const texts: string[] = []
    for await (const piece of pieces(response)) {
      const said = deltas(piece).flatMap((delta) => (delta.type === 'text' ? delta.text : []))
      texts.push(...said)
      if (said.length > 0) release()
    }

    expect(texts).toEqual(tokens)
  })

  test('Express stops a running reply, for its reader and for the upstream', async () => {
    const upstreamLeft = new Promise<void>((resolve) => {
      hosts.upstream.script = async (response) => {
        response.once('close', resolve)
        await stall(role, say('The begin'))(response)
      }
    })
    const response = await open(hosts.express, post({ prompt: 'Hi' }))

    const stopped = await ask(hosts.express, { method: 'DELETE', path: '/chat/reply-1' })
    let body = ''
    for await (const piece of pieces(response)) body += piece
    await upstreamLeft

    expect(stopped.body).toBe('{"id":"reply-1","status":"stopped"}')
    expect(deltas(body).at(-1)).toEqual({ type: 'finish', reason: 'cancelled' })
  })
})

describe.skipIf(missing)('a second Lambda environment', () => {
  const hosts = createHosts({ environments: 2 })

  test('does not know a reply that another one is giving: it says so, and never asks again', async () => {
    let release = (): void => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    hosts.upstream.script = async (response) => {
      openStream(response)
      await send(response, role + say('The begin'))
      await held
      response.end(say('ning') + finish('stop'))
    }
    const response = await open(hosts.lambda.url, post({ prompt: 'Hi' }))
    const { 'x-reply-id': id } = response.headers
    const path = `/chat/${String(id)}`
    const before = hosts.upstream.asked.length

    const stopped = await ask(hosts.lambda.url, { method: 'DELETE', path })
    const resumed = await ask(hosts.lambda.url, { path, headers: { 'last-event-id': '1' } })
    const native = { path: '/stream?prompt=Hi', headers: { 'last-event-id': `${String(id)}.1` } }
    const reconnected = await ask(hosts.lambda.url, native)
    release()
    let body = ''
    for await (const piece of pieces(response)) body += piece

    expect([stopped.status, resumed.status, reconnected.status]).toEqual([404, 404, 204])
    expect(hosts.upstream.asked.length).toBe(before)
    expect(deltas(body).at(-1)).toEqual({ type: 'finish', reason: 'stop' })
  })
})
