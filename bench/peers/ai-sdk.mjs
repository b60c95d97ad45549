// The AI SDK in Express, as its documentation shows it.
import { createOpenAI } from '@ai-sdk/openai'
import { convertToModelMessages, streamText } from 'ai'
import express from 'express'

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL })
const app = express()
app.use(express.json())

app.post('/api/chat', async (req, res) => {
  const result = streamText({
    model: openai.chat('gpt-4.1-mini'),
    messages: await convertToModelMessages(req.body.messages),
  })
  result.pipeUIMessageStreamToResponse(res)
})

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
