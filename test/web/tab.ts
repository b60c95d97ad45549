import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { launch } from './browser.ts'
import { createScriptedServer, type ScriptedServer } from './scripted.ts'

export const start = { type: 'start', id: 'reply/1', model: 'simulator', createdAt: 0 }
export const stop = { type: 'finish', reason: 'stop' }
export const text = (text: string): object => ({ type: 'text', text })

/** The page in a browser, in front of a server that the test plays; both are new for each test. */
export interface Tab {
  readonly page: Page
  readonly server: ScriptedServer
  /** Opens the page. */
  visit(options?: BrowserContextOptions): Promise<void>
  /** Sends a question, and gives what arrived at the server. */
  ask(question: string): ReturnType<ScriptedServer['asked']>
  /** The last answer, in this state if one is named. */
  answer(state?: string): Locator
  prose(): Promise<string>
  /** The id of the element that has the focus. */
  focused(): Promise<string | undefined>
}

/** Sets the page up around the tests of the calling block; whatever it complains about fails the test. */
export function createTab(): Tab {
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
    const context = await browser.newContext(options)
    page = await context.newPage()
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

  return {
    get page() {
      return page
    },
    get server() {
      return server
    },
    visit,
    ask,
    answer,
    prose,
    focused,
  }
}
