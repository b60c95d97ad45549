import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { startLambda } from '../lambda/emulator.ts'
import { missingRuntime } from '../lambda/lab.ts'
import { hasChromium, launch } from '../web/browser.ts'
import { bundle } from './bundle.ts'
import { type HostName, hostNames } from './hosts.ts'
import { startServer } from './server.ts'

const longQuestion = 'Tell me a story about the sea.'
const shortQuestion = 'What is the sea?'

describe.skipIf(!hasChromium() || (await missingRuntime()))('the chat page, built as it is deployed', () => {
  let browser: Browser
  beforeAll(async () => {
    browser = await launch()
  })
  afterAll(() => browser.close())

  describe.each(hostNames)('on %s', (name) => {
    let simulator: Simulator
    let host: { readonly url: string; stop(): Promise<void> }
    let page: Page
    let complaints: string[]

    beforeAll(async () => {
      simulator = await startSimulator({ firstTokenMs: 20, tokensPerSecond: 60 })
      host = await startHost(name, {
        OPENAI_BASE_URL: simulator.url,
        OPENAI_MODEL: 'model-a',
        UPSTREAM_RETRIES: '0',
      })
    })
    afterAll(async () => {
      await host.stop()
      await simulator.close()
    })

    beforeEach(async () => {
      complaints = []
      page = await browser.newPage()
      page.setDefaultTimeout(15_000)
      page.on('pageerror', (error) => complaints.push(String(error)))
      page.on('console', (message) => {
        // Chromium reports every refused request by itself; being refused is part of some tests.
        const expected = message.text().startsWith('Failed to load resource')
        if (['error', 'warning'].includes(message.type()) && !expected) complaints.push(message.text())
      })
      // The browser's own report of what the policy forbade; as text, because tsx helpers do not exist in the page.
      await page.addInitScript(
        `addEventListener('securitypolicyviolation', (event) => console.error('policy: ' + event.violatedDirective))`,
      )
      await page.goto(host.url)
    })
    afterEach(async () => {
      await page.close()
      expect(complaints).toEqual([])
    })

    async function ask(text: string): Promise<void> {
      await page.getByLabel('Your message').fill(text)
      await page.keyboard.press('Enter')
    }
    const answer = (state: string) => page.locator(`.answer[data-state=${state}]`).last()
    const prose = () => page.locator('.answer .prose').last().innerText()

    test('a question is answered token by token', async () => {
      await page.evaluate(`
        globalThis.lengths = new Set()
        new MutationObserver(() => lengths.add(document.querySelector('.prose')?.textContent.length))
          .observe(document.getElementById('log'), { subtree: true, childList: true, characterData: true })`)

      await ask(shortQuestion)
      await answer('complete').waitFor()

      const steps = await page.evaluate<number>('[...lengths].length')
      const { tokens = 0 } = simulator.requests.at(-1) ?? {}
      expect(await prose()).toContain('This is a simulated answer.')
      expect(tokens).toBeGreaterThan(30)
      // Several may share a frame of the screen; all at once they may not be.
      expect(steps).toBeGreaterThan(tokens / 4)
    })

    test('a stop ends the answer and keeps what had come', async () => {
      await ask(longQuestion)
      await expect.poll(prose, { timeout: 10_000 }).not.toBe('')

      await page.getByRole('button', { name: 'Stop' }).click()
      await answer('stopped').waitFor()

      expect(await prose()).not.toContain('This is a simulated answer.')
      expect(await page.getByRole('button', { name: 'Send' }).isVisible()).toBe(true)
      const asked = simulator.requests.at(-1)
      await asked?.done
      // A function is not told, and another environment knows nothing of the reply: there it goes on to its end.
      expect(asked?.hungUp).toBe(name === 'Express')
    })

    test('a refusal of the upstream is shown as an error', async () => {
      await ask('fault:rate-limit')

      await answer('failed').waitFor()

      expect(await page.getByRole('alert').innerText()).toMatch(/No answer[^]*rate-limited/)
    })

    test('an answer that breaks off is kept and shown as incomplete', async () => {
      await ask('fault:cut;after=5')

      await answer('failed').waitFor()

      expect(await prose()).not.toBe('')
      expect(await page.getByRole('alert').innerText()).toMatch(/incomplete[^]*upstream-truncated/)
    })
  })
})

async function startHost(
  name: HostName,
  env: Record<string, string>,
): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const built = await bundle(name === 'Express' ? 'server' : 'chat')
  // A function that is busy with an answer gets the stop in another environment.
  const host =
    name === 'Express'
      ? await startServer(built, env)
      : await startLambda({ taskRoot: built.directory, env, environments: 2 })
  return {
    url: host.url,
    async stop() {
      await host.stop()
      await built.remove()
    },
  }
}
