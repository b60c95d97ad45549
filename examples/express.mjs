import express from 'express'
import { createHandler, createOpenAI } from 'deltarelay'
import { toExpress } from 'deltarelay/express'
import { createNodeFetch } from 'deltarelay/node'

const handler = createHandler({
  // Without `fetch` the platform's is used, which takes more CPU for each piece of a stream.
  upstream: createOpenAI({ apiKey: process.env.OPENAI_API_KEY, fetch: createNodeFetch() }),
  model: 'gpt-4.1-mini',
})

const app = express()
app.use('/ai', toExpress(handler)) // POST /ai/chat, GET /ai/stream?prompt=…
app.listen(process.env.PORT ?? 3000)
