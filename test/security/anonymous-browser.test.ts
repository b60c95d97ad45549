import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import express from 'express'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Host, host, relay } from '../adapters/host.ts'
import { hel, lo, script, type Script, stop, until } from '../src/kit.ts'
import { hasChromium, launch } from '../web/browser.ts'

const html = '<!doctype html><title>Chat</title><div id="chat"></div><script src="/chat.js"></script>'
const example = fileURLToPath(new URL('../../examples/use-chat.jsx', import.meta.url))

/** The example with a chat id that others can guess, which resumes when it is opened. */
async function bundled(): Promise<string> {
  const contents = (await readFile(example, 'utf8')).replace(
    'useChat()',
    "useChat({ id: 'chat-1', resume: true })",
  )
  const { outputFiles } = await build({
    stdin: { contents, loader: 'jsx', resolveDir: fileURLToPath(new URL('../../', import.meta.url)) },
    bundle: true,
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
    write: false,
    logLevel: 'error',
  })
  return outputFiles[0]?.text ?? ''
}

describe.skipIf(!hasChromium())('a stock `useChat` page of an anonymous client', () => {
  let browser: Browser
  let bundle: string
  let server: Host
  let model: Script
  const contexts: BrowserContext[] = []

  beforeAll(async () => {
    ;[browser, bundle] = await Promise.all([launch(), bundled()])
  })
  afterAll(() => browser.close())
  beforeEach(async () => {
    model = script([hel, 'wait', lo, stop])
    const app = express()
      .get('/', (_, response) => void response.send(html))
      .get('/chat.js', (_, response) => void response.type('js').send(bundle))
      .use(relay({ upstream: model.upstream, retries: 0 }))
    server = await host(app)
  })
  afterEach(async () => {
    for (const context of contexts.splice(0)) await context.close()
    await server.close()
  })

  async function openPage(): Promise<Page> {
    const context = await browser.newContext()
    contexts.push(context)
    const page = await context.newPage()
    page.setDefaultTimeout(20_000)
    await page.goto(server.url)
    return page
  }

  async function ask(page: Page): Promise<void> {
    await page.getByLabel('Message').fill('Hi?')
    await page.getByRole('button', { name: 'Send' }).click()
    await expect.poll(() => page.locator('p').allInnerTexts(), { timeout: 20_000 }).toEqual(['Hi?', 'Hel'])
  }

  /** What a page shows after its question whether there is an answer was answered. */
  async function reloaded(page: Page): Promise<number> {
    const [response] = await Promise.all([
      page.waitForResponse((each) => each.url().endsWith('/api/chat/chat-1/stream')),
      page.reload(),
    ])
    return response.status()
  }

  test('resumes its answer after a reload, and stops it', async () => {
    const page = await openPage()
    await ask(page)

    const status = await reloaded(page)
    await expect.poll(() => page.locator('p').allInnerTexts(), { timeout: 20_000 }).toEqual(['Hel'])
    await page.getByRole('button', { name: 'Stop' }).click()
    await page.getByRole('button', { name: 'Send' }).waitFor()

    expect(status).toBe(200)
    await until(() => model.open() === 0)
    expect(model.asked).toHaveLength(1)
  })

  test('neither resumes nor stops the answer of another one with the same chat id', async () => {
    const page = await openPage()
    await ask(page)
    const stranger = await openPage()

    const status = await reloaded(stranger)
    const stopped = await stranger.evaluate(async () => {
      return (await fetch('/api/chat/chat-1/stop', { method: 'POST' })).status
    })
    model.release()
    await page.getByRole('button', { name: 'Send' }).waitFor()

    expect([status, stopped]).toEqual([204, 404])
    expect(await stranger.locator('p').allInnerTexts()).toEqual([])
    expect(await page.locator('p').allInnerTexts()).toEqual(['Hi?', 'Hello'])
  })

  test('keeps its secret from scripts', async () => {
    const page = await openPage()
    await ask(page)

    expect(await page.evaluate(() => document.cookie)).toBe('')
    expect(await contexts[0]!.cookies()).toMatchObject([
      { name: 'deltarelay-client', httpOnly: true, sameSite: 'Strict', path: '/' },
    ])
  })
})
