import { describe, expect, test } from 'vitest'
import { aiSdk, aiSdkFrom } from '../../../src/dialects/ai-sdk.ts'
import { createUiChunks } from '../../../src/dialects/ai-sdk-stream.ts'
import { ChatError } from '../../../src/errors.ts'
import type { ChatDelta, FinishReason, UpstreamDelta } from '../../../src/types.ts'

const start: ChatDelta = { type: 'start', id: 'r1', model: 'm', createdAt: 5 }
const stop: ChatDelta = { type: 'finish', reason: 'stop' }
const text = (text: string): ChatDelta => ({ type: 'text', text })
const call = (more: Partial<Extract<UpstreamDelta, { type: 'tool-call' }>>): ChatDelta => ({
  type: 'tool-call',
  index: 0,
  arguments: '',
  ...more,
})
const weather = { id: 'call-1', name: 'weather' }
const calls: ChatDelta = { type: 'finish', reason: 'tool-calls' }

/** The frames of deltas, as data. */
function frames(deltas: readonly ChatDelta[], dialect = aiSdk): unknown[] {
  const encode = dialect.createEncoder({ replyId: 'r1' })
  const wire = deltas.map((delta, index) => encode(delta, index + 1)).join('')
  const blocks = wire.split('\n\n')
  expect(blocks.pop()).toBe('')
  return blocks.map((block) => {
    expect(block).toMatch(/^data: [^\n]+$/)
    const data = block.slice('data: '.length)
    return data === '[DONE]' ? data : (JSON.parse(data) as unknown)
  })
}

/** What these deltas are between the beginning of a step and the end of the answer. */
function inside(...deltas: readonly ChatDelta[]): unknown[] {
  const [begin, step, ...rest] = frames(
    [start, ...deltas, deltas.at(-1)?.type === 'finish' ? [] : stop].flat(),
  )
  expect([begin, step]).toMatchObject([{ type: 'start' }, { type: 'start-step' }])
  return rest.slice(
    0,
    rest.findLastIndex((chunk) => (chunk as { type?: string }).type === 'finish-step'),
  )
}

