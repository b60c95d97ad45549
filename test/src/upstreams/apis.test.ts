import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { streamChat } from '../../../src/chat.ts'
import type { ChatDelta, ChatRequest, Upstream } from '../../../src/types.ts'
import { createOpenAI } from '../../../src/upstreams/openai.ts'
import { all, asking, soon, textIn } from '../kit.ts'

const open: Server[] = []

afterEach(async () => {
  for (const server of open.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

function responsesAt(baseURL: string): Upstream {
  return createOpenAI({ api: 'responses', apiKey: 'k-Canary7f3a9b2e41d8', baseURL })
}

function ask(request: ChatRequest | string, upstream: Upstream): Promise<ChatDelta[]> {
  const question = typeof request === 'string' ? asking(request) : request
  const { signal } = new AbortController()
  return soon(all(streamChat(question, { upstream, signal, id: 'r', retries: 0 })), 8000)
}

type Body = Readonly<Record<string, unknown>>
type Answer = (response: ServerResponse, body: Body, request: IncomingMessage) => void

async function serve(answer: Answer) {
  const bodies: Body[] = []
  let connections = 0
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8')
    request.on('data', (piece: string) => (text += piece))
    request.on('end', () => {
      const body = JSON.parse(text) as Body
      bodies.push(body)
      answer(response, body, request)
    })
  })
  server.on('connection', () => connections++)
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/v1`, bodies, connections: () => connections }
}

/** An answer in the words of whichever API was asked. */
const whole: Answer = (response, _, { url }) => {
  const events = url?.endsWith('/responses')
    ? [
        { type: 'response.output_text.delta', delta: 'Hello' },
        { type: 'response.completed', response: {} },
      ]
    : [{ choices: [{ delta: { content: 'Hello' }, finish_reason: 'stop' }] }]
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.end(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(''))
}

function refuse(response: ServerResponse, report: object, status = 400): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(report))
}

test('twenty answers of the Responses API in a row use one connection', async () => {
  const { url, bodies, connections } = await serve(whole)
  const chosen = responsesAt(url)

  for (let i = 0; i < 20; i++) {
    expect(textIn(await ask('hi', chosen))).toBe('Hello')
    // The platform's fetch gives a connection back a moment after it gave the end of the body.
    await new Promise((resolve) => setTimeout(resolve, 10))
  }

  expect(bodies).toHaveLength(20)
  expect(connections()).toBe(1)
})

test('the key stays with us, whatever the server says', async () => {
  const { url } = await serve((response, _, { headers }) => {
    const words = `data: ${JSON.stringify({
      type: 'error',
      code: 'invalid_prompt',
      message: `You sent ${headers.authorization}`,
    })}\n\n`
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(words)
  })

  const deltas = await ask('hi', responsesAt(url))

  expect(deltas.at(-1)).toMatchObject({ code: 'upstream-error', upstreamCode: 'invalid_prompt' })
  expect(JSON.stringify(deltas)).not.toContain('Canary')
})

test('an API that does not exist is said at once', () => {
  const api = 'assistants' as 'responses' // as from JavaScript

  expect(() => createOpenAI({ api, apiKey: 'any' })).toThrow('chat-completions, responses; got "assistants"')
})

describe('what a server turns out not to understand', () => {
  const apis = ['chat-completions', 'responses'] as const
  const rolesIn = (body: Body): unknown[] => {
    return ((body['messages'] ?? body['input']) as Body[]).map(({ role }) => role)
  }
  const instructed: ChatRequest = {
    model: 'm',
    messages: [
      { role: 'developer', content: 'Be brief.' },
      { role: 'user', content: 'hi' },
    ],
  }
  const shapes: [string, number, object][] = [
    ['a sentence', 400, { error: { message: "Invalid value: 'developer'.", param: 'messages[0].role' } }],
    ['a variant', 422, { error: { message: 'unknown variant `developer`, expected `system`' } }],
    ['a template', 400, { object: 'error', message: 'Unexpected message role.', code: 400 }],
    ['a list', 422, { detail: [{ loc: ['body', 'messages', 0, 'role'], msg: "Input should be 'system'" }] }],
  ]

  test.each(apis.flatMap((api) => shapes.map((shape) => [api, ...shape] as const)))(
    'the role of a developer is said as that of the system (%s, refused by %s)',
    async (api, _, status, report) => {
      const { url, bodies } = await serve((response, body, request) => {
        if (rolesIn(body).includes('developer')) return refuse(response, report, status)
        whole(response, body, request)
      })
      const chosen = createOpenAI({ api, apiKey: 'any', baseURL: url })

      expect(textIn(await ask(instructed, chosen))).toBe('Hello')
      expect(textIn(await ask(instructed, chosen))).toBe('Hello')

      expect(bodies.map((body) => rolesIn(body)[0])).toEqual(['developer', 'system', 'system'])
    },
  )

  test.each([
    ['property "reasoning_content" is unsupported', ['Hm.', undefined, undefined]],
    [undefined, ['Hm.', 'Hm.']],
  ])('what a model thought is given back unless it refuses it with %j', async (message, expected) => {
    const thoughtIn = ({ messages }: Body): unknown => (messages as Body[])[0]?.['reasoning_content']
    const { url, bodies } = await serve((response, body, request) => {
      if (message && thoughtIn(body)) return refuse(response, { error: { message } }, 400)
      whole(response, body, request)
    })
    const chosen = createOpenAI({ apiKey: 'any', baseURL: url })
    const toolCalls = [{ id: 'c', name: 'f', arguments: '{}' }]
    const thinking: ChatRequest = {
      model: 'm',
      messages: [
        { role: 'assistant', content: '', reasoning: 'Hm.', toolCalls },
        { role: 'tool', toolCallId: 'c', content: '1' },
      ],
    }

    await ask(thinking, chosen)
    await ask(thinking, chosen)

    expect(bodies.map(thoughtIn)).toEqual(expected)
  })

  test('a refusal that is about something else teaches nothing about roles', async () => {
    const { url, bodies } = await serve((response) => {
      refuse(response, { error: { message: 'The conversation is too long.', param: 'messages' } })
    })

    const deltas = await ask(instructed, createOpenAI({ apiKey: 'any', baseURL: url }))

    expect(deltas.at(-1)).toMatchObject({ code: 'upstream-rejected' })
    expect(bodies).toHaveLength(1)
  })

  const thinking = asking('hi', { reasoningEffort: 'low' })

  test('reasoning is asked for as far as the model goes', async () => {
    const { url, bodies } = await serve((response, body, request) => {
      const { model, reasoning } = body
      const asked = Object.keys(reasoning ?? {})
      if (asked.includes('summary')) {
        const message = 'Your organization must be verified to generate reasoning summaries.'
        return refuse(response, { error: { message, param: 'reasoning.summary', code: 'unsupported_value' } })
      }
      if (asked.length > 0 && model === 'small') {
        const message = "Unsupported parameter: 'reasoning.effort' is not supported with this model."
        return refuse(response, {
          error: { message, param: 'reasoning.effort', code: 'unsupported_parameter' },
        })
      }
      whole(response, body, request)
    })
    const chosen = responsesAt(url)

    for (const model of ['small', 'small', 'large', 'large']) await ask({ ...thinking, model }, chosen)

    expect(bodies.map(({ model, reasoning }) => [model, reasoning])).toEqual([
      ['small', { effort: 'low', summary: 'auto' }],
      ['small', { effort: 'low' }],
      ['small', undefined],
      ['small', undefined],
      ['large', { effort: 'low', summary: 'auto' }],
      ['large', { effort: 'low' }],
      ['large', { effort: 'low' }],
    ])
  })

  test('an effort that a model does not have is the mistake of who asked', async () => {
    const message =
      "Unsupported value: 'low' is not supported with reasoning.effort. Supported values are: 'high'."
    const { url, bodies } = await serve((response) => {
      refuse(response, { error: { message, param: 'reasoning.effort', code: 'unsupported_value' } })
    })

    const deltas = await ask(thinking, responsesAt(url))

    expect(deltas.at(-1)).toMatchObject({
      code: 'upstream-rejected',
      message: expect.stringContaining(message),
    })
    expect(bodies).toHaveLength(1)
  })
})
