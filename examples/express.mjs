import express from 'express'
import { createHandler, createOpenAI } from 'deltarelay'
import { toExpress } from 'deltarelay/express'

const handler = createHandler({
  upstream: createOpenAI({ apiKey: process.env.OPENAI_API_KEY }),
  model: 'gpt-4.1-mini',
})

const app = express()
app.use('/ai', toExpress(handler)) // POST /ai/chat, GET /ai/stream?prompt=…
app.listen(process.env.PORT ?? 3000)
