import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type FlakyProxy, startFlakyProxy } from '../client/flaky.ts'
import { storyOf, tell } from '../client/story.ts'
import { bundle } from '../hosts/bundle.ts'
import { type RunningServer, startServer } from '../hosts/server.ts'
import { startUpstream, type Upstream } from '../hosts/upstream.ts'
import { hasChromium, launch } from './browser.ts'

// All there is: no library, no error handling, no cursor of its own.
const bare = `<!doctype html><title>bare</title><p id="text"></p><script>
  const source = new EventSource('/stream?prompt=hi')
  source.onmessage = ({ data }) => {
    const delta = JSON.parse(data)
    if (delta.type === 'text') document.getElementById('text').textContent += delta.text
  }
</script>`

describe.skipIf(!hasChromium())('through a proxy that cuts every stream, in a browser', () => {
  let browser: Browser
  let upstream: Upstream
  let server: RunningServer
  let removeBuilt: () => Promise<void>

  beforeAll(async () => {
    browser = await launch()
    upstream = await startUpstream()
    const built = await bundle('server')
    removeBuilt = built.remove
    server = await startServer(built, { OPENAI_BASE_URL: upstream.url, OPENAI_MODEL: 'model-a' })
  })
  afterAll(async () => {
    await browser.close()
    await server.stop()
    await upstream.close()
    await removeBuilt()
  })

  async function visit(lifeMs: number, path: string): Promise<{ page: Page; proxy: FlakyProxy }> {
    const proxy = await startFlakyProxy({ target: server.url, lifeMs, pages: { '/bare': bare } })
    const context = await browser.newContext()
    const page = await context.newPage()
    onTestFinished(async () => {
      await context.close()
      await proxy.close()
    })
    page.setDefaultTimeout(30_000)
    await page.goto(proxy.url + path)
    return { page, proxy }
  }

  async function ask(page: Page): Promise<void> {
    await page.getByLabel('Your message').fill('Tell me a story.')
    await page.keyboard.press('Enter')
  }
  const asks = (proxy: FlakyProxy) => proxy.requests.filter((request) => request.startsWith('POST'))

  test.each([
    ['every 2 s', 2_000, 90, 100, 3],
    ['every 300 ms', 300, 100, 30, 5],
  ])(
    '%s, the page shows exactly the answer, and asks once',
    async (_, lifeMs, count, everyMs, cuts) => {
      const words = storyOf(count)
      upstream.script = tell(words, everyMs)
      const before = upstream.asked.length
      const { page, proxy } = await visit(lifeMs, '/')

      await ask(page)
      await page.locator('.answer[data-state=complete]').waitFor()

      expect(await page.locator('.prose').innerText()).toBe(words.join(''))
      expect(proxy.cuts).toBeGreaterThanOrEqual(cuts)
      expect(asks(proxy)).toEqual(['POST /chat'])
      expect(upstream.asked.length - before).toBe(1)
    },
    60_000,
  )

  test('every 2 s, a bare EventSource shows exactly the answer, asks once, and stops at the end', async () => {
    const words = storyOf(80)
    upstream.script = tell(words, 100)
    const before = upstream.asked.length
    const { page, proxy } = await visit(2_000, '/bare')

    await page.waitForFunction('source.readyState === EventSource.CLOSED')

    expect(await page.locator('#text').textContent()).toBe(words.join(''))
    expect(proxy.cuts).toBeGreaterThanOrEqual(2)
    expect(upstream.asked.length - before).toBe(1)
  }, 60_000)

  test('a reload in the middle, and a second tab, show exactly the answer, and nothing is asked again', async () => {
    const words = storyOf(100)
    upstream.script = tell(words, 50)
    const before = upstream.asked.length
    const { page, proxy } = await visit(500, '/')
    await ask(page)
    await expect.poll(() => page.locator('.prose').innerText(), { timeout: 15_000 }).toMatch(/w20\D/)

    await page.reload()
    const second = await page.context().newPage()
    await second.goto(page.url())

    for (const tab of [page, second]) {
      await tab.locator('.answer[data-state=complete]').waitFor()
      expect(await tab.locator('.prose').innerText()).toBe(words.join(''))
    }
    expect(asks(proxy)).toEqual(['POST /chat'])
    expect(upstream.asked.length - before).toBe(1)
  }, 60_000)
})
