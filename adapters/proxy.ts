import { Agent, type AgentOptions } from 'node:http'
import { HttpProxyAgent } from 'http-proxy-agent'
import { HttpsProxyAgent } from 'https-proxy-agent'
import { getProxyForUrl } from 'proxy-from-env'

/** What goes through proxies, and through which, as the environment says: undefined for what is asked directly. */
export function createProxies(options: AgentOptions): (target: URL) => Agent | undefined {
  const agents = new Map<string, Agent>()

  return (target) => {
    const proxy = getProxyForUrl(target.href)
    // None, or one that `ALL_PROXY` names and that does not speak HTTP.
    if (!/^https?:/i.test(proxy)) return undefined
    // Tunnels for `https:`, forwarded requests for `http:`.
    const Kind = target.protocol === 'https:' ? HttpsProxyAgent : HttpProxyAgent
    const name = `${target.protocol} ${proxy}`
    const agent = agents.get(name) ?? new Kind(proxy, options)
    agents.set(name, agent)
    return agent
  }
}
