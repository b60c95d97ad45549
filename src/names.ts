import { ChatError } from './errors.ts'
import { encodeJson } from './json-write.ts'
import type { DialectRequest, HttpRequest } from './types.ts'

/** What a request that names itself is known by. */
export interface RequestKey {
  /** Its name in the store. */
  readonly name: string
  /** What it asked, as a digest: the same name for another question is refused. */
  readonly note: string
  /** A second name of it, under which the same client will look for it when it has got its cookie. */
  readonly alias?: string | undefined
}

/** Whose names these are: a principal's, those of an anonymous client with a secret, or those of an address. */
export type Namespace = string | readonly ['client' | 'address', string]

/** Who sends a request, as far as names in the store are concerned. */
export interface Client {
  /** Undefined for an anonymous client without a secret. */
  readonly namespace: Namespace | undefined
  /** The namespace of its address: of clients that nothing else tells apart. */
  readonly origin: Namespace
  /** The `Set-Cookie` header with the secret of a client that has none yet. */
  readonly cookie?: string | undefined
}

/**
 * The `Idempotency-Key` of a POST (IETF draft-ietf-httpapi-idempotency-key-header). Undefined when it has none.
 * @throws `ChatError` `invalid-request` for one that is no key.
 */
export async function readKey(
  request: HttpRequest,
  asked: DialectRequest,
  { namespace, origin, cookie }: Client,
): Promise<RequestKey | undefined> {
  const key = request.headers.get('idempotency-key')
  if (key === null || request.method.toUpperCase() !== 'POST') return undefined
  if (!/^[\x21-\x7e]{1,255}$/.test(key)) {
    const got = key.length > 255 ? `${key.length} characters` : key === '' ? 'nothing' : 'other characters'
    const text = `The header Idempotency-Key must be 1 to 255 visible ASCII characters; got ${got}.`
    throw new ChatError('invalid-request', text, { param: 'Idempotency-Key' })
  }
  const own = namespace && keyName(namespace, key)
  const isNew = cookie !== undefined
  return {
    // A client that repeats its request because it got no response has no secret yet.
    name: own === undefined || isNew ? keyName(origin, key) : own,
    // 128 bits: two requests with one digest take a client 2^64 tries, and mislead that client alone.
    note: (await digest(await encodeJson(asked))).slice(0, 22),
    ...(isNew ? { alias: own } : {}),
  }
}

function keyName(namespace: Namespace, key: string): string {
  return JSON.stringify(['key', namespace, key])
}

/** The name of a conversation's newest reply, which lasts until somebody has read it to its end. */
export function chatName(namespace: Namespace, chatId: string): string {
  return JSON.stringify(['chat', namespace, chatId])
}

/**
 * On whose behalf a request is made, for quotas and for the circuit breaker: its principal, else its address.
 * An IPv6 client usually has a /64 network of its own (RFC 6177), so the network is one caller.
 */
export function callerOf({
  principal,
  address,
}: Pick<HttpRequest, 'principal' | 'address'>): string | undefined {
  if (principal !== undefined) return `principal ${principal}`
  return address === undefined ? undefined : `address ${networkOf(address)}`
}

function networkOf(address: string): string {
  const plain = address.toLowerCase().replace(/%.*$/, '')
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(plain)?.[1]
  if (mapped !== undefined || !plain.includes(':')) return mapped ?? plain
  const [head = '', tail] = plain.split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail ? tail.split(':') : []
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length)
  const groups = [...first, ...Array<string>(zeros).fill('0'), ...last]
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')}::/64`
}

/** Whose replies a request may see. */
export function ownerOf({ principal = '' }: HttpRequest): string {
  return principal
}

/** SHA-256, base64url. */
export async function digest(text: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text
  return toBase64Url(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
}

/** Bytes as base64url without padding: RFC 4648 §5. */
export function toBase64Url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '')
}
