import { tool } from '@langchain/core/tools'
import { ChatOpenAI } from '@langchain/openai'
import { z } from 'zod'

const model = new ChatOpenAI({
  model: process.env.MODEL ?? 'simulator',
  apiKey: 'not-needed',
  configuration: { baseURL: process.env.BASE_URL ?? 'http://127.0.0.1:3000/v1' },
})

const weather = tool(({ city }) => `Sunny in ${city}, 21 °C.`, {
  name: 'get_weather',
  description: 'The weather in a city',
  schema: z.object({ city: z.string() }),
})

const messages = [{ role: 'user', content: 'What is the weather in Rome?' }]
const answer = await model.bindTools([weather]).invoke(messages)
messages.push(answer)
for (const call of answer.tool_calls) messages.push(await weather.invoke(call))

for await (const chunk of await model.stream(messages)) process.stdout.write(chunk.text)
console.log()
