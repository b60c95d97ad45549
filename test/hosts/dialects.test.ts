import { describe, expect, test } from 'vitest'
import { missingRuntime } from '../lambda/lab.ts'
import { answers, refusals } from './answers.ts'
import type { Asking } from './client.ts'
import { createHosts } from './hosts.ts'

// With a secret no client gets a random one of its own.
const json = { 'content-type': 'application/json', 'x-client-secret': 'the-secret-of-the-test-client' }
const question = [{ role: 'user', content: 'Hi' }]
const uiQuestion = [{ id: 'u1', role: 'user', parts: [{ type: 'text', text: 'Hi' }] }]

function post(path: string, body: unknown, headers: Readonly<Record<string, string>> = json): Asking {
  return { method: 'POST', path, headers, body: JSON.stringify(body) }
}

const completion = (more: object = {}): Asking =>
  post('/v1/chat/completions', { messages: question, ...more })
const chat = (more: object = {}): Asking => post('/api/chat', { id: 'chat 1', messages: uiQuestion, ...more })

/** Requests for an answer, in the formats of other people's clients. */
const askings: Readonly<Record<string, Asking>> = {
  'OpenAI, streamed': completion({ stream: true }),
  'OpenAI, streamed with usage': completion({ stream: true, stream_options: { include_usage: true } }),
  'OpenAI, as one document': completion(),
  'OpenAI, without the version': post('/chat/completions', { messages: question, stream: true }),
  'the AI SDK': chat(),
  'the AI SDK, as plain text without an id': post(
    '/api/chat',
    { messages: uiQuestion },
    { 'content-type': 'text/plain' },
  ),
}

/** Requests that are answered without a model, or refused. */
const others: readonly (readonly [string, Asking, number])[] = [
  ['the models', { path: '/v1/models' }, 200],
  ['the models without the version', { path: '/models' }, 200],
  ['a model', { path: '/v1/models/model-b' }, 200],
  ['an unknown model', { path: '/v1/models/org%2Fmodel' }, 404],
  ['HEAD of the models', { method: 'HEAD', path: '/v1/models' }, 200],
  ['OPTIONS of completions', { method: 'OPTIONS', path: '/v1/chat/completions' }, 204],
  ['GET of completions', { path: '/v1/chat/completions' }, 405],
  ['the Responses API', post('/v1/responses', { input: 'Hi' }), 404],
  ['embeddings', post('/v1/embeddings', { input: 'Hi' }), 404],
  ['something else of the API', { path: '/v1/files' }, 404],
  ['a body in the shape of the Responses API', post('/v1/chat/completions', { input: 'Hi' }), 400],
  ['more than one answer', completion({ n: 2 }), 400],
  ['audio', completion({ modalities: ['text', 'audio'] }), 400],
  ['another model', completion({ model: 'model-c' }), 404],
  [
    'an image that somebody would have to fetch',
    chat({
      messages: [
        {
          id: 'u',
          role: 'user',
          parts: [{ type: 'file', mediaType: 'image/png', url: 'http://169.254.169.254/' }],
        },
      ],
    }),
    400,
  ],
  ['instructions from a page', chat({ messages: [{ id: 's', role: 'system', parts: [] }] }), 422],
  ['no messages', chat({ messages: [] }), 400],
  ['no JSON', { method: 'POST', path: '/api/chat', headers: json, body: '{' }, 400],
  ['plain text for OpenAI', post('/v1/chat/completions', {}, { 'content-type': 'text/plain' }), 415],
  ['a chat that nobody knows', { path: '/api/chat/unknown/stream' }, 204],
  ['a chat whose name is percent-encoded', { path: '/api/chat/a%20b%2Fc/stream' }, 204],
  ['a chat whose name is no text', { path: '/api/chat/%E0%A4%A/stream' }, 400],
  ['a place that is no number', { path: '/api/chat/unknown/stream?startIndex=x' }, 400],
]

const missing = await missingRuntime()

describe.skipIf(missing)('both hosts answer with the same bytes', () => {
  const hosts = createHosts()

  describe.each(Object.entries(askings))('to %s', (name, asking) => {
    test.each(Object.entries(answers))('when the upstream gives %s', async (_, script) => {
      hosts.upstream.script = script

      const { status, headers, complete } = await hosts.ask(asking)

      expect(complete).toBe(true)
      expect(headers['x-reply-id']).toBe('reply-1')
      if (name !== 'OpenAI, as one document') {
        expect(status).toBe(200)
        expect(headers['content-type']).toBe('text/event-stream; charset=utf-8')
      }
    })

    test.each(Object.entries(refusals))(
      'when the upstream gives %s before the first token',
      async (_, row) => {
        const [script, status] = row
        hosts.upstream.script = script

        const refusal = await hosts.ask(asking)

        expect(refusal.status).toBe(status)
        expect(refusal.body).not.toMatch(/canary|engine\.py/)
        expect(refusal.body.length).toBeGreaterThan(10)
      },
    )
  })

  test.each(others)('to a request for %s', async (_, asking, status) => {
    const asked = hosts.upstream.asked.length

    const answer = await hosts.ask(asking)

    expect(answer.status).toBe(status)
    expect(hosts.upstream.asked).toHaveLength(asked)
  })

  test.each([0, 1, 3, -2, 1000])(
    'to the AI SDK that comes back after chunk %i of an answer',
    async (startIndex) => {
      hosts.upstream.script = answers['tool calls']
      const whole = await hosts.ask(chat())

      const rest = await hosts.ask({ path: `/api/chat/reply-1/stream?startIndex=${startIndex}` })

      const chunks = whole.body.split('\n\n').filter((frame) => frame !== '' && !frame.includes('[DONE]'))
      const expected = chunks.slice(startIndex)
      expect(rest.status).toBe(expected.length > 0 ? 200 : 204)
      expect(rest.body.split('\n\n').filter((frame) => frame !== '' && !frame.includes('[DONE]'))).toEqual(
        expected,
      )
    },
  )
})
