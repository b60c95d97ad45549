import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'

/** Names under which Chromium is installed, when CHROMIUM_PATH does not say. */
const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** Finds an installed Chromium: `CHROMIUM_PATH`, then the usual names on the `PATH` and in `/usr/bin`. */
export function findChromium(): string | undefined {
  const folders = ['/usr/bin', ...(process.env['PATH'] ?? '').split(delimiter)]
  const candidates = NAMES.flatMap((name) => folders.map((folder) => join(folder, name)))
  return [process.env['CHROMIUM_PATH'] ?? '', ...candidates].find((path) => path && existsSync(path))
}

/**
 * Whether browser tests can run. Says so loudly when they cannot; in CI a missing browser is a failure, because
 * a page that nobody tried would otherwise look tested.
 */
export function hasChromium(): boolean {
  if (findChromium()) return true
  const advice =
    'Install Chromium (Debian: apt-get install chromium) or set CHROMIUM_PATH to a Chrome or Chromium.'
  if (process.env['CI']) throw new Error(`The page cannot be tested: no browser was found. ${advice}`)
  console.warn(`\nSKIPPED: the page is not tested in a browser, because none was found. ${advice}\n`)
  return false
}

/** Starts a browser that talks to nobody but the page under test. `args`: further switches of Chromium. */
export async function launch(args: readonly string[] = []): Promise<Browser> {
  const executablePath = findChromium()
  if (!executablePath) throw new Error('No Chromium was found; ask hasChromium() first.')
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox', // containers often run as root, where Chromium's sandbox refuses to start
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...args,
    ],
  })
}
