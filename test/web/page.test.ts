import { describe, expect, test } from 'vitest'
import { hasChromium } from './browser.ts'
import { createTab, start, stop, text } from './tab.ts'

describe.skipIf(!hasChromium())('a conversation on the page', () => {
  const tab = createTab()
  const { visit, ask, answer, prose, focused } = tab

  test('shows each token as it arrives, and then the usage', async () => {
    await visit()
    const reply = await ask('Hello?')

    reply.send(start, text('Hel'))
    await expect.poll(prose).toBe('Hel')
    reply.raw(': heartbeat\n\n')
    reply.send(text('lo, '))
    await expect.poll(prose).toBe('Hello, ')
    reply.send(text('Zoë 👋'), { type: 'usage', inputTokens: 12, outputTokens: 34 }, stop)

    await answer('complete').waitFor()
    expect(await prose()).toBe('Hello, Zoë 👋')
    expect(await answer().locator('.meta').innerText()).toBe('simulator · 12 tokens in, 34 out')
    expect(await tab.page.getByRole('button', { name: 'Stop' }).isVisible()).toBe(false)
  })

  test('puts a character together that was split between two chunks', async () => {
    await visit()
    const reply = await ask('Hello?')
    const bytes = Buffer.from('id: 2\ndata: {"type":"text","text":"👋"}\n\n')

    reply.raw('id: 1\ndata: {"type":"text",')
    reply.raw('"text":"a"}\n\n')
    await expect.poll(prose).toBe('a')
    reply.raw(bytes.subarray(0, 36))
    reply.raw(bytes.subarray(36))
    reply.raw(`id: 3\ndata: ${JSON.stringify(stop)}\n\n`)

    await answer('complete').waitFor()
    expect(await prose()).toBe('a👋')
  })

  test('sends the whole conversation, and the model that was chosen', async () => {
    tab.server.config = { simulated: false, model: 'large', models: ['small', 'large'] }
    await visit()
    await tab.page.getByLabel('Model').selectOption('small')
    const first = await ask('One?')
    first.send(start, text('1'), stop)
    await answer('complete').waitFor()

    const second = await ask('Two?')

    expect(first.body).toEqual({ messages: [{ role: 'user', content: 'One?' }], model: 'small' })
    expect(second.body.messages).toEqual([
      { role: 'user', content: 'One?' },
      { role: 'assistant', content: '1' },
      { role: 'user', content: 'Two?' },
    ])
  })

  test('a stop asks the server and waits for its last word; what had come is kept and sent as history', async () => {
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(start, text('Once upon'))
    await expect.poll(prose).toBe('Once upon')

    await tab.page.getByRole('button', { name: 'Stop' }).click()

    expect(await tab.server.stopped()).toBe('chat/reply%2F1/stop')
    reply.send(text(' a time'), { type: 'finish', reason: 'cancelled' })
    await answer('stopped').waitFor()
    expect(await prose()).toBe('Once upon a time')
    expect(await answer().locator('.note').innerText()).toBe('Stopped.')
    expect(await focused()).toBe('draft')
    const next = await ask('Go on.')
    expect(next.body.messages[1]).toEqual({ role: 'assistant', content: 'Once upon a time' })
  })

  test('a stop does not wait for a server that has nothing more to say', async () => {
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(start, text('Once upon'))
    await expect.poll(prose).toBe('Once upon')

    await tab.page.keyboard.press('Escape')

    await answer('stopped').waitFor()
    await reply.closed
  })

  test('a stop before the answer begins reaches the server once the reply has a name', async () => {
    await visit()
    const reply = await ask('Tell me a story.')

    await tab.page.keyboard.press('Escape')
    reply.open()

    expect(await tab.server.stopped()).toBe('chat/reply%2F1/stop')
    reply.send(start, { type: 'finish', reason: 'cancelled' })
    await answer('stopped').waitFor()
  })

  test.each([
    [429, '{"error":{"code":"rate-limited","message":"Too many."}}', 'rate-limited', 'Too many.', 1],
    [400, '{"error":{"code":"invalid-request","message":"Too long."}}', 'invalid-request', 'Too long.', 0],
    [500, '<html>Oh no</html>', 'http-500', 'The server answered 500 Internal Server Error.', 1],
    [200, '<html>Hello</html>', 'http-200', 'The server answered 200 OK.', 0],
  ])('a refusal with status %i is shown as an error', async (status, body, code, message, retries) => {
    await visit()

    const reply = await ask('Hello?')
    reply.refuse(status, body)

    await answer('failed').waitFor()
    const alert = tab.page.getByRole('alert')
    expect(await alert.locator('strong').innerText()).toBe('No answer')
    expect(await alert.locator('p').innerText()).toBe(message)
    expect(await alert.locator('code').innerText()).toBe(code)
    expect(await alert.getByRole('button', { name: 'Try again' }).count()).toBe(retries)
  })

  test('a question that was refused for good is not sent again with the next one', async () => {
    await visit()
    const refused = await ask('Something terrible')
    refused.refuse(400, '{"error":{"code":"invalid-request","message":"No."}}')
    await answer('failed').waitFor()

    const next = await ask('Something nice')

    expect(next.body.messages).toEqual([{ role: 'user', content: 'Something nice' }])
  })

  test('an error in the middle keeps what had come, marks it incomplete and offers another try', async () => {
    await visit()
    const reply = await ask('Hello?')
    const error = { type: 'error', code: 'upstream-failed', message: 'The model went away.', retryable: true }
    reply.send(start, text('Half an ans'), error)

    await answer('failed').waitFor()
    expect(await prose()).toBe('Half an ans')
    expect(await tab.page.getByRole('alert').innerText()).toContain('This answer is incomplete')
    expect(await tab.page.getByRole('alert').innerText()).toContain('The model went away.')

    await tab.page.getByRole('button', { name: 'Try again' }).click()
    const again = await tab.server.asked()
    again.send(start, text('A whole answer.'), stop)

    await answer('complete').waitFor()
    expect(again.body).toEqual(reply.body)
    expect(await prose()).toBe('A whole answer.')
    expect(await tab.page.getByRole('button', { name: 'Try again' }).count()).toBe(0)
    expect(await tab.page.locator('.question').count()).toBe(1)
  })

  test.each([['ends'], ['breaks']])('a stream that just %s goes on where it was', async (how) => {
    await visit()
    const reply = await ask('Hello?')
    reply.send(start, text('It looks '))
    await expect.poll(prose).toBe('It looks ')

    if (how === 'ends') reply.end()
    else reply.cut()
    const rest = await tab.server.resumed()
    rest.send(text('finished.'), stop)

    await answer('complete').waitFor()
    expect([rest.path, rest.after]).toEqual(['chat/reply%2F1', 2])
    expect(await prose()).toBe('It looks finished.')
  })

  test('a proxy that does not reach the server is asked again, under the same key', async () => {
    await visit()
    const first = await ask('Hello?')
    first.refuse(502, '<html>Bad Gateway</html>', 'text/html')

    const second = await tab.server.asked()
    second.send(start, text('Hello.'), stop)

    await answer('complete').waitFor()
    expect(second.key).toBe(first.key)
    expect(second.body).toEqual(first.body)
    expect(await prose()).toBe('Hello.')
  })

  test('an event that is no JSON is asked for again; the second time the answer ends as an error', async () => {
    await visit()
    const reply = await ask('Hello?')

    reply.raw('id: 1\ndata: {"type":"te\n\n')
    const again = await tab.server.resumed()
    again.raw('id: 1\ndata: {"type":"te\n\n')

    await answer('failed').waitFor()
    expect(await tab.page.getByRole('alert').innerText()).toContain('unreadable')
    await again.closed
  })

  test('a server that is not there is waited for, and the page says so; it goes on by itself', async () => {
    await visit()
    await tab.page.context().setOffline(true)
    await tab.page.getByLabel('Your message').fill('Hello?')
    await tab.page.keyboard.press('Enter')
    await answer('running').getByText('The connection is lost. Reconnecting …').waitFor()

    await tab.page.context().setOffline(false)
    const reply = await tab.server.asked()
    reply.send(start, text('Here I am.'), stop)

    await answer('complete').waitFor()
    expect(await prose()).toBe('Here I am.')
    expect(await answer().getByText('Reconnecting').count()).toBe(0)
  })

  test('a server that stays away is an error with another try', async () => {
    await visit()
    await tab.page.clock.install()
    await tab.page.context().setOffline(true)
    await tab.page.getByLabel('Your message').fill('Hello?')
    await tab.page.keyboard.press('Enter')

    await expect
      .poll(
        async () => {
          await tab.page.clock.runFor(10_000)
          return answer('failed').count()
        },
        { timeout: 20_000 },
      )
      .toBe(1)

    expect(await tab.page.getByRole('alert').innerText()).toContain('unreachable')
    await tab.page.context().setOffline(false)
    await tab.page.getByRole('button', { name: 'Try again' }).click()
    const again = await tab.server.asked()
    again.send(start, text('Here I am.'), stop)
    await tab.page.clock.runFor(1_000)
    await answer('complete').waitFor()
    expect(await tab.page.locator('.answer').count()).toBe(1)
  })

  test.each([
    ['length', 'Cut short: the answer reached its length limit.'],
    ['content-filter', 'Cut short by a content filter.'],
  ])('says so when an answer ends by %s', async (reason, note) => {
    await visit()
    const reply = await ask('Hello?')

    reply.send(start, text('Some'), { type: 'finish', reason })

    await answer('complete').waitFor()
    expect(await answer().locator('.note').innerText()).toBe(note)
  })

  test('shows reasoning folded, a refusal, a tool call and a source', async () => {
    await visit()
    const reply = await ask('Hello?')

    reply.send(start, { type: 'reasoning', text: 'Hm, ' }, { type: 'reasoning', text: 'let me see.' })
    reply.send({ type: 'tool-call', index: 0, id: 'c1', name: 'weather', arguments: '{"city":' })
    reply.send({ type: 'tool-call', index: 0, arguments: '"Rome"}' })
    reply.send({ type: 'refusal', text: 'I will not say.' })
    reply.send({ type: 'source', url: 'https://example.com/a', title: 'Example' }, stop)

    await answer('complete').waitFor()
    const reasoning = answer().locator('.reasoning')
    expect(await reasoning.locator('div').isVisible()).toBe(false)
    await reasoning.locator('summary').click()
    expect(await reasoning.locator('div').innerText()).toBe('Hm, let me see.')
    expect(await answer().locator('.tool code').innerText()).toBe('weather {"city":"Rome"}')
    expect(await answer().locator('.refusal').innerText()).toContain('I will not say.')
    expect(await answer().getByRole('link').getAttribute('href')).toBe('https://example.com/a')
  })
})
