import { ChatError } from './errors.ts'
import type { HttpRequest } from './types.ts'

const policies = ['cancel', 'linger', 'continue'] as const
/** What becomes of a reply when its last reader has left: ended at once, after a while, or not at all. */
export type DisconnectPolicy = (typeof policies)[number]

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
