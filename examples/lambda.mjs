import { createHandler, createOpenAI } from 'deltarelay'
import { toLambda } from 'deltarelay/lambda'

export const handler = toLambda(
  createHandler({
    upstream: createOpenAI({ apiKey: process.env.OPENAI_API_KEY }),
    model: 'gpt-4.1-mini',
  }),
)
