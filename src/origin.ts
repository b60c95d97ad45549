import type { HttpRequest } from './types.ts'

type Headers = HttpRequest['headers']

/**
 * Whether a program or a page of this service sends a request.
 *
 * Browsers state it in `Sec-Fetch-Site` (W3C Fetch Metadata), but only to trustworthy origins: https, or loopback. On
 * plain http at another name a browser's request must carry this service's own `Origin` or `Referer`. A page can
 * suppress its `Referer`, but can forge neither. A request without any sign of a browser comes from a program.
 */
export function isOwnPage({ headers }: HttpRequest): boolean {
  const site = headers.get('sec-fetch-site')
  if (site !== null) return site === 'same-origin' || site === 'none'
  const origin = headers.get('origin') ?? originOf(headers.get('referer'))
  return origin === undefined ? !isBrowser(headers) : isOwnOrigin(origin, headers)
}

/**
 * Whether an origin is the one that the request was sent to. A proxy that replaces `Host` sends the original one in
 * `X-Forwarded-Host`, a header that a page of another origin can only set after a preflight.
 */
export function isOwnOrigin(origin: string, headers: Headers): boolean {
  const host = origin.replace(/^https?:\/\//, '')
  return host === headers.get('host') || host === headers.get('x-forwarded-host')
}

/**
 * Whether a request can read a stream of events: a program's, or one that names the type in `Accept`. `EventSource` does,
 * and `fetch` can; elements (`<img>`, `<iframe>`, stylesheets) and navigation cannot choose what they accept.
 */
export function takesEvents({ headers }: HttpRequest): boolean {
  return !isBrowser(headers) || /\btext\/event-stream\b/i.test(headers.get('accept') ?? '')
}

/** Names of browsers, and of the players that fetch `<audio>` and `<video>` for those of iOS and old Android. */
const browsers = /\bMozilla\/|\bOpera\b|\bAppleCoreMedia\b|\bstagefright\b/i
/** Types that programs do not ask a stream for, and elements and navigation do. */
const elements = /\btext\/(?:html|css)\b|\b(?:image|audio|video|font)\//i
/** Headers that browsers send by themselves, and programs do not. */
const habits = ['referer', 'upgrade-insecure-requests', 'sec-ch-ua', 'sec-purpose', 'purpose', 'ping-from']

function isBrowser(headers: Headers): boolean {
  return (
    browsers.test(headers.get('user-agent') ?? '') ||
    elements.test(headers.get('accept') ?? '') ||
    habits.some((name) => headers.get(name) !== null)
  )
}

/** The origin of an address; `null`, as browsers write an opaque one, when it has none. */
function originOf(address: string | null): string | undefined {
  if (address === null) return undefined
  try {
    return new URL(address).origin
  } catch {
    return 'null' // no address, and no origin of this service
  }
}
