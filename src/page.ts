import type { HttpReply } from './types.ts'

/** The files of the chat page, and what it should know of this service. */
export interface Page {
  /** Reads one file by its name: `index.html`, `page.js`, `page.css`. */
  readonly read: (name: string) => Promise<string>
  readonly info: {
    readonly simulated: boolean
    readonly model: string
    readonly models: readonly string[]
  }
}

const files: Readonly<Record<string, readonly [name: string, type: string]>> = {
  '/': ['index.html', 'text/html'],
  '/page.js': ['page.js', 'text/javascript'],
  '/page.css': ['page.css', 'text/css'],
}

// Nothing but our own files; and no text can become markup, whatever the model says.
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ')

/** One of the page's files; undefined when the path is none of them. */
export async function pageReply(page: Page, path: string): Promise<HttpReply | undefined> {
  const file = Object.hasOwn(files, path) ? files[path] : undefined
  if (!file) return undefined
  const [name, type] = file
  const text = await page.read(name)
  return {
    status: 200,
    headers: {
      'content-type': `${type}; charset=utf-8`,
      'cache-control': 'no-cache',
      'content-security-policy': contentSecurityPolicy,
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    },
    body: path === '/' ? withInfo(text, page.info) : text,
    settled: Promise.resolve(),
  }
}

function withInfo(html: string, info: Page['info']): string {
  const content = JSON.stringify(info).replace(/[&"<>]/g, (char) => `&#${char.charCodeAt(0)};`)
  return html.replace(/(<meta name="deltarelay" content=")\{\}"/, (_, head: string) => `${head}${content}"`)
}
