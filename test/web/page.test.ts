import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { hasChromium, launch } from './browser.ts'
import { corpus } from './corpus.ts'
import { createListener, createScriptedServer, type ScriptedServer } from './scripted.ts'

const start = { type: 'start', id: 'reply/1', model: 'simulator', createdAt: 0 }
const stop = { type: 'finish', reason: 'stop' }
const text = (text: string): object => ({ type: 'text', text })

describe.skipIf(!hasChromium())('the page', () => {
  let browser: Browser
  let server: ScriptedServer
  let page: Page
  let complaints: string[]

  beforeAll(async () => {
    browser = await launch()
  })
  afterAll(() => browser.close())
  beforeEach(async () => {
    server = await createScriptedServer()
    complaints = []
  })
  afterEach(async () => {
    await page.context().close()
    await server.close()
    expect(complaints).toEqual([])
    expect(server.strays).toEqual([])
  })

  async function visit(options: BrowserContextOptions = {}): Promise<void> {
    page = await browser.newPage(options)
    page.setDefaultTimeout(10_000)
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('dialog', (dialog) => {
      complaints.push(`dialog: ${dialog.message()}`)
      void dialog.dismiss()
    })
    page.on('console', (message) => {
      // Chromium reports every failed request by itself; a refused one is part of some tests.
      const expected = message.text().startsWith('Failed to load resource')
      if (message.type() === 'error' && !expected) complaints.push(message.text())
    })
    await page.goto(server.url)
  }

  async function ask(question: string): ReturnType<ScriptedServer['asked']> {
    await page.getByLabel('Your message').fill(question)
    await page.keyboard.press('Enter')
    return server.asked()
  }

  const answer = (state?: string) => page.locator(state ? `.answer[data-state=${state}]` : '.answer').last()
  const prose = () => answer().locator('.prose').innerText()
  const focused = () => page.evaluate(() => document.activeElement?.id)

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
    expect(await page.getByRole('button', { name: 'Stop' }).isVisible()).toBe(false)
  })

  test('puts a character together that was split between two chunks', async () => {
    await visit()
    const reply = await ask('Hello?')
    const bytes = Buffer.from('data: {"type":"text","text":"👋"}\n\n')

    reply.raw('data: {"type":"text",')
    reply.raw('"text":"a"}\n\n')
    await expect.poll(prose).toBe('a')
    reply.raw(bytes.subarray(0, 30))
    reply.raw(bytes.subarray(30))
    reply.send(stop)

    await answer('complete').waitFor()
    expect(await prose()).toBe('a👋')
  })

  test('sends the whole conversation, and the model that was chosen', async () => {
    server.config = { simulated: false, model: 'large', models: ['small', 'large'] }
    await visit()
    await page.getByLabel('Model').selectOption('small')
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

    await page.getByRole('button', { name: 'Stop' }).click()

    expect(await server.stopped()).toBe('chat/reply%2F1/stop')
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

    await page.keyboard.press('Escape')

    await answer('stopped').waitFor()
    await reply.closed
  })

  test('a stop before the answer begins reaches the server once the reply has a name', async () => {
    await visit()
    const reply = await ask('Tell me a story.')

    await page.keyboard.press('Escape')
    reply.open()

    expect(await server.stopped()).toBe('chat/reply%2F1/stop')
    reply.send(start, { type: 'finish', reason: 'cancelled' })
    await answer('stopped').waitFor()
  })

  test.each([
    [429, '{"error":{"code":"rate-limited","message":"Too many."}}', 'rate-limited', 'Too many.', 1],
    [400, '{"error":{"code":"invalid-request","message":"Too long."}}', 'invalid-request', 'Too long.', 0],
    [502, '<html>Bad Gateway</html>', 'http-502', 'The server answered 502 Bad Gateway.', 1],
    [200, '<html>Hello</html>', 'http-200', 'The server answered 200 OK.', 0],
  ])('a refusal with status %i is shown as an error', async (status, body, code, message, retries) => {
    await visit()

    const reply = await ask('Hello?')
    reply.refuse(status, body)

    await answer('failed').waitFor()
    const alert = page.getByRole('alert')
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
    expect(await page.getByRole('alert').innerText()).toContain('This answer is incomplete')
    expect(await page.getByRole('alert').innerText()).toContain('The model went away.')

    await page.getByRole('button', { name: 'Try again' }).click()
    const again = await server.asked()
    again.send(start, text('A whole answer.'), stop)

    await answer('complete').waitFor()
    expect(again.body).toEqual(reply.body)
    expect(await prose()).toBe('A whole answer.')
    expect(await page.getByRole('button', { name: 'Try again' }).count()).toBe(0)
    expect(await page.locator('.question').count()).toBe(1)
  })

  test.each([['ends'], ['breaks']])('a stream that just %s is never shown as whole', async (how) => {
    await visit()
    const reply = await ask('Hello?')
    reply.send(start, text('It looks finished.'))
    await expect.poll(prose).toBe('It looks finished.')

    if (how === 'ends') reply.end()
    else reply.cut()

    await answer('failed').waitFor()
    expect(await page.getByRole('alert').innerText()).toContain('This answer is incomplete')
    const next = await ask('And?')
    expect(next.body.messages.map((message) => message.role)).toEqual(['user', 'user'])
  })

  test('an event that is no JSON ends the answer as an error', async () => {
    await visit()
    const reply = await ask('Hello?')

    reply.raw('data: {"type":"te\n\n')

    await answer('failed').waitFor()
    expect(await page.getByRole('alert').innerText()).toContain('unreadable')
    await reply.closed
  })

  test('a server that is not there is an error with another try', async () => {
    await visit()
    await page.context().setOffline(true)

    await page.getByLabel('Your message').fill('Hello?')
    await page.keyboard.press('Enter')

    await answer('failed').waitFor()
    expect(await page.getByRole('alert').innerText()).toContain('unreachable')
    await page.context().setOffline(false)
    await page.getByRole('button', { name: 'Try again' }).click()
    const again = await server.asked()
    again.send(start, text('Here I am.'), stop)
    await answer('complete').waitFor()
    expect(await page.locator('.answer').count()).toBe(1)
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

  test.each([
    ['with its policy', true],
    ['even without its policy', false],
  ])('hostile answers stay text, %s', async (_, policy) => {
    const listener = await createListener()
    const items = corpus(listener.url)
    if (!policy) server.policy = ''
    server.config = { simulated: true, model: items[0], models: items }
    await visit()

    const reply = await ask(items.join('\n'))
    reply.send({ ...start, model: items[0] })
    for (const item of items) {
      reply.send(text(`${item}\n\n`), { type: 'reasoning', text: item }, { type: 'refusal', text: item })
      reply.send({ type: 'tool-call', index: 0, name: item, arguments: item })
      reply.send({ type: 'source', url: item, title: item })
    }
    reply.send({ type: 'error', code: items[0], message: items.join('\n'), retryable: true })
    await answer('failed').waitFor()
    await page.locator('summary').click()

    const active =
      'img, script:not([src="page.js"]), iframe, object, embed, video, audio, svg:not([aria-hidden]), base'
    expect(await page.locator(`body :is(${active})`).count()).toBe(0)
    const links = await page
      .locator('a')
      .evaluateAll((all) => all.map((a) => (a as HTMLAnchorElement).protocol))
    expect(new Set(links)).toEqual(new Set(['https:']))
    const attributes = await page.evaluate(() =>
      [...document.querySelectorAll('#log *')].flatMap((element) => element.getAttributeNames()),
    )
    expect(attributes.filter((name) => name.startsWith('on') || name === 'style')).toEqual([])
    // Whatever the page had wanted to load, it has by the time two frames are painted and nothing is pending.
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
    await page.waitForLoadState('networkidle')
    expect(listener.hits).toEqual([])
    await listener.close()
  })

  test('a little Markdown becomes structure, however it is cut', async () => {
    const source = [
      '## Title\n\nSome **bold**, *soft* and `code`.\n\n',
      '1. One\n   - nested\n\n2. Two\n\n   ```js\n   if (a < b) {\n     go()\n   }\n   ```\n3. Three\n\n',
      '| A | B |\n|---|:-:|\n| 1 | **2** |\n\n> quoted\n\n[a link](https://example.com) ![no](https://example.com)\n\n',
      '```\nunclosed',
    ].join('')
    await visit()

    const whole = await ask('All at once')
    whole.send(start, text(source), stop)
    await answer('complete').waitFor()
    const structure = await answer().locator('.prose').innerHTML()
    const pieces = await ask('In pieces')
    pieces.send(start)
    for (const character of source) {
      pieces.send(text(character))
      await page.evaluate(() => new Promise(requestAnimationFrame))
    }
    pieces.send(stop)
    await page.locator('.answer[data-state=complete]').nth(1).waitFor()

    expect(await answer().locator('.prose').innerHTML()).toBe(structure)
    expect(structure).toMatchInlineSnapshot(`
      "<h2 class="level-2">Title</h2><p>Some <strong>bold</strong>, <em>soft</em> and <code>code</code>.</p><ol start="1"><li><p>One</p><ul><li><p>nested</p></li></ul></li><li><p>Two</p><pre tabindex="0" data-language="js"><code>if (a &lt; b) {
        go()
      }</code></pre></li><li><p>Three</p></li></ol><div class="table" tabindex="0"><table><thead><tr><th>A</th><th>B</th></tr></thead><tbody><tr><td>1</td><td><strong>2</strong></td></tr></tbody></table></div><blockquote><p>quoted</p></blockquote><p><a href="https://example.com" title="https://example.com" target="_blank" rel="noopener noreferrer">a link</a> ![no](https://example.com)</p><pre tabindex="0"><code>unclosed</code></pre>"
    `)
  }, 60_000)

  test('an answer made of a great many pieces of markup is shown all the same', async () => {
    await visit()
    const reply = await ask('Hello?')

    reply.send(start, text('`a'.repeat(300_000)), text(`\n\n${'- x\n'.repeat(5_000)}`), stop)

    await answer('complete').waitFor()
    expect(await answer().locator('li').count()).toBe(5_000)
  })

  test('says that the model is simulated, and how to use a real one', async () => {
    server.config = { simulated: true, model: 'simulator', models: ['simulator'] }
    await visit()

    const badge = page.getByText('simulated model')
    expect(await badge.isVisible()).toBe(true)
    expect(await badge.getAttribute('title')).toMatch(/OPENAI_API_KEY or OPENAI_BASE_URL/)
    expect(await page.locator('#model').innerText()).toBe('simulator')
    expect(await page.getByLabel('Model').isVisible()).toBe(false)
  })

  test('a page that was told nothing shows neither badge nor model, and asks for none', async () => {
    await visit()

    const reply = await ask('Hello?')

    expect(reply.body).toEqual({ messages: [{ role: 'user', content: 'Hello?' }] })
    expect(await page.locator('#badge, #model, #chooser').filter({ visible: true }).count()).toBe(0)
  })

  test('fits a phone of 360 pixels, whatever the answer', async () => {
    server.config = {
      simulated: true,
      model: 'a-model-with-quite-a-long-name-2031-01-01',
      models: ['a', 'b'],
    }
    await visit({ viewport: { width: 360, height: 640 } })
    const long = 'w'.repeat(300)
    const reply = await ask(long)

    reply.send(start, text(`${long}\n\n\`\`\`\n${long}\n\`\`\`\n\n|${long}|${long}|\n|-|-|\n|a|b|\n\n`))
    reply.send({ type: 'tool-call', index: 0, name: long, arguments: long }, { type: 'source', url: long })
    reply.send({ type: 'error', code: long, message: long, retryable: true })

    await answer('failed').waitFor()
    const widths = await page.evaluate(() =>
      [document.documentElement, ...document.querySelectorAll('header, main, footer, #log')].map(
        (element) => element.scrollWidth - element.clientWidth,
      ),
    )
    expect(widths).toEqual([0, 0, 0, 0, 0])
  })

  test('works by keyboard: Shift+Enter breaks the line, Enter sends, a draft survives the wait', async () => {
    await visit()
    expect(await focused()).toBe('draft')

    await page.keyboard.type('One')
    await page.keyboard.press('Shift+Enter')
    await page.keyboard.type('Two')
    await page.keyboard.press('Enter')
    const reply = await server.asked()
    await page.keyboard.type('Next')
    await page.keyboard.press('Enter')

    expect(reply.body.messages).toEqual([{ role: 'user', content: 'One\nTwo' }])
    expect(await page.getByLabel('Your message').inputValue()).toBe('Next')
    expect(await page.locator('.question').count()).toBe(1)
    expect(await focused()).toBe('draft')
  })

  test('an example is asked with one press', async () => {
    await visit()

    await page.getByRole('button', { name: /server-sent events/ }).click()

    const reply = await server.asked()
    expect(reply.body.messages).toEqual([
      { role: 'user', content: 'Explain server-sent events in three sentences.' },
    ])
    expect(await page.getByRole('heading', { name: /What would you like/ }).isVisible()).toBe(false)
  })

  test('a new chat stops the running answer and begins with nothing', async () => {
    await visit()
    const old = await ask('Old?')
    old.send(start, text('Old'))
    await expect.poll(prose).toBe('Old')

    await page.getByRole('button', { name: 'New chat' }).click()
    expect(await server.stopped()).toBe('chat/reply%2F1/stop')
    const fresh = await ask('New?')
    old.send({ type: 'finish', reason: 'cancelled' })
    await old.closed
    fresh.send(start, text('New'))

    await expect.poll(prose).toBe('New')
    expect(fresh.body.messages).toEqual([{ role: 'user', content: 'New?' }])
    expect(await page.getByRole('button', { name: 'Stop' }).isVisible()).toBe(true)
    expect(await page.locator('.answer').count()).toBe(1)
  })

  test('follows the end for a reader who is there, and leaves one alone who has scrolled up', async () => {
    await visit({ viewport: { width: 600, height: 500 } })
    const reply = await ask('Hello?')
    const main = page.locator('#scroller')
    const rest = () => main.evaluate((el) => Math.round(el.scrollHeight - el.scrollTop - el.clientHeight))
    reply.send(start, text('A line.\n\n'.repeat(60)))
    await expect.poll(() => answer().locator('p').count()).toBeGreaterThanOrEqual(60)
    expect(await rest()).toBeLessThan(2)

    await main.evaluate((el) => (el.scrollTop = 100))
    const latest = page.getByRole('button', { name: 'Jump to the latest message' })
    await latest.waitFor()
    reply.send(text('More.\n\n'.repeat(20)), stop)
    await answer('complete').waitFor()

    expect(await main.evaluate((el) => el.scrollTop)).toBe(100)
    await latest.click()
    expect(await rest()).toBeLessThan(2)
    expect(await latest.isVisible()).toBe(false)
  })
})
