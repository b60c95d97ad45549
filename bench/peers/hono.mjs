// Hono's streamSSE with OpenAI's client; it stops the model when the client has left.
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import OpenAI from 'openai'

const openai = new OpenAI() // OPENAI_BASE_URL and OPENAI_API_KEY of the environment
const app = new Hono()

app.post('/chat', async (c) => {
  const { prompt } = await c.req.json()
  return streamSSE(c, async (stream) => {
    const completion = await openai.chat.completions.create({
      model: 'gpt-4.1-mini',
      messages: [{ role: 'user', content: prompt }],
      stream: true,
    })
    stream.onAbort(() => completion.controller.abort())
    for await (const chunk of completion) {
      const content = chunk.choices[0]?.delta?.content
      if (content) await stream.writeSSE({ data: JSON.stringify({ content }) })
    }
    await stream.writeSSE({ data: '[DONE]' })
  })
})

serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
  console.log(`listening on http://127.0.0.1:${port}`)
})
