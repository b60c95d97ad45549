import type { UpstreamSettings } from './upstreams.ts'
import { type Environment, parseUrl } from './values.ts'

/** Addresses that can hold a name and a password. */
const addresses = /^(?:https?_proxy|all_proxy|redis_url)$/i

/** Every secret that the environment holds for this service: no upstream's words may show one of them to a client. */
export function secretsIn(
  env: Environment,
  upstreams: readonly UpstreamSettings[] | undefined = [],
): { readonly secrets?: readonly string[] } {
  const inAddresses = Object.entries(env).flatMap(([name, value = '']) => {
    if (!addresses.test(name)) return []
    const { username = '', password = '' } = parseUrl(value) ?? {}
    return [username, password, ...[username, password].map(decoded)]
  })
  const custom = (env['OPENAI_CUSTOM_HEADERS'] ?? '').split('\n').map((line) => line.replace(/^[^:]*:/, ''))
  const ofUpstreams = upstreams.flatMap(({ apiKey = '', headers = {} }) => [
    apiKey,
    ...Object.values(headers),
  ])
  const all = [env['OPENAI_API_KEY'] ?? '', ...inAddresses, ...custom, ...ofUpstreams]
  const secrets = [...new Set(all.map((value) => value.trim()))].filter((value) => value !== '')
  return secrets.length > 0 ? { secrets } : {}
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // it is no encoding of anything
  }
}
