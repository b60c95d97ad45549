import express from 'express'
import { expect, onTestFinished, test } from 'vitest'
import { toExpress } from '../../adapters/express.ts'
import { createHandler } from '../../src/index.ts'
import { createFailover } from '../../src/upstreams/failover.ts'
import { createOpenAI } from '../../src/upstreams/openai.ts'
import { host } from '../adapters/host.ts'
import { answerWith, type ModelServer, refuseWith, startModelServer } from './model-server.ts'
import { size } from './size.ts'

/** Two servers that fail for a prompt with "poison" in it, and while they are down. */
interface World {
  readonly url: string
  readonly first: ModelServer
  down: boolean
}

async function startWorld(): Promise<World> {
  const world = { down: false }
  const start = () =>
    startModelServer((response, { body }) => {
      if (world.down || body.includes('poison 500')) return refuseWith(response, 500)
      if (body.includes('poison 429')) return refuseWith(response, 429, {}, { 'retry-after': '60' })
      if (body.includes('poison cut')) return void response.destroy()
      answerWith(response, 'fine')
    })
  const servers = [await start(), await start()] as const
  const upstream = createFailover(
    servers.map(({ url }, index) => {
      return { name: `s${index + 1}`, upstream: createOpenAI({ apiKey: 'none', baseURL: url }) }
    }),
  )
  const app = express().set('trust proxy', true)
  const running = await host(app.use(toExpress(createHandler({ upstream, model: 'm', retries: 0 }))))
  onTestFinished(() => running.close())
  return Object.assign(world, { url: running.url, first: servers[0] })
}

/** Sends a prompt from an address; gives the status, and the server that answered. */
async function ask({ url }: World, address: string, prompt: string): Promise<string> {
  const response = await fetch(`${url}/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-forwarded-for': address },
    body: JSON.stringify({ prompt, stream: false }),
  })
  await response.text()
  return `${response.status} ${response.headers.get('x-upstream') ?? '-'}`
}

test.each([
  ['makes the servers answer 500', 'poison 500', '502 -'],
  ['is answered with 429 and Retry-After: 60', 'poison 429', '429 -'],
  ['makes the servers cut the connection', 'poison cut', '502 -'],
])('a client whose every request %s harms itself alone', async (_, poison, first) => {
  const world = await startWorld()
  const attacks = size(12, 200)

  const statuses = []
  for (let i = 0; i < attacks; i++) statuses.push(await ask(world, '198.51.100.1', poison))
  const others = await Promise.all(
    Array.from({ length: 5 }, (_each, i) => ask(world, `203.0.113.${i}`, 'hello')),
  )

  expect(statuses[0]).toBe(first)
  // It is kept away from servers that it only burdens.
  expect(statuses.at(-1)).toBe('503 -')
  expect(others).toEqual(Array.from({ length: 5 }, () => '200 s1'))
})

test('many addresses of one network are one client', async () => {
  const world = await startWorld()

  for (let i = 0; i < 20; i++) await ask(world, `2001:db8:0:1::${i.toString(16)}`, 'poison 500')

  expect(await ask(world, '2001:db8:0:2::1', 'hello')).toBe('200 s1')
})

test('three attackers harm nobody as long as the answers of others succeed', async () => {
  const world = await startWorld()

  for (let i = 0; i < size(12, 100); i++) {
    await ask(world, `198.51.100.${i % 3}`, 'poison 500')
    expect(await ask(world, `203.0.113.${i}`, 'hello')).toBe('200 s1')
  }
})

test('a server that is really down is left alone for all', async () => {
  const world = await startWorld()
  world.down = true
  for (let i = 0; i < 5; i++) await ask(world, `203.0.113.${i}`, 'hello')
  const asked = world.first.received.length

  const later = await Promise.all([5, 6, 7].map((i) => ask(world, `203.0.113.${i}`, 'hello')))

  expect(asked).toBe(5)
  expect(later).toEqual(['503 -', '503 -', '503 -'])
  expect(world.first.received).toHaveLength(asked)
})
