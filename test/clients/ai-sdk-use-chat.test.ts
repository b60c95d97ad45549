import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import express from 'express'
import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import { type Host, host, relay } from '../adapters/host.ts'
import { hel, lo, script, type Script, type Step, stop, until } from '../src/kit.ts'
import { hasChromium, launch } from '../web/browser.ts'

const html = '<!doctype html><title>Chat</title><div id="chat"></div><script src="/chat.js"></script>'

async function bundled(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../../examples/use-chat.jsx', import.meta.url))],
    bundle: true,
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
    write: false,
    logLevel: 'error',
  })
  return outputFiles[0]?.text ?? ''
}

describe.skipIf(!hasChromium())('the page in examples/use-chat.jsx', () => {
  let browser: Browser
  let bundle: string
  let server: Host
  let page: Page
  let complaints: string[]

  beforeAll(async () => {
    ;[browser, bundle] = await Promise.all([launch(), bundled()])
  })
  afterAll(() => browser.close())
  afterEach(async () => {
    await page.context().close()
    await server.close()
    expect(complaints).toEqual([])
  })

  /** Opens the page in front of a model that does what the script says. */
  async function visit(...steps: readonly Step[]): Promise<Script> {
    const model = script(steps)
    const app = express()
      .get('/', (_, response) => void response.send(html))
      .get('/chat.js', (_, response) => void response.type('js').send(bundle))
      .use(relay({ upstream: model.upstream, retries: 0 }))
    server = await host(app)
    complaints = []
    page = await browser.newPage()
    page.setDefaultTimeout(10_000)
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('console', (message) => {
      // Chromium reports every refused request, and a page without an icon, by itself.
      const expected = message.text().startsWith('Failed to load resource')
      if (message.type() === 'error' && !expected) complaints.push(message.text())
    })
    await page.goto(server.url)
    return model
  }

  async function ask(question: string): Promise<void> {
    await page.getByLabel('Message').fill(question)
    await page.getByRole('button', { name: 'Send' }).click()
  }

  const shown = () => page.locator('p').allInnerTexts()
  const send = () => page.getByRole('button', { name: 'Send' }).waitFor()

  test('shows an answer as it comes', async () => {
    const model = await visit(hel, 'wait', lo, stop)

    await ask('Hi?')
    await expect.poll(shown).toEqual(['Hi?', 'Hel'])
    model.release()
    await send()

    expect(await shown()).toEqual(['Hi?', 'Hello'])
  })

  test('stops the model, and keeps what it said', async () => {
    const model = await visit(hel, 'wait', lo, stop)
    await ask('Hi?')
    await expect.poll(shown).toEqual(['Hi?', 'Hel'])

    await page.getByRole('button', { name: 'Stop' }).click()
    await send()

    await until(() => model.open() === 0)
    expect(await shown()).toEqual(['Hi?', 'Hel'])
  })

  test.each<[string, Step[], string[]]>([
    ['instead of an answer', [new ChatError('rate-limited', 'It is busy.')], ['Hi?', 'It is busy.']],
    [
      'in the middle of an answer',
      [hel, new ChatError('upstream-error', 'It broke.')],
      ['Hi?', 'Hel', 'It broke.'],
    ],
  ])('shows an error %s', async (_, steps, expected) => {
    await visit(...steps)

    await ask('Hi?')
    await page.getByRole('alert').waitFor()

    expect(await shown()).toEqual(expected)
    await send()
  })
})
