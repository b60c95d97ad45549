import type { Route } from './router.ts'
import type { HttpReply } from './types.ts'

/** The files of the chat page, and what it should know of this service. */
export interface Page {
  /** Reads one file by its name: `index.html`, `page.js`, `page.css`. */
  readonly read: (name: string) => Promise<string>
  readonly info: {
    readonly simulated: boolean
    readonly model: string
    readonly models: readonly string[]
    /** Leaving the page stops the answer: for platforms that do not tell when a reader leaves. */
    readonly stopOnPageHide?: boolean | undefined
  }
}

type File = readonly [name: string, type: string]

/** By path: these are all there are. */
const files: Readonly<Record<string, File>> = {
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

/** The route of the page's files. */
export function pageRoute(page: Page): Route {
  return {
    method: 'GET',
    path: /^\/(?:page\.js|page\.css)?$/,
    answer: ({ url }) => fileReply(page, url.pathname),
  }
}

async function fileReply({ read, info }: Page, path: string): Promise<HttpReply> {
  const [name, type] = files[path]! // the route's pattern has the same paths
  const text = await read(name)
  return {
    status: 200,
    headers: {
      'content-type': `${type}; charset=utf-8`,
      'cache-control': 'no-cache',
      'content-security-policy': contentSecurityPolicy,
      // On plain http the `Referer` is what tells this page's requests from those of other sites.
      'referrer-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
    },
    body: path === '/' ? withInfo(text, info) : text,
    settled: Promise.resolve(),
  }
}

function withInfo(html: string, info: Page['info']): string {
  const content = JSON.stringify(info).replace(/[&"<>]/g, (char) => `&#${char.charCodeAt(0)};`)
  return html.replace(/(<meta name="deltarelay" content=")\{\}"/, (_, head: string) => `${head}${content}"`)
}
