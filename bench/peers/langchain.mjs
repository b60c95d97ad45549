// LangChain's ChatOpenAI.stream in Express, as its documentation loops over it.
import { ChatOpenAI } from '@langchain/openai'
import express from 'express'

const model = new ChatOpenAI({
  model: 'gpt-4.1-mini',
  configuration: { baseURL: process.env.OPENAI_BASE_URL },
})
const app = express()
app.use(express.json())

app.post('/chat', async (req, res) => {
  res.setHeader('Content-Type', 'text/event-stream')
  res.setHeader('Cache-Control', 'no-cache')
  res.flushHeaders()
  const stream = await model.stream(req.body.prompt)
  for await (const chunk of stream) {
    if (chunk.content) res.write(`data: ${JSON.stringify({ content: chunk.content })}\n\n`)
  }
  res.write('data: [DONE]\n\n')
  res.end()
})

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
