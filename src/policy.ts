import { ChatError } from './errors.ts'
import type { HttpRequest } from './types.ts'

const policies = ['cancel', 'linger', 'continue'] as const
/** What becomes of a reply when its last reader has left: ended at once, after a while, or not at all. */
export type DisconnectPolicy = (typeof policies)[number]

/** Who may let a reply run to its end without a reader. */
export type AllowContinue = 'never' | 'authenticated' | 'always'

/**
 * What a request wants to happen when it loses its reader: the header `X-On-Disconnect`, or `?on_disconnect=`, which
 * the header wins over. Undefined when it does not say. @throws `ChatError` `invalid-request` for anything else.
 */
export function readPolicy({ headers }: HttpRequest, url: URL): DisconnectPolicy | undefined {
  const value = headers.get('x-on-disconnect') ?? url.searchParams.get('on_disconnect')
  if (value === null) return undefined
  const policy = policies.find((known) => known === value)
  if (policy) return policy
  const got = JSON.stringify(value.slice(0, 40))
  throw new ChatError(
    'invalid-request',
    `\`X-On-Disconnect\` must be one of ${policies.join(', ')}; got ${got}.`,
    {
      param: 'X-On-Disconnect',
    },
  )
}

/** @throws `ChatError` `policy-not-allowed` for a `continue` of a request that may not leave its reply running. */
export function requireAllowed(
  policy: DisconnectPolicy | undefined,
  { principal }: HttpRequest,
  allowContinue: AllowContinue,
): void {
  if (policy !== 'continue' || allowContinue === 'always') return
  if (allowContinue === 'authenticated' && principal !== undefined) return
  const whom = allowContinue === 'never' ? 'here' : 'to anonymous clients'
  const text = `\`X-On-Disconnect: continue\` is not allowed ${whom} (ON_DISCONNECT_CONTINUE=${allowContinue}). Use linger or cancel.`
  throw new ChatError('policy-not-allowed', text, { param: 'X-On-Disconnect' })
}
