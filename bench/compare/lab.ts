import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { findRedis, freePort, type RedisServer, startRedis } from '../../test/redis/server.ts'
import { cache, serverArgs } from '../lab.ts'
import type { Held, HoldJob } from './hold.ts'
import type { Load, LoadJob } from './load.ts'
import { otherCpus, pinned, type Running, start } from './processes.ts'
import type { Question } from './stream.ts'
import type { ServerName, Subject } from './subjects.ts'
import type { UpstreamState } from './upstream.ts'
import { processTree } from './usage.ts'

const peers = fileURLToPath(new URL('../peers/', import.meta.url))

/** A server that is measured. */
export interface Server {
  readonly readyMs: number
  readonly pids: readonly number[]
  question(subject: Subject): Question
  stop(): Promise<void>
}

/** The model, the clients, and the servers between them. */
export interface Lab {
  /** The one that is kept for all measurements that do not need a fresh one. */
  server(name: ServerName): Promise<Server>
  freshServer(name: ServerName): Promise<Server>
  /** Why it cannot be had here, in a sentence. */
  missing(name: ServerName): string | undefined
  load(job: Omit<LoadJob, 'beside'>): Promise<Load>
  hold(job: HoldJob): Promise<Held>
  release(): Promise<Held & { readonly atUs: number }>
  upstream(): Promise<UpstreamState>
  /** Of the Redis of server `redis`, while there is one. */
  redisPid(): number | undefined
  close(): Promise<void>
}

/** Starts the model and the clients. */
export async function openLab(node: string): Promise<Lab> {
  const [upstream, client] = await Promise.all([
    start([node, `${cache}compare/upstream.mjs`]),
    start([node, `${cache}compare/client.mjs`]),
  ])
  let closing = false
  for (const { ended } of [upstream, client]) {
    void ended.then((code) => {
      if (closing) return
      console.error(
        `The model or the clients ended with ${code}: what is measured without them means nothing.`,
      )
      process.exit(1)
    })
  }
  const kept = new Map<ServerName, Promise<Server>>()
  let redis: RedisServer | undefined

  async function begin(name: ServerName): Promise<Running> {
    const env = { OPENAI_BASE_URL: `${upstream.url}/v1`, OPENAI_API_KEY: 'any' }
    // Some regimes hold more replies than the server takes by default.
    const ours = { ...env, PORT: '0', OPENAI_MODEL: 'bench', MAX_REPLIES: '100000' }
    switch (name) {
      case 'direct':
        return upstream
      case 'nginx':
        return startNginx(upstream.url)
      case 'redis':
        redis ??= await startRedis()
        if (pinned) spawnSync('taskset', ['-cp', otherCpus, String(redis.pid)])
        return start([node, ...serverArgs], {
          measured: true,
          env: { ...ours, REDIS_URL: redis.url },
        })
      case 'deltarelay':
        return start([node, ...serverArgs], { measured: true, env: ours })
      default:
        return start([node, `${peers}${name}.mjs`], { measured: true, env })
    }
  }

  async function freshServer(name: ServerName): Promise<Server> {
    const running = await begin(name)
    const { hostname: host, port } = new URL(running.url)
    return {
      readyMs: running.readyMs,
      pids: name === 'direct' ? [] : processTree(running.pid),
      question: ({ ask }) => ({ ...ask, host, port: Number(port) }),
      stop: running.stop,
    }
  }

  return {
    server(name) {
      const server = kept.get(name) ?? freshServer(name)
      kept.set(name, server)
      return server
    },
    freshServer,
    missing(name) {
      if (name === 'nginx' && !hasNginx()) return 'nginx is not installed.'
      if (name === 'redis' && !findRedis()) return 'redis-server is not installed.'
      return undefined
    },
    load: (job) => client.call('load', { ...job, beside: [upstream.pid, client.pid] }),
    hold: (job) => client.call('hold', job),
    release: () => client.call('release'),
    upstream: () => upstream.call('state'),
    redisPid: () => redis?.pid,
    async close() {
      closing = true
      const servers = await Promise.allSettled(kept.values())
      const running = servers.flatMap((server) => (server.status === 'fulfilled' ? [server.value] : []))
      await Promise.all([...running, client, upstream].map((each) => each.stop()))
      await redis?.stop()
    },
  }
}

function hasNginx(): boolean {
  return spawnSync('nginx', ['-v']).status === 0
}

/** Its files are in a directory of its own, which is removed with it. */
async function startNginx(model: string): Promise<Running> {
  const directory = mkdtempSync(`${tmpdir()}/nginx-`)
  const remove = (): void => rmSync(directory, { recursive: true, force: true })
  process.once('exit', remove)
  const url = `http://127.0.0.1:${await freePort()}`
  const template = await readFile(`${peers}nginx.conf`, 'utf8')
  const config = template.replace('LISTEN backlog', `${new URL(url).host} backlog`)
  await writeFile(`${directory}/nginx.conf`, config.replace('server MODEL', `server ${new URL(model).host}`))
  const running = await start(['nginx', '-p', directory, '-c', 'nginx.conf'], {
    measured: true,
    url: `${url}/up`,
    cwd: directory,
  })
  return {
    ...running,
    url,
    async stop() {
      await running.stop()
      remove()
    },
  }
}
