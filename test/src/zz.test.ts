import { test } from 'vitest'
import { startSimulator } from '../../simulator/index.ts'
import { createHandler } from '../../src/handler.ts'
import { createOpenAI } from '../../src/upstreams/openai.ts'
import { http, textOf } from './kit.ts'
test('x', async () => {
  const simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
  const upstream = createOpenAI({ apiKey: 'any', baseURL: simulator.url })
  for (const totalTimeoutMs of [300, 1000,3000]) {
    const t0=performance.now()
    const handler = createHandler({ upstream, model: 'm', totalTimeoutMs })
    const reply = await handler(http('/chat', { body: { prompt: 'fault:endless' } }))
    const t1=performance.now()
    const body = await textOf(reply)
    console.log(totalTimeoutMs, reply.status, t1-t0, performance.now()-t0, body.length, typeof reply.body, body.slice(0,200), '...', body.slice(-300))
  }
  await simulator.close()
})
