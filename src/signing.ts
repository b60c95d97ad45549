import { canonicalInput, isReadable, jsonOf, parseInput } from './call-input.ts'
import { isObject } from './checks.ts'
import { ChatError } from './errors.ts'
import { toBase64Url } from './names.ts'
import type { ClaimedCall, Fields, ToolCall } from './types.ts'

/** Signs the calls of tools that run in the client, so that a result of a call that was never issued is recognized. */
export interface Signer {
  /** Signs a call of a reply of this owner: the same call always gets the same signature. */
  sign(call: ToolCall, owner: string): Promise<string>
  /**
   * Checks the calls that a request of this owner brings back.
   * @throws `ChatError` `invalid-request` that names the first one that was not issued, or comes twice.
   */
  requireIssued(calls: readonly ClaimedCall[], owner: string): Promise<void>
}

/** Characters: a guessable secret is none. */
const MIN_SECRET_LENGTH = 16

const algorithm = { name: 'HMAC', hash: 'SHA-256' }

/**
 * Creates a signer: HMAC-SHA-256 over the owner, the call's id, its tool, its arguments and what its vendor wants back
 * with it. Instances with the same secret accept each other's calls.
 *
 * @throws `ChatError` `invalid-request` for a secret that is shorter than 16 characters.
 */
export function createSigner(secret: string = randomSecret()): Signer {
  if (secret.length < MIN_SECRET_LENGTH) {
    const text = `\`signingSecret\` must have at least ${MIN_SECRET_LENGTH} characters; got ${secret.length}.`
    throw new ChatError('invalid-request', text, { param: 'signingSecret' })
  }
  let key: Promise<CryptoKey> | undefined

  function importKey(): Promise<CryptoKey> {
    const bytes = new TextEncoder().encode(secret)
    return crypto.subtle.importKey('raw', bytes, algorithm, false, ['sign', 'verify'])
  }

  async function isIssued({ signature, ...call }: ClaimedCall, owner: string): Promise<boolean> {
    const bytes = signature === undefined ? undefined : fromBase64Url(signature)
    if (!bytes) return false
    return crypto.subtle.verify('HMAC', await (key ??= importKey()), bytes, messageOf(call, owner))
  }

  return {
    async sign({ id, name, arguments: text, extra }, owner) {
      const message = messageOf({ id, name, input: canonicalInput(parseInput(text)), extra }, owner)
      return toBase64Url(
        new Uint8Array(await crypto.subtle.sign('HMAC', await (key ??= importKey()), message)),
      )
    },

    async requireIssued(calls, owner) {
      const ids = new Set<string>()
      for (const call of calls) {
        if (!(await isIssued(call, owner))) throw notIssued(call)
        if (ids.has(call.id)) throw repeated(call)
        ids.add(call.id)
      }
    },
  }
}

/** 128 random bits, base64url. */
export function randomSecret(): string {
  return toBase64Url(crypto.getRandomValues(new Uint8Array(16)))
}

/** What goes back to the vendor of a call, by the one name that it may have. Undefined where a client does not get it. */
export function vendorFields(extra: unknown): Fields | undefined {
  const content = isObject(extra) ? extra['extra_content'] : undefined
  return isObject(content) && isReadable(jsonOf(extra)) ? { extra_content: content } : undefined
}

function messageOf(
  { id, name, input, extra }: Omit<ClaimedCall, 'signature' | 'at'>,
  owner: string,
): Uint8Array<ArrayBuffer> {
  const parts = ['deltarelay tool call 1', owner, id, name, input, jsonOf(vendorFields(extra))]
  return new TextEncoder().encode(JSON.stringify(parts))
}

/** Undefined for what is not the one way to write 32 bytes. */
function fromBase64Url(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[\w-]{43}$/.test(text)) return undefined
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0))
  return toBase64Url(bytes) === text ? bytes : undefined
}

function notIssued({ at }: ClaimedCall): ChatError {
  const text =
    `\`${at}\` names a call that this service did not issue to this client, with this tool and these arguments. ` +
    'Start a new chat. Calls stay valid after a restart, and on other instances, when SIGNING_SECRET is the same.'
  return new ChatError('invalid-request', text, { param: at })
}

function repeated({ at }: ClaimedCall): ChatError {
  const text = `\`${at}\` names a call that another part of this request has a result for already.`
  return new ChatError('invalid-request', text, { param: at })
}
