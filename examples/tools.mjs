import express from 'express'
import { createHandler, createOpenAI, defineTool, ToolError } from 'deltarelay'
import { toExpress } from 'deltarelay/express'
import { z } from 'zod'

const stock = { tea: 12, coffee: 0 }

const lookUpStock = defineTool({
  name: 'look_up_stock',
  description: 'How many packets of a drink are in stock',
  schema: z.object({ drink: z.enum(['tea', 'coffee', 'milk']) }),
  execute({ drink }, { signal }) {
    signal.throwIfAborted() // pass it on to what takes long: the client may be gone
    if (!(drink in stock)) throw new ToolError(`We do not sell ${drink}.`) // the model reads this
    return { drink, packets: stock[drink] }
  },
})

const handler = createHandler({
  upstream: createOpenAI({ apiKey: process.env.OPENAI_API_KEY }),
  model: 'gpt-4.1-mini',
  tools: [lookUpStock],
  onFinish: ({ status, answer, usage, timings }) =>
    console.log(status, answer.text, usage?.outputTokens, timings.durationMs),
  onError: (error) => console.error(error.code, error.cause),
})

express()
  .use(toExpress(handler))
  .listen(process.env.PORT ?? 3000)
