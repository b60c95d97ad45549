import { describe, expect, test } from 'vitest'
import type { Asking } from '../hosts/client.ts'
import { createHosts } from '../hosts/hosts.ts'
import { answer, stream } from '../hosts/upstream.ts'
import { missingRuntime } from '../lambda/lab.ts'

const unavailable = await missingRuntime()

/** A question as `useChat` sends it, in a chat whose name is no plain word. */
function question(fields: object = {}, contentType = 'application/json'): Asking {
  const messages = [{ id: 'u1', role: 'user', parts: [{ type: 'text', text: 'Hi? 👋' }] }]
  const body = JSON.stringify({ id: 'a/b ü', messages, trigger: 'submit-message', ...fields })
  const headers = { 'content-type': contentType, 'x-client-secret': 'the-secret-of-the-test-client' }
  return { method: 'POST', path: '/api/chat', headers, body }
}

describe.skipIf(unavailable)('the AI SDK gets the same bytes from Express and from Lambda:', () => {
  const hosts = createHosts()

  test.each(['application/json', 'text/plain;charset=UTF-8'])('an answer to %s', async (contentType) => {
    hosts.upstream.script = stream(answer('Hel', 'lo', ' 👋'))

    const { status, headers, body, complete } = await hosts.ask(question({}, contentType))

    expect({ status, complete }).toEqual({ status: 200, complete: true })
    expect(headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'x-vercel-ai-ui-message-stream': 'v1',
      'x-workflow-run-id': 'reply-1',
    })
    expect(body).toContain('data: {"type":"text-delta","id":"text-1","delta":" 👋"}\n\n')
    expect(body.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  test('the rest of an answer that is over', async () => {
    const { body } = await hosts.ask(question())

    const rest = await hosts.ask({ path: '/api/chat/reply-1/stream?startIndex=-2' })

    expect(rest.status).toBe(200)
    expect(rest.body.split('\n\n')).toHaveLength(4)
    expect(body.endsWith(rest.body)).toBe(true)
  })

  test.each<[what: string, asking: Asking, status: number]>([
    ['nothing to come back for', { path: '/api/chat/a%2Fb%20%C3%BC/stream' }, 204],
    ['nothing to stop', { method: 'POST', path: '/api/chat/a%2Fb%20%C3%BC/stop' }, 404],
    ['a request that makes no sense', question({ messages: 'Hi?' }), 400],
    ['a role that is not a page’s', question({ messages: [{ role: 'system', parts: [] }] }), 422],
    ['a way that is not possible', { path: '/api/chat' }, 405],
  ])('%s', async (_, asking, status) => {
    expect((await hosts.ask(asking)).status).toBe(status)
  })
})