describe('the frames of an answer', () => {
  test('say how it begins and how it ends', () => {
    expect(frames([start, stop])).toEqual([
      { type: 'start', messageId: 'r1', messageMetadata: { model: 'm', createdAt: 5 } },
      { type: 'start-step' },
      { type: 'finish-step' },
      { type: 'finish', finishReason: 'stop' },
      '[DONE]',
    ])
  })

  test('name the message of the page that the answer goes on with', () => {
    expect(frames([{ ...start, continues: 'msg-7' }])[0]).toMatchObject({ type: 'start', messageId: 'msg-7' })
  })

  test('hold a text in a block of its own', () => {
    expect(inside(text('Hel'), text(''), text('lo'))).toEqual([
      { type: 'text-start', id: 'text-1' },
      { type: 'text-delta', id: 'text-1', delta: 'Hel' },
      { type: 'text-delta', id: 'text-1', delta: 'lo' },
      { type: 'text-end', id: 'text-1' },
    ])
  })

  test('close a block when another kind begins', () => {
    const thought: ChatDelta = { type: 'reasoning', text: 'Hm.' }
    const refusal: ChatDelta = { type: 'refusal', text: 'No.' }

    expect(inside(thought, text('Well'), refusal, thought)).toEqual([
      { type: 'reasoning-start', id: 'reasoning-1' },
      { type: 'reasoning-delta', id: 'reasoning-1', delta: 'Hm.' },
      { type: 'reasoning-end', id: 'reasoning-1' },
      { type: 'text-start', id: 'text-2' },
      { type: 'text-delta', id: 'text-2', delta: 'Well' },
      { type: 'text-end', id: 'text-2' },
      { type: 'text-start', id: 'refusal-3', providerMetadata: { deltarelay: { refusal: true } } },
      { type: 'text-delta', id: 'refusal-3', delta: 'No.' },
      { type: 'text-end', id: 'refusal-3' },
      { type: 'reasoning-start', id: 'reasoning-4' },
      { type: 'reasoning-delta', id: 'reasoning-4', delta: 'Hm.' },
      { type: 'reasoning-end', id: 'reasoning-4' },
    ])
  })

  test('leave a text open while a source is named', () => {
    const source = { type: 'source', url: 'https://a.example/' } as const

    expect(inside(text('a'), source, { ...source, title: 'B' }, text('b'))).toEqual([
      { type: 'text-start', id: 'text-1' },
      { type: 'text-delta', id: 'text-1', delta: 'a' },
      { type: 'source-url', sourceId: 'r1-1', url: 'https://a.example/' },
      { type: 'source-url', sourceId: 'r1-2', url: 'https://a.example/', title: 'B' },
      { type: 'text-delta', id: 'text-1', delta: 'b' },
      { type: 'text-end', id: 'text-1' },
    ])
  })

  test('tell the usage at the end, and nothing of token probabilities', () => {
    const usage: ChatDelta = { type: 'usage', inputTokens: 3, outputTokens: 4, cachedInputTokens: 1 }

    const told = frames([start, { type: 'text', text: 'a', logprobs: [{ token: 'secret' }] }, usage, stop])

    expect(JSON.stringify(told)).not.toContain('secret')
    expect(told.at(-2)).toEqual({
      type: 'finish',
      finishReason: 'stop',
      messageMetadata: { usage: { inputTokens: 3, outputTokens: 4, cachedInputTokens: 1 } },
    })
  })

  test.each<[FinishReason, string]>([
    ['stop', 'stop'],
    ['length', 'length'],
    ['content-filter', 'content-filter'],
    ['tool-calls', 'tool-calls'],
    ['other', 'other'],
  ])('end with the reason %s', (reason, finishReason) => {
    expect(frames([start, { type: 'finish', reason }]).at(-2)).toEqual({ type: 'finish', finishReason })
  })

  test('say that an answer was stopped, and end it properly', () => {
    expect(frames([start, text('a'), { type: 'finish', reason: 'cancelled' }]).slice(4)).toEqual([
      { type: 'text-end', id: 'text-1' },
      { type: 'finish-step' },
      { type: 'abort' },
      { type: 'finish', finishReason: 'other' },
      '[DONE]',
    ])
  })

  test('say that an answer is not whole which ended because nobody read it', () => {
    const abandoned: ChatDelta = { type: 'finish', reason: 'cancelled', raw: 'abandoned' }

    expect(frames([start, text('a'), abandoned]).slice(4)).toEqual([
      { type: 'text-end', id: 'text-1' },
      { type: 'error', errorText: 'The answer was ended because nobody was reading it.' },
      '[DONE]',
    ])
  })

  test('tell the usage of an answer that failed before its error', () => {
    const usage: ChatDelta = { type: 'usage', inputTokens: 3, outputTokens: 4 }
    const failed: ChatDelta = { type: 'error', code: 'deadline', message: 'Too late.', retryable: true }

    expect(frames([start, usage, failed]).slice(2)).toEqual([
      { type: 'message-metadata', messageMetadata: { usage: { inputTokens: 3, outputTokens: 4 } } },
      { type: 'error', errorText: 'Too late.' },
      '[DONE]',
    ])
  })

  test('end with the error of an answer that failed', () => {
    const failed: ChatDelta = {
      type: 'error',
      code: 'upstream-truncated',
      message: 'It broke.',
      retryable: true,
    }

    expect(frames([start, text('a'), failed]).slice(4)).toEqual([
      { type: 'text-end', id: 'text-1' },
      { type: 'error', errorText: 'It broke.' },
      '[DONE]',
    ])
  })
})

