import { describe, expect, test } from 'vitest'
import { hasChromium } from './browser.ts'
import { createTab, start, stop, text } from './tab.ts'

const cancelled = { type: 'finish', reason: 'cancelled' }

describe.skipIf(!hasChromium())('an answer on the page', () => {
  const tab = createTab()
  const { visit, ask, answer, prose } = tab

  /** A second tab at the address of the first. */
  async function openSecond() {
    const page = await tab.page.context().newPage()
    page.setDefaultTimeout(10_000)
    await page.goto(tab.page.url())
    return { page, prose: () => page.locator('.answer .prose').last().innerText() }
  }

  test('goes on after a reload in its middle, and belongs to the conversation', async () => {
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(start, text('Once upon'))
    await expect.poll(prose).toBe('Once upon')

    await tab.page.reload()
    const again = await tab.server.resumed()
    again.send(start, text('Once upon'), text(' a time.'), stop)
    await answer('complete').waitFor()

    expect([again.path, again.after]).toEqual(['chat/reply%2F1', 0])
    expect(await prose()).toBe('Once upon a time.')
    expect(await tab.page.locator('.question').innerText()).toBe('Tell me a story.')
    expect(await tab.page.getByRole('heading', { name: /What would you like/ }).isVisible()).toBe(false)
    const next = await ask('And then?')
    expect(next.body.messages.map(({ content }) => content)).toEqual([
      'Tell me a story.',
      'Once upon a time.',
      'And then?',
    ])
  })

  test('that had no id yet when the page was reloaded is asked for under the same key', async () => {
    tab.server.config = { models: ['small', 'large'], model: 'large' }
    await visit()
    await tab.page.getByLabel('Model').selectOption('small')
    const reply = await ask('Tell me a story.')

    await tab.page.reload()
    const again = await tab.server.asked()
    again.send(start, text('Once.'), stop)
    await answer('complete').waitFor()

    expect(again.key).toBe(reply.key)
    expect(again.body).toEqual(reply.body)
  })

  test('that is over is shown again as it was, and nothing is asked', async () => {
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(
      start,
      { type: 'reasoning', text: 'Hm, ' },
      { type: 'reasoning', text: 'well.' },
      text('Once '),
      text('upon.'),
    )
    reply.send({ type: 'source', url: 'https://example.com/', title: 'Grimm' })
    reply.send({ type: 'usage', inputTokens: 1, outputTokens: 2 }, stop)
    await answer('complete').waitFor()
    const before = await answer().innerHTML()

    await tab.page.reload()

    await answer('complete').waitFor()
    expect(await answer().innerHTML()).toBe(before)
    expect(tab.server.requests).toEqual(['POST chat'])
  })

  test.each([
    ['stopped', cancelled, 0],
    ['failed', { type: 'error', code: 'upstream-truncated', message: 'It broke off.', retryable: true }, 1],
  ])('that %s stays so, and can be asked again when that can help', async (state, last, retries) => {
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(start, text('Once'), last)
    await answer(state).waitFor()

    await tab.page.reload()
    await answer(state).waitFor()

    const button = tab.page.getByRole('button', { name: 'Try again' })
    expect(await button.count()).toBe(retries)
    if (retries === 0) return
    await button.click()
    const again = await tab.server.asked()
    expect(again.key).not.toBe(reply.key)
    expect(again.body).toEqual(reply.body)
  })

  test('can be stopped after a reload', async () => {
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(start, text('Once upon'))
    await expect.poll(prose).toBe('Once upon')
    await tab.page.reload()
    const again = await tab.server.resumed()
    again.send(start, text('Once upon'))
    await expect.poll(prose).toBe('Once upon')

    await tab.page.getByRole('button', { name: 'Stop' }).click()
    const path = await tab.server.stopped()
    again.send(cancelled)

    await answer('stopped').waitFor()
    expect(path).toBe('chat/reply%2F1/stop')
  })

  test('is followed live by a second tab, which can stop it', async () => {
    await visit()
    const first = await ask('Tell me a story.')
    first.send(start, text('Once'))
    await expect.poll(prose).toBe('Once')

    const other = await openSecond()
    const second = await tab.server.resumed()
    second.send(start, text('Once'))
    await expect.poll(other.prose).toBe('Once')
    for (const reply of [first, second]) reply.send(text(' upon'))
    await expect.poll(prose).toBe('Once upon')
    await expect.poll(other.prose).toBe('Once upon')
    await other.page.getByRole('button', { name: 'Stop' }).click()
    const path = await tab.server.stopped()
    for (const reply of [first, second]) reply.send(cancelled)

    await answer('stopped').waitFor()
    await other.page.locator('.answer[data-state=stopped]').waitFor()
    expect(path).toBe('chat/reply%2F1/stop')
    expect(tab.server.requests).toEqual(['POST chat', 'GET chat/reply%2F1', 'POST chat/reply%2F1/stop'])
  })

  test('to a later question appears in the second tab, too', async () => {
    await visit()
    const first = await ask('One?')
    first.send(start, text('1'), stop)
    await answer('complete').waitFor()
    const other = await openSecond()
    await other.page.locator('.answer[data-state=complete]').waitFor()

    const next = await ask('Two?')
    next.send({ ...start, id: 'reply/2' }, text('2'))
    const followed = await tab.server.resumed()
    followed.send({ ...start, id: 'reply/2' }, text('2'), stop)
    next.send(stop)

    await expect.poll(other.prose).toBe('2')
    expect(await other.page.locator('.question').allInnerTexts()).toEqual(['One?', 'Two?'])
    await other.page.locator('.answer[data-state=complete]').nth(1).waitFor()
    await other.page.getByLabel('Your message').fill('Three?')
    await other.page.keyboard.press('Enter')
    const third = await tab.server.asked()
    expect(third.body.messages.map(({ content }) => content)).toEqual(['One?', '1', 'Two?', '2', 'Three?'])
  })

  test('that the server does not know any more can be asked for again', async () => {
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(start, text('Once'))
    await expect.poll(prose).toBe('Once')
    await tab.page.reload()
    const lost = await tab.server.resumed()
    lost.refuse(404, '{"error":{"code":"not-found","message":"There is no such reply."}}')
    await answer('failed').waitFor()

    await tab.page.getByRole('button', { name: 'Try again' }).click()
    const again = await tab.server.asked()
    again.send(start, text('Once more.'), stop)

    await answer('complete').waitFor()
    expect(again.key).not.toBe(reply.key)
    expect(again.body).toEqual(reply.body)
    expect(await prose()).toBe('Once more.')
  })

  test('waits behind a new chat, and the way back leads to it', async () => {
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(start, text('Once.'), stop)
    await answer('complete').waitFor()

    await tab.page.getByRole('button', { name: 'New chat' }).click()
    const between = [await tab.page.locator('.answer').count(), new URL(tab.page.url()).hash]
    await tab.page.goBack()
    await answer('complete').waitFor()

    expect(between).toEqual([0, ''])
    expect(await prose()).toBe('Once.')
    expect(await tab.page.locator('.question').count()).toBe(1)
  })

  test('is asked for under one secret, also after a reload and in another tab', async () => {
    await visit()
    const first = await ask('One?')
    first.send(start, text('1'), stop)
    await answer('complete').waitFor()
    await tab.page.reload()
    const second = await ask('Two?')
    second.send(start, text('2'), stop)
    const other = await tab.page.context().newPage()
    await other.goto(tab.server.url)
    await other.getByLabel('Your message').fill('Three?')
    await other.keyboard.press('Enter')
    const third = await tab.server.asked()
    third.send(start, text('3'), stop)

    expect(first.secret).toMatch(/^[0-9a-f]{32}$/)
    expect([second.secret, third.secret]).toEqual([first.secret, first.secret])
  })

  test('needs no storage: without one everything works but the reload', async () => {
    await visit()
    await tab.page.addInitScript(
      `Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })`,
    )
    await tab.page.reload()

    const reply = await ask('Hello?')
    reply.send(start, text('Hel'))
    await expect.poll(prose).toBe('Hel')
    reply.cut()
    const rest = await tab.server.resumed()
    rest.send(text('lo.'), stop)

    await answer('complete').waitFor()
    expect(await prose()).toBe('Hello.')
    expect(new URL(tab.page.url()).hash).toBe('')
  })

  test('makes room for itself where the storage is full of older conversations', async () => {
    await visit()
    await tab.page.evaluate(`
      for (let n = 0; n < 60; n++) localStorage.setItem('deltarelay:old' + n, JSON.stringify({ savedAt: n, turns: [] }))
      localStorage.setItem('somebody', 'else')`)

    const reply = await ask('Hello?')
    reply.send(start, text('Hello.'), stop)
    await answer('complete').waitFor()

    const keys = await tab.page.evaluate<string[]>('Object.keys(localStorage)')
    // 50 conversations, the other one's, and the secret of this browser.
    expect(keys.length).toBe(52)
    expect(keys).toContain('deltarelay-client-secret')
    expect(keys).toContain('somebody')
    expect(keys).toContain('deltarelay:old59')
    expect(keys).not.toContain('deltarelay:old10')
  })

  test.each([
    ['a conversation that is not here', '#c=0123', undefined],
    ['a conversation that is no conversation', '#c=0123', '{"turns":7}'],
    ['something else', '#<script>', undefined],
  ])('is not there at the address of %s: the page begins anew', async (_, hash, stored) => {
    await visit()
    if (stored) await tab.page.evaluate((value) => localStorage.setItem('deltarelay:0123', value), stored)

    await tab.page.evaluate((hash) => (location.hash = hash), hash)
    const reply = await ask('Hello?')
    reply.send(start, text('Hello.'), stop)

    await answer('complete').waitFor()
    expect(new URL(tab.page.url()).hash).toMatch(/^#c=[0-9a-f]{32}$/)
  })

  test.each([
    ['is stopped with the page where that is wanted', true, ['POST chat', 'POST chat/reply%2F1/stop']],
    ['is not stopped by a page that goes away', false, ['POST chat']],
  ])('%s', async (_, stopOnPageHide, requests) => {
    tab.server.config = { stopOnPageHide }
    await visit()
    const reply = await ask('Tell me a story.')
    reply.send(start, text('Once'))
    await expect.poll(prose).toBe('Once')

    await tab.page.goto('about:blank')
    await reply.closed
    if (stopOnPageHide) await tab.server.stopped()

    expect(tab.server.requests).toEqual(requests)
  })
})
