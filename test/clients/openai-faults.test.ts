import OpenAI from 'openai'
import { expect, test } from 'vitest'
import { faults } from '../../simulator/faults.ts'
import { deltasIn, textIn } from '../src/kit.ts'
import { createRelay } from './relay.ts'

// Long enough that a busy machine is not taken for a silent server; the tests wait side by side.
const patience = { headersTimeoutMs: 1200, firstDeltaTimeoutMs: 1200, idleTimeoutMs: 1200 }
const relay = createRelay({ model: 'model-a', totalTimeoutMs: 20_000, maxReplyBytes: 100_000 }, patience)

interface Outcome {
  readonly text: string
  /** How it ended: the finish reason, or `error`. */
  readonly end: string
}

/** What our own API makes of a question. */
async function told(prompt: string): Promise<Outcome> {
  const response = await fetch(`${relay.url.replace(/\/v1$/, '')}/chat`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt }),
  })
  const deltas = deltasIn(await response.text())
  const last = deltas.at(-1)
  return {
    text: textIn(deltas),
    end: last?.type === 'finish' ? (last.raw ?? last.reason.replace('-', '_')) : 'error',
  }
}

/** What the official client makes of it, with the helper that puts a stream together. */
async function heard(prompt: string): Promise<Outcome> {
  const client = new OpenAI({ baseURL: relay.url, apiKey: 'any', maxRetries: 0 })
  let text = ''
  try {
    const stream = client.chat.completions
      .stream({ model: 'model-a', messages: [{ role: 'user', content: prompt }] })
      .on('content', (delta) => void (text += delta))
    const { choices } = await stream.finalChatCompletion()
    return { text, end: choices[0]?.finish_reason ?? 'nothing' }
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error
    return { text, end: 'error' }
  }
}

// The first answer of this one is whole, and a second question is not answered.
const apart = 'close-after-idle'
const names = faults.filter(({ api, name }) => api !== 'responses' && name !== apart).map(({ name }) => name)

test.concurrent.each(names)(
  'with fault:%s the official client hears what our own API tells',
  async (name) => {
    const prompt = `fault:${name} and then?`

    expect(await heard(prompt)).toEqual(await told(prompt))
  },
  60_000,
)
