import { wrong } from './checks.ts'
import { ChatError } from './errors.ts'

const dataUrlHead = /^data:image\/(?:png|jpe?g|gif|webp);base64,/i

/**
 * Last labels of names that belong to one machine or one network: RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`,
 * and what private networks and clusters are often called.
 */
const privateEndings =
  'localhost local localdomain localdomain6 internal intranet private corp home lan arpa test svc cluster default kube-system consul'.split(
    ' ',
  )

/**
 * The address of an image that a model's server may be asked to fetch: a `data:` URL of a PNG, JPEG, GIF or WebP, or
 * an https URL of a named host (`images.example`, `images.example:8443`); with `'*'` of any name that looks public.
 * This service fetches nothing itself, but the model's server could sit next to what is not public. Names are not
 * resolved: only a list of hosts keeps out a public name with a private address.
 *
 * @throws `ChatError` `invalid-request` that names the field `at` and the fix, and repeats no more than the host.
 */
export function requireImageUrl(url: unknown, at: string, hosts: readonly string[] | '*'): string {
  if (typeof url !== 'string') throw wrong(at, 'a string', url)
  if (/^\s*data:/i.test(url)) return requireDataUrl(url, at)
  return requirePublicUrl(url, at, hosts)
}

/**
 * Looks through what nobody here understands for addresses that a model's server may fetch, and holds them to the
 * same rule; a `data:` URL may hold anything. A text is an address when it begins like one and has no space in it, and
 * always under a `key` that is named `url` or ends in `_url`.
 *
 * @throws `ChatError` `invalid-request` with the path of the address, from `at` on.
 */
export function requirePublicUrls(
  value: unknown,
  at: string,
  hosts: readonly string[] | '*',
  key = '',
): void {
  if (typeof value === 'string') {
    if (/(?:^|_)url$/i.test(key) ? !/^\s*data:/i.test(value) : isAddress(value))
      requirePublicUrl(value, at, hosts)
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => requirePublicUrls(item, `${at}[${index}]`, hosts, key))
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value)) {
      if (typeof inner === 'string' && wordKeys.has(name)) continue
      requirePublicUrls(inner, `${at === '' ? '' : `${at}.`}${name.slice(0, 40)}`, hosts, name)
    }
  }
}

/** Keys of texts that somebody reads and nobody fetches. */
const wordKeys = new Set(['text', 'thinking', 'refusal'])

/** Whether a text is an address: it begins like one and has no space in it. Quick for texts of many megabytes. */
export function isAddress(value: string): boolean {
  // Readers of addresses skip what stands before one, and line breaks within.
  const start = value.search(/[^\s\p{Cc}]/u)
  if (start === -1) return false
  const scheme = /[a-z](?:[\t\n\r]*[a-z0-9+.-]){0,63}[\t\n\r]*:/iy
  scheme.lastIndex = start
  const name = scheme.exec(value)?.[0].replace(/[\t\n\r]+/g, '')
  if (name === undefined) return false
  const rest = /^(?:https?|ftp|file):$/i.test(name) ? /[\t\n\r]*\S/y : /[\t\n\r]*\/[\t\n\r]*\//y
  rest.lastIndex = scheme.lastIndex
  if (!rest.test(value)) return false
  const space = /[^\S\t\n\r]/g
  space.lastIndex = scheme.lastIndex
  const found = space.exec(value)
  return found === null || value.slice(found.index).trimStart() === ''
}

/** Characters of an address: parsing a longer one takes its time. */
const MAX_URL = 16_384

function requirePublicUrl(url: string, at: string, hosts: readonly string[] | '*'): string {
  if (url.length > MAX_URL) throw refusal(at, `as an address may have at most ${MAX_URL} characters.`)
  const parsed = parse(url)
  if (parsed?.protocol !== 'https:') {
    const got = parsed ? `${parsed.protocol.slice(0, 20)} URL` : 'text that is no URL'
    throw refusal(at, `must be an https URL, or a data URL (data:image/png;base64,…); got a ${got}.`)
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw refusal(at, 'must not hold a user name or a password. Leave out what stands before the @.')
  }
  // A dot at the end of a name only says that the name is whole.
  const host = parsed.host.replace(/\.(?=$|:)/, '')
  const allowed =
    hosts === '*' ? isPublicName(parsed.hostname) : hosts.some((name) => name.toLowerCase() === host)
  if (!allowed) {
    const fix = `Add ${host.slice(0, 100)} to the allowed image hosts (IMAGE_HOSTS), or send the image as a data URL.`
    throw refusal(at, `is at https://${host.slice(0, 100)}, where images may not come from. ${fix}`)
  }
  // As it was understood here, so that nobody after us reads another host in it.
  return parsed.href
}

function requireDataUrl(url: string, at: string): string {
  const head = dataUrlHead.exec(url)?.[0]
  const rest = head && url.slice(head.length)
  if (!rest || /[^A-Za-z0-9+/=]/.test(rest)) {
    const text = 'as a data URL must be base64 of a PNG, JPEG, GIF or WebP image: data:image/png;base64,…'
    throw refusal(at, text)
  }
  return url
}

function parse(url: string): URL | undefined {
  try {
    return new URL(url)
  } catch {
    return undefined // No URL: the caller says so.
  }
}

// The URL standard writes every notation of an IPv4 address in four decimals, and IPv6 in brackets.
function isPublicName(hostname: string): boolean {
  const labels = hostname.replace(/\.$/, '').split('.')
  const ending = labels.at(-1) ?? ''
  return (
    labels.length > 1 &&
    !labels.includes('') &&
    /^[a-z][a-z0-9-]*$/.test(ending) &&
    !privateEndings.includes(ending)
  )
}

function refusal(at: string, text: string): ChatError {
  return new ChatError('invalid-request', `\`${at}\` ${text}`, { param: at })
}
