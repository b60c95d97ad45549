import { createClient } from '@redis/client'
import express from 'express'
import { createHandler, createOpenAI } from 'deltarelay'
import { toExpress } from 'deltarelay/express'
import { createRedisStore, toRedisLink } from 'deltarelay/redis'

const client = createClient({ url: process.env.REDIS_URL, disableOfflineQueue: true })
client.on('error', (error) => console.error(error.message))
await client.connect()

const handler = createHandler({
  upstream: createOpenAI({ apiKey: process.env.OPENAI_API_KEY }),
  model: 'gpt-4.1-mini',
  store: createRedisStore(toRedisLink(client)),
})

// Replies are their owner's: here whoever the proxy in front says that it let in.
const principal = (request) => request.headers['x-user']

express()
  .use(toExpress(handler, { principal }))
  .listen(process.env.PORT ?? 3000)
