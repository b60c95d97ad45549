import OpenAI from 'openai'

const client = new OpenAI({
  baseURL: process.env.BASE_URL ?? 'http://127.0.0.1:3000/v1',
  apiKey: 'not-needed',
})

const [model] = (await client.models.list()).data
const stream = await client.chat.completions.create({
  model: model.id,
  messages: [{ role: 'user', content: 'Why is the sky blue?' }],
  stream: true,
  stream_options: { include_usage: true },
})
for await (const { choices, usage } of stream) {
  process.stdout.write(choices[0]?.delta.content ?? '')
  if (usage) console.log(`\n${usage.total_tokens} tokens`)
}