describe('a call', () => {
  test('of the page is complete when the answer ends', () => {
    const pieces = [call({ ...weather, arguments: '{"city"' }), call({ arguments: ':"Rome"}' })]

    expect(inside(...pieces, calls)).toEqual([
      { type: 'tool-input-start', toolCallId: 'call-1', toolName: 'weather' },
      { type: 'tool-input-delta', toolCallId: 'call-1', inputTextDelta: '{"city"' },
      { type: 'tool-input-delta', toolCallId: 'call-1', inputTextDelta: ':"Rome"}' },
      { type: 'tool-input-available', toolCallId: 'call-1', toolName: 'weather', input: { city: 'Rome' } },
    ])
  })

  test('without arguments has an empty object of them', () => {
    expect(inside(call(weather), calls).at(-1)).toMatchObject({ type: 'tool-input-available', input: {} })
  })

  test.each(['{"city":', 'Rome', '{"__proto__":{}}', '{"constructor":{"prototype":{}}}'])(
    'with the arguments %s shows them as they are, and what is wrong',
    (args) => {
      expect(inside(call({ ...weather, arguments: args }), calls).at(-1)).toEqual({
        type: 'tool-input-error',
        toolCallId: 'call-1',
        toolName: 'weather',
        input: args,
        errorText: 'The arguments are not valid JSON.',
      })
    },
  )

  test.each<ChatDelta>([
    { type: 'finish', reason: 'length' },
    { type: 'finish', reason: 'content-filter' },
    { type: 'finish', reason: 'cancelled' },
    { type: 'finish', reason: 'other', raw: 'cut' },
    { type: 'error', code: 'upstream-error', message: 'No.', retryable: false },
  ])('of an answer that was cut is never shown as complete: $type $reason', (end) => {
    const shown = frames([start, call({ ...weather, arguments: '{"a":1}' }), end])

    expect(shown).toContainEqual({ type: 'tool-input-start', toolCallId: 'call-1', toolName: 'weather' })
    expect(JSON.stringify(shown)).not.toMatch(/tool-input-(?:available|error)|tool-output/)
  })

  test('stays apart from another one that comes at the same time', () => {
    const other = { index: 1, id: 'call-2', name: 'time' }

    const shown = inside(
      call({ ...weather, arguments: '{' }),
      call({ ...other, arguments: '[' }),
      call({ arguments: '}' }),
      call({ index: 1, arguments: ']' }),
      calls,
    )

    expect(shown.slice(-2)).toMatchObject([
      { type: 'tool-input-available', toolCallId: 'call-1', input: {} },
      { type: 'tool-input-available', toolCallId: 'call-2', input: [] },
    ])
  })

  test('has an id of its own where the model gave none, or the same twice', () => {
    const shown = inside(
      call({ name: 'a' }),
      call({ index: 1, id: 'x', name: 'b' }),
      call({ index: 2, id: 'x', name: 'c' }),
      calls,
    )

    expect(shown.slice(0, 3)).toMatchObject([
      { toolCallId: 'r1-0' },
      { toolCallId: 'x' },
      { toolCallId: 'r1-2' },
    ])
  })

  test('waits for its name', () => {
    expect(inside(call({ arguments: '{' }), call({ ...weather, arguments: '}' }), calls)).toMatchObject([
      { type: 'tool-input-start', toolCallId: 'call-1', toolName: 'weather' },
      { type: 'tool-input-delta', inputTextDelta: '{}' },
      { type: 'tool-input-available', input: {} },
    ])
  })
})

