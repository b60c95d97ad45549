import { describe, expect, test } from 'vitest'
import { hasChromium } from './browser.ts'
import { corpus } from './corpus.ts'
import { createListener } from './scripted.ts'
import { createTab, start, stop, text } from './tab.ts'

describe.skipIf(!hasChromium())('what the page shows', () => {
  const tab = createTab()
  const { visit, ask, answer, prose, focused } = tab

  test.each([
    ['with its policy', true],
    ['even without its policy', false],
  ])('hostile answers stay text, %s', async (_, policy) => {
    const listener = await createListener()
    const items = corpus(listener.url)
    if (!policy) tab.server.policy = ''
    tab.server.config = { simulated: true, model: items[0], models: items }
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
    await tab.page.locator('summary').click()

    const active =
      'img, script:not([src="page.js"]), iframe, object, embed, video, audio, svg:not([aria-hidden]), base'
    expect(await tab.page.locator(`body :is(${active})`).count()).toBe(0)
    const links = await tab.page
      .locator('a')
      .evaluateAll((all) => all.map((a) => (a as HTMLAnchorElement).protocol))
    expect(new Set(links)).toEqual(new Set(['https:']))
    const attributes = await tab.page.evaluate(() =>
      [...document.querySelectorAll('#log *')].flatMap((element) => element.getAttributeNames()),
    )
    expect(attributes.filter((name) => name.startsWith('on') || name === 'style')).toEqual([])
    // Whatever the page had wanted to load, it has by the time two frames are painted and nothing is pending.
    await tab.page.evaluate(
      () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
    )
    await tab.page.waitForLoadState('networkidle')
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
      await tab.page.evaluate(() => new Promise(requestAnimationFrame))
    }
    pieces.send(stop)
    await tab.page.locator('.answer[data-state=complete]').nth(1).waitFor()

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

    // It is a lot: six seconds, on a quiet machine.
    await answer('complete').waitFor({ timeout: 25_000 })
    expect(await answer().locator('li').count()).toBe(5_000)
  })

  test('says that the model is simulated, and how to use a real one', async () => {
    tab.server.config = { simulated: true, model: 'simulator', models: ['simulator'] }
    await visit()

    const badge = tab.page.getByText('simulated model')
    expect(await badge.isVisible()).toBe(true)
    expect(await badge.getAttribute('title')).toMatch(/OPENAI_API_KEY or OPENAI_BASE_URL/)
    expect(await tab.page.locator('#model').innerText()).toBe('simulator')
    expect(await tab.page.getByLabel('Model').isVisible()).toBe(false)
  })

  test('a page that was told nothing shows neither badge nor model, and asks for none', async () => {
    await visit()

    const reply = await ask('Hello?')

    expect(reply.body).toEqual({ messages: [{ role: 'user', content: 'Hello?' }] })
    expect(await tab.page.locator('#badge, #model, #chooser').filter({ visible: true }).count()).toBe(0)
  })

  test('fits a phone of 360 pixels, whatever the answer', async () => {
    tab.server.config = {
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
    const widths = await tab.page.evaluate(() =>
      [document.documentElement, ...document.querySelectorAll('header, main, footer, #log')].map(
        (element) => element.scrollWidth - element.clientWidth,
      ),
    )
    expect(widths).toEqual([0, 0, 0, 0, 0])
  })

  test('works by keyboard: Shift+Enter breaks the line, Enter sends, a draft survives the wait', async () => {
    await visit()
    expect(await focused()).toBe('draft')

    await tab.page.keyboard.type('One')
    await tab.page.keyboard.press('Shift+Enter')
    await tab.page.keyboard.type('Two')
    await tab.page.keyboard.press('Enter')
    const reply = await tab.server.asked()
    await tab.page.keyboard.type('Next')
    await tab.page.keyboard.press('Enter')

    expect(reply.body.messages).toEqual([{ role: 'user', content: 'One\nTwo' }])
    expect(await tab.page.getByLabel('Your message').inputValue()).toBe('Next')
    expect(await tab.page.locator('.question').count()).toBe(1)
    expect(await focused()).toBe('draft')
  })

  test('an example is asked with one press', async () => {
    await visit()

    await tab.page.getByRole('button', { name: /server-sent events/ }).click()

    const reply = await tab.server.asked()
    expect(reply.body.messages).toEqual([
      { role: 'user', content: 'Explain server-sent events in three sentences.' },
    ])
    expect(await tab.page.getByRole('heading', { name: /What would you like/ }).isVisible()).toBe(false)
  })

  test('a new chat stops the running answer and begins with nothing', async () => {
    await visit()
    const old = await ask('Old?')
    old.send(start, text('Old'))
    await expect.poll(prose).toBe('Old')

    await tab.page.getByRole('button', { name: 'New chat' }).click()
    expect(await tab.server.stopped()).toBe('chat/reply%2F1/stop')
    const fresh = await ask('New?')
    old.send({ type: 'finish', reason: 'cancelled' })
    await old.closed
    fresh.send(start, text('New'))

    await expect.poll(prose).toBe('New')
    expect(fresh.body.messages).toEqual([{ role: 'user', content: 'New?' }])
    expect(await tab.page.getByRole('button', { name: 'Stop' }).isVisible()).toBe(true)
    expect(await tab.page.locator('.answer').count()).toBe(1)
  })

  test('follows the end for a reader who is there, and leaves one alone who has scrolled up', async () => {
    await visit({ viewport: { width: 600, height: 500 } })
    const reply = await ask('Hello?')
    const main = tab.page.locator('#scroller')
    const rest = () => main.evaluate((el) => Math.round(el.scrollHeight - el.scrollTop - el.clientHeight))
    reply.send(start, text('A line.\n\n'.repeat(60)))
    await expect.poll(() => answer().locator('p').count()).toBeGreaterThanOrEqual(60)
    expect(await rest()).toBeLessThan(2)

    await main.evaluate((el) => (el.scrollTop = 100))
    const latest = tab.page.getByRole('button', { name: 'Jump to the latest message' })
    await latest.waitFor()
    reply.send(text('More.\n\n'.repeat(20)), stop)
    await answer('complete').waitFor()

    expect(await main.evaluate((el) => el.scrollTop)).toBe(100)
    await latest.click()
    expect(await rest()).toBeLessThan(2)
    expect(await latest.isVisible()).toBe(false)
  })
})
