import { createOpenAI, streamChat } from 'deltarelay'

const deltas = streamChat(
  { model: 'gpt-4.1-mini', messages: [{ role: 'user', content: 'Hello' }] },
  {
    upstream: createOpenAI({ apiKey: process.env.OPENAI_API_KEY }),
    signal: AbortSignal.timeout(60_000),
    id: 'my-reply',
  },
)
for await (const delta of deltas) {
  if (delta.type === 'text') process.stdout.write(delta.text)
  if (delta.type === 'error') console.error(delta.code, delta.message)
}
