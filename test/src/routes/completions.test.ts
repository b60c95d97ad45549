import { describe, expect, test } from 'vitest'
import { ChatError } from '../../../src/errors.ts'
import { createHandler, type HandlerOptions } from '../../../src/handler.ts'
import { errorIn, hi as question, json } from '../dialects/openai-kit.ts'
import { type Asking, hel, http, lo, script, soon, type Step, stop, textOf, until } from '../kit.ts'

const hi = [question]
const path = '/v1/chat/completions'

type Options = Partial<HandlerOptions> & { readonly steps?: readonly Step[] }

function create({ steps = [hel, lo, stop], ...options }: Options = {}) {
  const { upstream, ...rest } = script(steps)
  let ids = 0
  const fixed = { model: 'm', createId: () => `r-${++ids}`, now: () => 1_700_000_000_999, retries: 0 }
  const handler = createHandler({ ...fixed, upstream, ...options })
  const ask = (url: string, asking: Asking = {}) => soon(handler(http(url, asking)))
  return { ...rest, handler, ask }
}

describe.each(['/v1', ''])('at %j', (base) => {
  test('a question is answered by a document, or by a stream where that is asked for', async () => {
    const { ask } = create()

    const document = await ask(`${base}/chat/completions`, { body: { messages: hi } })
    const stream = await ask(`${base}/chat/completions`, { body: { messages: hi, stream: true } })

    expect(await json(document)).toMatchObject({
      object: 'chat.completion',
      model: 'm',
      choices: [{ message: { content: 'Hello' } }],
    })
    expect(stream.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'x-reply-id': 'r-2',
    })
    expect(await textOf(stream)).toMatch(
      /^data: \{"id":"chatcmpl-r-2".+"Hel".+"lo".+"stop".+data: \[DONE\]\n\n$/s,
    )
  })

  test('models are listed and found, whatever their names hold', async () => {
    const { ask } = create({ models: ['org/model:free', 'a b'] })

    expect(await json(await ask(`${base}/models`))).toMatchObject({
      object: 'list',
      data: [{ id: 'm' }, { id: 'org/model:free' }, { id: 'a b' }],
    })
    for (const name of ['m', 'org/model:free', 'org/model:free/', 'org%2Fmodel%3Afree', 'a%20b']) {
      expect(await json(await ask(`${base}/models/${name}`))).toEqual({
        id: decodeURIComponent(name).replace(/\/$/, ''),
        object: 'model',
        created: 0,
        owned_by: 'deltarelay',
      })
    }
  })

  test.each(['M', 'm//', 'org/model', '%6D%20', '..%2Fm'])('there is no model %j', async (name) => {
    const reply = await create().ask(`${base}/models/${name}`)

    expect(reply.status).toBe(404)
    expect(await errorIn(reply)).toMatchObject({
      code: 'model_not_found',
      param: 'model',
      type: 'invalid_request_error',
    })
  })

  test('one slash at the end changes nothing', async () => {
    const { ask } = create()

    const answer = await ask(`${base}/chat/completions/`, { body: { messages: hi } })

    expect(await json(answer)).toMatchObject({ object: 'chat.completion' })
    expect(await json(await ask(`${base}/models/`))).toMatchObject({ object: 'list' })
    expect((await ask(`${base}/responses/`, { body: {} })).unmatched).toBeUndefined()
    expect((await ask(`${base}/chat/completions//`, { body: { messages: hi } })).status).toBe(404)
  })

  test('any model can be found where any may be asked', async () => {
    expect(await json(await create({ models: '*' }).ask(`${base}/models/any/one`))).toMatchObject({
      id: 'any/one',
    })
  })

  test.each(['responses', 'completions', 'embeddings'])(
    'there is no POST /%s, and the refusal says what there is',
    async (name) => {
      const reply = await create().ask(`${base}/${name}`, { body: { input: 'hi' } })

      expect(reply.status).toBe(404)
      expect(reply.unmatched).toBeUndefined()
      expect(await errorIn(reply)).toMatchObject({
        code: 'not-found',
        message: expect.stringMatching(/POST \/v1\/chat\/completions|model's own server/) as string,
      })
    },
  )

  test('the wrong method is refused in the words of this API', async () => {
    const rows = [
      ['GET', 'chat/completions', 'POST, OPTIONS'],
      ['DELETE', 'chat/completions', 'POST, OPTIONS'],
      ['POST', 'models', 'GET, HEAD, OPTIONS'],
      ['DELETE', 'models/m', 'GET, HEAD, OPTIONS'],
    ] as const
    for (const [method, place, allow] of rows) {
      const reply = await create().ask(`${base}/${place}`, { method })
      expect(reply).toMatchObject({ status: 405, headers: { allow } })
      expect(await errorIn(reply)).toMatchObject({ code: 'method-not-allowed' })
    }
  })
})

describe('beside other routes', () => {
  test('what is not there is told in the words of this API, and left to whoever embeds the service', async () => {
    const { ask } = create()

    for (const asking of [{}, { body: {} }, { method: 'PUT' }, { method: 'OPTIONS' }]) {
      const reply = await ask('/v1/files', asking)
      expect(reply).toMatchObject({ status: 404, unmatched: true })
      expect(await errorIn(reply)).toMatchObject({ type: 'invalid_request_error', code: 'not-found' })
    }
    for (const path of ['/v1', '/V1/chat/completions']) {
      expect(await errorIn(await ask(path))).toMatchObject({ code: 'not-found' })
    }
    const other = await ask('/v2/files')
    expect(other).toMatchObject({ status: 404, unmatched: true })
    expect(await json(other)).not.toHaveProperty('error.type')
  })

  test('the replies of our own API keep their addresses', async () => {
    const { ask } = create()
    await textOf(await ask('/chat', { body: { prompt: 'hi' } }))

    expect((await ask('/chat/r-1')).status).toBe(200)
    expect((await ask('/chat/completions2')).status).toBe(404)
    expect(await json(await ask('/chat/completions2'))).toEqual({
      error: { code: 'not-found', message: expect.any(String) as string },
    })
    expect(await json(await ask('/chat/r-1', { method: 'DELETE' }))).toEqual({ id: 'r-1', status: 'ended' })
  })
})

describe('failures of a request', () => {
  test.each<[string, Asking, object]>([
    ['no JSON', { body: '{' }, { status: 400, code: 'invalid-json' }],
    ['no content type', { method: 'POST' }, { status: 415, code: 'unsupported-media-type' }],
    [
      'a body that is too large',
      { body: { messages: hi, x: 'x'.repeat(300_000) } },
      { status: 413, code: 'body-too-large' },
    ],
    ['a wrong field', { body: { messages: hi, n: 2 } }, { status: 400, code: 'invalid-request', param: 'n' }],
    [
      'a model that may not be asked',
      { body: { messages: hi, model: 'M' } },
      { status: 404, code: 'model_not_found', param: 'model' },
    ],
  ])('%s is refused before anything is asked', async (_, asking, expected) => {
    const { ask, asked } = create()

    const reply = await ask(path, asking)

    expect({ status: reply.status, ...(await errorIn(reply)) }).toMatchObject(expected)
    expect(asked).toEqual([])
  })

  test.each([true, false])(
    'of the upstream before the first word is a status (stream: %j)',
    async (stream) => {
      const { ask } = create({
        steps: [new ChatError('upstream-unavailable', 'Busy.', { retryAfterMs: 3000 })],
      })

      const reply = await ask(path, { body: { messages: hi, stream } })

      expect(reply).toMatchObject({
        status: 503,
        headers: { 'retry-after': '3', 'x-should-retry': 'true', 'x-reply-id': 'r-1' },
      })
      expect(await errorIn(reply)).toEqual({
        message: 'Busy.',
        type: 'server_error',
        param: null,
        code: 'upstream-unavailable',
      })
    },
  )

  test('of the upstream after it are an error for both, and no end', async () => {
    const { ask } = create({ steps: [hel, new ChatError('upstream-truncated', 'Cut.')] })

    const document = await ask(path, { body: { messages: hi } })
    const stream = await textOf(await ask(path, { body: { messages: hi, stream: true } }))

    expect(document.status).toBe(502)
    expect(await errorIn(document)).toMatchObject({ message: 'Cut.', code: 'upstream-truncated' })
    expect(stream).toMatch(
      /"Hel".+data: \{"error":\{"message":"Cut\.","type":"server_error","param":null,"code":"upstream-truncated"\}\}\n\n$/s,
    )
    expect(stream).not.toMatch(/\[DONE\]|"finish_reason":"/)
  })

  test('of the upstream after it are told with its own words', async () => {
    const failed = new ChatError('upstream-error', 'Too long.', {
      retryable: false,
      status: 400,
      param: 'messages',
      upstreamCode: 'context_length_exceeded',
    })
    const { ask } = create({ steps: [hel, failed] })

    const stream = await textOf(await ask(path, { body: { messages: hi, stream: true } }))

    expect(stream).toMatch(
      /"type":"invalid_request_error","param":"messages","code":"context_length_exceeded"\}\}\n\n$/,
    )
  })

  test.each([true, false])('a reply that somebody stops is an error (stream: %j)', async (stream) => {
    const { ask, handler, open } = create({ steps: [hel, 'wait', stop], acceptWaitMs: 10 })
    const pending = handler(http(path, { body: { messages: hi, stream } }))
    await until(() => open() === 1)

    await ask('/chat/r-1', { method: 'DELETE' })

    const reply = await soon(pending)
    expect(reply.status).toBe(stream ? 200 : 499)
    expect(await textOf(reply)).toMatch(/\{"error":\{"message":"The reply was stopped\.".+\}\}\s*$/)
  })
})

