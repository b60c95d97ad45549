import { hkdfSync, randomBytes } from 'node:crypto'
import type { Options } from './options.ts'

/** A shorter key of an upstream, such as `ollama`, can be guessed: nothing is derived from it. */
const MIN_KEY_LENGTH = 20

type Settings = Pick<Options, 'signingSecret' | 'apiKey' | 'upstreams' | 'redisUrl' | 'tools'>

/**
 * The secret that signs tool calls: `SIGNING_SECRET`, else one derived from the keys of the upstreams, which all
 * instances have, else a random one. A warning goes to stderr where instances would not accept each other's calls.
 */
export function signingSecretFor(options: Settings): string {
  const { signingSecret, apiKey, upstreams = [] } = options
  if (signingSecret !== undefined) return signingSecret
  const keys = [apiKey, ...upstreams.map((upstream) => upstream.apiKey)]
    .filter((key) => key !== undefined && key.length >= MIN_KEY_LENGTH)
    .sort()
  if (keys.length > 0) return derivedFrom(keys.join('\n'))
  warnIfShared(options)
  return randomBytes(32).toString('base64url')
}

function derivedFrom(keys: string): string {
  const bytes = hkdfSync('sha256', keys, '', 'deltarelay tool call signatures', 32)
  return Buffer.from(bytes).toString('base64url')
}

function warnIfShared({ redisUrl, tools }: Settings): void {
  if (redisUrl === undefined || tools.every(({ execute }) => execute)) return
  const message =
    'SIGNING_SECRET is not set: results of tools that run in the client are refused by other instances, and after a restart. Set it to the same 16 or more random characters everywhere.'
  console.error(JSON.stringify({ time: new Date().toISOString(), level: 'warn', message }))
}
