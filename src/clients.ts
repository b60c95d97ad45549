import { ChatError } from './errors.ts'
import { callerOf, type Client, digest, type Namespace } from './names.ts'
import { randomSecret } from './signing.ts'
import type { HttpRequest } from './types.ts'

/** The cookie of a browser whose page sends no header of ours. */
const COOKIE = 'deltarelay-client'
const COOKIE_SECONDS = 30 * 24 * 3600

const isSecret = /^[\x21-\x7e]{16,128}$/

/**
 * Determines who sends a request: its principal; without one the client that knows a secret, from the header
 * `X-Client-Secret` or the cookie `deltarelay-client`. With `issue` a client without a secret gets one, as a cookie.
 *
 * @throws `ChatError` `invalid-request` for a header that is no secret.
 */
export async function readClient(
  request: HttpRequest,
  { issue = false }: { readonly issue?: boolean } = {},
): Promise<Client> {
  const { principal, address } = request
  const origin: Namespace = ['address', callerOf({ address }) ?? '']
  if (principal) return { namespace: principal, origin }
  const known = readSecret(request)
  if (known !== undefined) return { namespace: await spaceOf(known), origin }
  if (!issue) return { namespace: undefined, origin }
  const secret = randomSecret()
  return { namespace: await spaceOf(secret), origin, cookie: cookieOf(secret, request) }
}

// The secret itself is in no store: only its owner can show it.
async function spaceOf(secret: string): Promise<Namespace> {
  return ['client', await digest(secret)]
}

function readSecret({ headers }: HttpRequest): string | undefined {
  const header = headers.get('x-client-secret')
  if (header === null) return readCookie(headers.get('cookie') ?? '')
  if (isSecret.test(header)) return header
  const got = header.length < 16 || header.length > 128 ? `${header.length}` : 'other characters'
  const text = `The header X-Client-Secret must be 16 to 128 visible ASCII characters; got ${got}.`
  throw new ChatError('invalid-request', text, { param: 'X-Client-Secret' })
}

// Another site of the same domain can add a cookie of this name: of two different ones neither is trusted.
function readCookie(cookies: string): string | undefined {
  const values = cookies.split(';').flatMap((cookie) => {
    const [name, ...value] = cookie.trim().split('=')
    return name === COOKIE ? [value.join('=')] : []
  })
  const [value = '', ...others] = new Set(values)
  return others.length === 0 && isSecret.test(value) ? value : undefined
}

/** RFC 6265bis. `Secure` where the client uses https: a proxy or Lambda says so, or the page's origin does. */
function cookieOf(secret: string, { headers, url }: HttpRequest): string {
  const [proto = ''] = (headers.get('x-forwarded-proto') ?? '').split(',')
  const origin = headers.get('origin') ?? url
  const secure = proto.trim().toLowerCase() === 'https' || /^https:/i.test(origin)
  const flags = `Path=/; Max-Age=${COOKIE_SECONDS}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
  return `${COOKIE}=${secret}; ${flags}`
}