describe('a choice of tools', () => {
  const tools = [{ type: 'function', function: { name: 'f' } }]
  const ours = [{ name: 'g', schema: { type: 'object' } }]

  test.each<[object, Options, object]>([
    [{ tools: [], tool_choice: 'auto', parallel_tool_calls: true }, {}, {}],
    [{ tool_choice: 'none', parallel_tool_calls: false }, {}, {}],
    [{ tool_choice: 'required' }, {}, { toolChoice: 'required' }],
    [
      { tools, tool_choice: 'auto', parallel_tool_calls: true },
      {},
      { toolChoice: 'auto', parallelToolCalls: true },
    ],
    [{ tool_choice: 'none' }, { tools: ours }, { toolChoice: 'none' }],
  ])('%j is sent only where there are tools', async (fields, options, expected) => {
    const { ask, asked } = create(options)

    await ask(path, { body: { messages: hi, ...fields } })

    const { toolChoice, parallelToolCalls } = asked[0]!
    expect({ toolChoice, parallelToolCalls }).toEqual(expected)
  })
})

test('nobody can come back, so an answer ends when its reader leaves', async () => {
  const { handler, open } = create({ steps: [hel, 'wait', stop], lingerMs: 60_000 })
  const reply = await handler(http(path, { body: { messages: hi, stream: true } }))
  const body = reply.body as AsyncIterableIterator<string>
  await body.next()

  await body.return?.()

  await soon(reply.settled)
  expect(open()).toBe(0)
})

test('silence is filled with a single line', async () => {
  const { handler, release } = create({ steps: ['wait', stop], acceptWaitMs: 5, heartbeatMs: 5 })
  const reply = await soon(handler(http(path, { body: { messages: hi, stream: true } })))
  const body = reply.body as AsyncIterableIterator<string>

  const first = await soon(body.next())
  release()

  expect(first.value).toBe(':\n')
  expect(await textOf({ body })).toMatch(/^(?::\n)*data: \{.+"role".+\[DONE\]\n\n$/s)
})
