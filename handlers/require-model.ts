import { type Options, OptionsError } from './options.ts'

/** @throws `OptionsError` when there is neither a key nor a server that may need none. */
export function requireModel({ apiKey, baseURL, upstreams }: Options): void {
  if (apiKey || baseURL || upstreams) return
  throw new OptionsError([
    'OPENAI_API_KEY is not set: set it, or set OPENAI_BASE_URL to a server that needs no key, or UPSTREAMS. There is no simulated model here.',
  ])
}
