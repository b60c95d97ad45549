import { setTimeout as pause } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingRuntime } from '../lambda/lab.ts'
import { hasChromium, launch } from '../web/browser.ts'
import { createHosts, hostNames } from './hosts.ts'
import { startCuttingProxy } from './proxy.ts'
import { finish, openStream, role, say, send } from './upstream.ts'

// All there is: no library, no error handling, no cursor of its own.
const page = `<!doctype html><title>bare</title><p id="text"></p><script>
  const source = new EventSource('/stream?prompt=hi')
  let shown
  source.onmessage = ({ data, lastEventId }) => {
    shown = lastEventId
    const delta = JSON.parse(data)
    if (delta.type === 'text') document.getElementById('text').textContent += delta.text
  }
</script>`

const tokens = ['Once ', 'upon ', 'a ', 'time ', 'Zoë ', 'said ', '你好 ', '👋 ', 'and ', 'left.']

describe.skipIf(!hasChromium() || (await missingRuntime()))(
  'a bare EventSource whose connection breaks',
  () => {
    const hosts = createHosts()
    let browser: Browser

    beforeAll(async () => {
      browser = await launch()
    })
    afterAll(() => browser.close())

    test.each(hostNames)('shows the text once on %s, asks once, and stops at the end', async (name) => {
      // In the middle; and when everything was said but the body has not ended.
      const cutAt = [/"text":"time "/, /"type":"finish"/]
      const lastIds = ['reply-1.5', 'reply-1.12']
      const tab = await browser.newPage()
      const beforeCut = () => tab.waitForFunction(`shown === '${lastIds.shift()}'`)
      const proxy = await startCuttingProxy({
        target: hosts.urls[name],
        cutAt,
        beforeCut,
        pages: { '/bare': page },
      })
      const before = hosts.upstream.asked.length
      hosts.upstream.script = async (response) => {
        openStream(response)
        for (const piece of [role, ...tokens.slice(0, 4).map(say)]) await send(response, piece)
        await proxy.cut(1)
        for (const piece of [...tokens.slice(4).map(say), finish('stop')]) await send(response, piece)
        response.end()
      }

      await tab.goto(`${proxy.url}/bare`)
      await tab.waitForFunction('source.readyState === EventSource.CLOSED', null, { timeout: 20_000 })
      const shown = await tab.locator('#text').textContent()
      const atTheEnd = proxy.requests.length
      // The browser was told to come back after 1 s: more than twice as long without it means that it will not.
      await pause(2500)
      await tab.close()
      await proxy.close()

      expect(shown).toBe(tokens.join(''))
      expect(hosts.upstream.asked.length - before).toBe(1)
      const path = '/stream?prompt=hi'
      // start, ten texts and finish are events 1 to 12; the fifth was the last before the first cut.
      expect(proxy.requests).toEqual([[path], [path, 'reply-1.5'], [path, 'reply-1.12']])
      expect(atTheEnd).toBe(3)
    })
  },
)
