import { ChatError } from './errors.ts'
import { failure } from './http.ts'
import { refuseOwn } from './unmatched.ts'
import type { Handler, HttpRequest } from './types.ts'

export interface HostsOptions {
  /**
   * Host names under which clients reach this service, such as `chat.example`; `'*'` for any. An entry with a port
   * allows that port only, `*.chat.example` allows every name below `chat.example`. IPv6 addresses are in brackets.
   */
  readonly hosts: readonly string[] | '*'
  /** Also allows the names of this machine: `localhost`, `*.localhost`, 127.0.0.0/8 and `[::1]`. Default false. */
  readonly loopback?: boolean | undefined
}

/**
 * Refuses requests to host names that are not this service's with `421 misdirected-request`. A page of another site
 * whose name resolves to this service (DNS rebinding) is of the same origin for its browser and could read every answer;
 * its requests have its own name in `Host`.
 *
 * Wrap this around everything else, `withCors` too. It checks the `Host` header and the host of an absolute request
 * target; where host names are listed, `X-Forwarded-Host` as well. Several `Host` headers are refused always. A request without `Host`, which HTTP/1.0
 * allows, passes: browsers always send one. Health checks may also name an IP address. In a user's own app, requests to
 * addresses that this handler does not have are passed on.
 *
 * @throws `TypeError` for an entry that is no host name.
 */
export function withAllowedHosts(handler: Handler, { hosts, loopback = false }: HostsOptions): Handler {
  const allows = hosts === '*' ? () => true : matcherOf(hosts, loopback)
  const named = hosts !== '*' && hosts.length > 0
  return (request) => {
    const wrong = hostsOf(request, named).find(
      (host) => !isSingle(host) || !(allows(host) || probes(request, host)),
    )
    return wrong === undefined ? handler(request) : refuseOwn(handler, request, failure(misdirected(wrong)))
  }
}

/** Why an entry is not one of `HostsOptions.hosts`, to be read after its name; undefined when it is one. */
export function hostProblem(entry: string): string | undefined {
  return parseEntry(entry)
    ? undefined
    : 'must be a host name such as chat.example, *.chat.example or [::1]:3000'
}

/** Whether a server that binds this address can be reached from its own machine only. */
export function isLoopback(address: string): boolean {
  const plain = address.replace(/^\[|\]$/g, '')
  const host = parseHost(plain.includes(':') ? `[${plain}]` : plain)
  return host !== undefined && isLoopbackName(host.name)
}

interface Host {
  /** Normalized as browsers do: lower case, ASCII, addresses in their shortest form; without a dot at the end. */
  readonly name: string
  readonly port: string | undefined
}

interface Entry extends Host {
  /** Allows the names below it, and not the name itself. */
  readonly below: boolean
}

/** Every host that a request names. */
function hostsOf({ url, headers }: HttpRequest, forwarded: boolean): readonly string[] {
  const target = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(url)?.[1]
  const header = headers.get('host')
  const original = forwarded ? headers.get('x-forwarded-host') : null
  return [
    ...(target === undefined ? [] : [target]),
    ...(header === null ? [] : [header]),
    // Each proxy adds one.
    ...(original === null ? [] : original.split(',').map((host) => host.trim())),
  ]
}

/** Adapters join several headers with a comma, which no host name has. */
function isSingle(host: string): boolean {
  return !host.includes(',')
}

function matcherOf(hosts: readonly string[], loopback: boolean): (host: string) => boolean {
  const entries = hosts.map((entry) => {
    const parsed = parseEntry(entry)
    if (parsed) return parsed
    throw new TypeError(`Each of \`hosts\` ${hostProblem(entry) ?? ''}; got ${JSON.stringify(entry)}.`)
  })
  return (text) => {
    const host = parseHost(text)
    if (!host) return false
    return (loopback && isLoopbackName(host.name)) || entries.some((entry) => matches(entry, host))
  }
}

function matches({ name, port, below }: Entry, host: Host): boolean {
  // Browsers leave the scheme's own port out, and the scheme is not known behind a proxy.
  const samePort =
    port === undefined || port === host.port || (host.port === undefined && /^(?:80|443)$/.test(port))
  return samePort && (below ? host.name.endsWith(`.${name}`) : host.name === name)
}

function isLoopbackName(name: string): boolean {
  return /^(?:localhost|.+\.localhost|127\.\d+\.\d+\.\d+|\[::1\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\])$/.test(
    name,
  )
}

// Load balancers call an address, not a name, and a page that was rebound always has a name.
function probes({ url }: HttpRequest, host: string): boolean {
  const name = parseHost(host)?.name ?? ''
  return /^(?:[^?#]*\/)?(?:healthz|readyz)(?:[?#]|$)/.test(url) && /^(?:\[.*\]|[\d.]+)$/.test(name)
}

function parseEntry(entry: string): Entry | undefined {
  const below = entry.startsWith('*.')
  const host = parseHost(below ? entry.slice(2) : entry)
  return host && { ...host, below }
}

/** Reads `name` or `name:port`; undefined for anything else. */
function parseHost(text: string): Host | undefined {
  const [, name, port] = /^(\[[\da-f:.]+\]|[^\s/?#@\\:%,*[\]]+?)\.?(?::(\d{1,5}))?$/i.exec(text) ?? []
  if (name === undefined) return undefined
  try {
    return { name: new URL(`http://${name}`).hostname, port }
  } catch {
    return undefined // not a host name
  }
}

function misdirected(host: string): ChatError {
  const name = JSON.stringify(host.slice(0, 100))
  const text = isSingle(host)
    ? `The host ${name} is not a name of this service. If it is one, add it to the allowed host names (ALLOWED_HOSTS).`
    : `A request must have one Host header, with a host name of ALLOWED_HOSTS; got ${name}.`
  return new ChatError('misdirected-request', text)
}