describe('a call that this service runs', () => {
  const mine = call({ ...weather, arguments: '{"city":"Rome"}', server: true })
  const fields = { toolCallId: 'call-1', dynamic: true, providerExecuted: true }

  test('is dynamic and nothing for the page to run, and what follows its result is a new step', () => {
    const result: ChatDelta = { type: 'tool-result', id: 'call-1', result: { degrees: 21 } }

    expect(inside(text('Let me see.'), mine, result, text('21.'))).toEqual([
      { type: 'text-start', id: 'text-1' },
      { type: 'text-delta', id: 'text-1', delta: 'Let me see.' },
      { type: 'text-end', id: 'text-1' },
      { type: 'tool-input-start', toolName: 'weather', ...fields },
      { type: 'tool-input-delta', toolCallId: 'call-1', inputTextDelta: '{"city":"Rome"}' },
      { type: 'tool-input-available', toolName: 'weather', input: { city: 'Rome' }, ...fields },
      { type: 'tool-output-available', output: { degrees: 21 }, ...fields },
      { type: 'finish-step' },
      { type: 'start-step' },
      { type: 'text-start', id: 'text-2' },
      { type: 'text-delta', id: 'text-2', delta: '21.' },
      { type: 'text-end', id: 'text-2' },
    ])
  })

  test.each<[unknown, unknown]>([
    [undefined, null],
    [null, null],
    ['', ''],
    [0, 0],
    [[1], [1]],
    [JSON.parse('{"__proto__":1}'), '{"__proto__":1}'],
    [{ constructor: { prototype: 1 } }, '{"constructor":{"prototype":1}}'],
    [{ constructor: 'Ferrari' }, { constructor: 'Ferrari' }],
  ])('may give %j, and the page gets %j', (result, output) => {
    expect(inside(mine, { type: 'tool-result', id: 'call-1', result }).at(-1)).toEqual({
      type: 'tool-output-available',
      output,
      ...fields,
    })
  })

  test('keeps its result in an answer that ended for a reason that nobody knows', () => {
    const result: ChatDelta = { type: 'tool-result', id: 'call-1', result: 21 }

    expect(inside(mine, result, { type: 'finish', reason: 'other' }).slice(-2)).toEqual([
      { type: 'tool-input-available', toolName: 'weather', input: { city: 'Rome' }, ...fields },
      { type: 'tool-output-available', output: 21, ...fields },
    ])
  })

  test('tells what went wrong', () => {
    const result: ChatDelta = { type: 'tool-result', id: 'call-1', result: 'No such city.', isError: true }

    expect(inside(mine, result).slice(-2)).toEqual([
      { type: 'tool-input-available', toolName: 'weather', input: { city: 'Rome' }, ...fields },
      { type: 'tool-output-error', errorText: 'No such city.', ...fields },
    ])
  })

  test('tells what was wrong with its arguments', () => {
    const cut = call({ ...weather, arguments: '{"ci', server: true })
    const result: ChatDelta = { type: 'tool-result', id: 'call-1', result: 'Not run.', isError: true }

    expect(frames([start, cut, result, { type: 'finish', reason: 'length' }]).slice(4, -3)).toEqual([
      { type: 'tool-input-error', toolName: 'weather', input: '{"ci', errorText: 'Not run.', ...fields },
    ])
  })

  test('has one result, and a result has a call', () => {
    const result: ChatDelta = { type: 'tool-result', id: 'call-1', result: 1 }

    const shown = inside(mine, result, { ...result, result: 2 }, { ...result, id: 'call-9' })

    expect(shown.filter((chunk) => JSON.stringify(chunk).includes('tool-output'))).toHaveLength(1)
  })
})

describe('going on in the middle', () => {
  const answer = [start, text('a'), text('b'), call({ ...weather, arguments: '{}' }), calls]
  const all = frames(answer)

  test.each([...all.keys()])('at chunk %i gives what comes from there', (from) => {
    expect(frames(answer, aiSdkFrom(from, 9))).toEqual(all.slice(from))
  })

  test('counts chunks, and not the end', () => {
    const { read } = createUiChunks('r1')

    expect(answer.flatMap(read)).toHaveLength(all.length - 1)
  })

  test('does not keep back that the log was lost', () => {
    const encode = aiSdkFrom(100, 9).createEncoder({ replyId: 'r1' })

    expect(encode(start, 1)).toBe('')
    expect(encode({ type: 'error', code: 'gone', message: 'Lost.', retryable: false })).toBe(
      'data: {"type":"error","errorText":"Lost."}\n\ndata: [DONE]\n\n',
    )
  })
})

test('the head of a stream says what it is and whose, and how far a resumed one had come', () => {
  expect(aiSdk.headers?.('r1')).toEqual({
    'x-vercel-ai-ui-message-stream': 'v1',
    'x-workflow-run-id': 'r1',
  })
  expect(aiSdkFrom(0, 8).headers?.('r1')).toMatchObject({
    'x-workflow-run-id': 'r1',
    'x-workflow-stream-tail-index': '7',
  })
})

test('a refusal is the message as plain text, with the code in the head', async () => {
  const error = new ChatError('overloaded', 'Too many.', { retryAfterMs: 1500 })

  const { settled, ...refusal } = aiSdk.refuse(error, { 'x-reply-id': 'r1' })

  await settled
  expect(refusal).toEqual({
    status: 503,
    headers: {
      'content-type': 'text/plain; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'x-error-code': 'overloaded',
      'x-reply-id': 'r1',
      'retry-after': '2',
    },
    body: 'Too many.',
  })
})
