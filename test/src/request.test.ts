import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ChatError } from '../../src/errors.ts'
import { parseJson } from '../../src/json-parse.ts'
import { readChatRequest } from '../../src/request.ts'

const canary = 'canary-9f31'
const limits = { maxMessages: 200 }
const question = [{ role: 'user', content: 'hi' }]

function refusal(read: () => unknown): ChatError {
  try {
    read()
  } catch (error) {
    if (error instanceof ChatError) return error
    throw error
  }
  return expect.fail('it was accepted')
}

const read = (body: unknown) => readChatRequest(body, limits)

describe('a good request', () => {
  test('is read with every field, in words of nobody’s wire format', () => {
    const messages = [...question, { role: 'assistant', content: 'yes?' }, { role: 'user', content: '' }]

    expect(
      read({
        messages,
        model: 'm',
        stream: false,
        n: 1,
        temperature: 0,
        top_p: 1,
        max_tokens: 5,
        stop: ['a', 'b', 'c', 'd'],
        seed: -7,
        presence_penalty: -2,
        frequency_penalty: 2,
        reasoning_effort: 'low',
      }),
    ).toEqual({
      stream: false,
      chat: {
        model: 'm',
        messages,
        temperature: 0,
        topP: 1,
        maxOutputTokens: 5,
        stop: ['a', 'b', 'c', 'd'],
        seed: -7,
        presencePenalty: -2,
        frequencyPenalty: 2,
        reasoningEffort: 'low',
      },
    })
  })

  test('may be a prompt alone, and is streamed unless it says otherwise', () => {
    expect(read({ prompt: 'hi' })).toMatchObject({ stream: true, chat: { messages: question } })
  })

  test('may have fields that are null: they count as absent', () => {
    const { stream, chat } = read({ messages: question, prompt: null, model: null, stop: null, stream: null })

    expect(stream).toBe(true)
    expect(Object.values(chat).filter((value) => value !== undefined)).toEqual([question])
  })

  test('may name its limit by its newer name, which wins', () => {
    expect(read({ prompt: 'hi', max_tokens: 9, max_completion_tokens: 4 }).chat.maxOutputTokens).toBe(4)
  })

  test('may have as many messages as allowed, and one more is refused', () => {
    const many = (count: number) => Array.from({ length: count }, () => ({ role: 'user', content: canary }))

    expect(read({ messages: many(200) }).chat.messages).toHaveLength(200)
    expect(refusal(() => read({ messages: many(201) }))).toMatchObject({
      code: 'limit-exceeded',
      status: 422,
      param: 'messages',
      message: expect.stringContaining('at most 200 messages; got 201'),
    })
  })
})

/** What is sent, what the message says, the field it names. */
const bad: [unknown, string | RegExp, string?][] = [
  [[], 'The body must be a JSON object; got an array.'],
  ['text', 'The body must be a JSON object; got a string.'],
  [null, 'The body must be a JSON object; got null.'],
  [7, 'The body must be a JSON object; got a number.'],
  [{}, '`messages` must be an array; got nothing.', 'messages'],
  [{ messages: [] }, '`messages` must be a non-empty array; got an empty array.', 'messages'],
  [{ messages: canary }, '`messages` must be an array; got a string.', 'messages'],
  [{ messages: [canary] }, '`messages[0]` must be an object; got a string.', 'messages[0]'],
  [{ messages: [null] }, '`messages[0]` must be an object; got null.', 'messages[0]'],
  [
    { messages: [{ role: 'user' }] },
    '`messages[0].content` must be a string; got nothing.',
    'messages[0].content',
  ],
  [
    { messages: [...question, { role: 'user', content: [{ type: 'text', text: canary }] }] },
    '`messages[1].content` must be a string; got an array.',
    'messages[1].content',
  ],
  [
    { messages: [{ role: 'bot', content: canary }] },
    '`messages[0].role` must be one of "user", "assistant"; got "bot".',
    'messages[0].role',
  ],
  [
    { messages: [{ content: canary }] },
    /`messages\[0\]\.role` must be .*; got nothing\./,
    'messages[0].role',
  ],
  [
    { messages: [{ role: 'user', content: canary, name: 'x' }] },
    '`messages[0].name` is not a field of this request.',
    'messages[0].name',
  ],
  [
    { messages: [{ role: 'user', content: 4111111111111111 }] },
    '`messages[0].content` must be a string; got a number.',
    'messages[0].content',
  ],
  [{ prompt: 'hi', messages: question }, 'Send `messages` or `prompt`, not both.', 'prompt'],
  [{ prompt: '' }, '`prompt` must be a text that is not empty; got an empty one.', 'prompt'],
  [{ prompt: ' \n' }, '`prompt` must be a text that is not empty; got an empty one.', 'prompt'],
  [{ prompt: 3 }, '`prompt` must be a text that is not empty; got a number.', 'prompt'],
  [{ prompt: [canary] }, '`prompt` must be a text that is not empty; got an array.', 'prompt'],
  [{ messages: question, n: 2 }, '`n` must be 1; got 2.', 'n'],
  [{ messages: question, model: '' }, '`model` must be a non-empty string; got "".', 'model'],
  [{ messages: question, model: 5 }, '`model` must be a string; got 5.', 'model'],
  [
    { messages: question, model: 'm'.repeat(201) },
    /`model` must be at most 200 characters long; got "m{40}"/,
    'model',
  ],
  [{ messages: question, stream: 'yes' }, '`stream` must be a boolean; got "yes".', 'stream'],
  [{ messages: question, temperature: 2.1 }, '`temperature` must be at most 2; got 2.1.', 'temperature'],
  [{ messages: question, temperature: -0.1 }, '`temperature` must be at least 0; got -0.1.', 'temperature'],
  [{ messages: question, temperature: '1' }, '`temperature` must be a number; got "1".', 'temperature'],
  [{ messages: question, temperature: Infinity }, /`temperature` must be .*; got Infinity\./, 'temperature'],
  [{ messages: question, top_p: 1.5 }, '`top_p` must be at most 1; got 1.5.', 'top_p'],
  [{ messages: question, max_tokens: 0 }, '`max_tokens` must be at least 1; got 0.', 'max_tokens'],
  [{ messages: question, max_tokens: 1.5 }, '`max_tokens` must be a whole number; got 1.5.', 'max_tokens'],
  [
    { messages: question, max_completion_tokens: -1 },
    '`max_completion_tokens` must be at least 1; got -1.',
    'max_completion_tokens',
  ],
  [
    { messages: question, stop: ['a', 'b', 'c', 'd', canary] },
    /`stop` must be a string or an array of at most 4/,
    'stop',
  ],
  [{ messages: question, stop: [1] }, /`stop` must be a string or an array of at most 4 strings/, 'stop'],
  [
    { messages: question, stop: 5 },
    /`stop` must be a string or an array of at most 4 strings; got a number/,
    'stop',
  ],
  [{ messages: question, seed: 0.5 }, '`seed` must be a whole number; got 0.5.', 'seed'],
  [
    { messages: question, presence_penalty: 3 },
    '`presence_penalty` must be at most 2; got 3.',
    'presence_penalty',
  ],
  [
    { messages: question, frequency_penalty: -3 },
    '`frequency_penalty` must be at least -2; got -3.',
    'frequency_penalty',
  ],
  [
    { messages: question, reasoning_effort: '' },
    /`reasoning_effort` must be a non-empty string/,
    'reasoning_effort',
  ],
  [{ messages: question, tools: [] }, '`tools` is not a field of this request.', 'tools'],
  [
    JSON.parse('{"prompt":"hi","__proto__":{"model":"x"}}'),
    '`__proto__` is not a field of this request.',
    '__proto__',
  ],
  [{ prompt: 'hi', constructor: 1 }, '`constructor` is not a field of this request.', 'constructor'],
]

describe('a bad request', () => {
  test.each(
    bad.map(([body, message, param]) => [JSON.stringify(body)?.slice(0, 80), body, message, param] as const),
  )('%s is refused with a sentence that names field, expectation and value', (_, body, message, param) => {
    const error = refusal(() => read(body))

    expect(error).toMatchObject({ code: 'invalid-request', status: 400 })
    expect(error.param || undefined).toBe(param)
    if (typeof message === 'string') expect(error.message).toBe(message)
    else expect(error.message).toMatch(message)
    expect(error.message).not.toContain(canary)
  })

  test.each(['system', 'developer', 'tool', 'function'])('a page may not speak as %s', (role) => {
    const error = refusal(() => read({ messages: [...question, { role, content: canary }] }))

    expect(error).toMatchObject({ code: 'role-not-allowed', status: 422, param: 'messages[1].role' })
    expect(error.message).toContain(`got "${role}"`)
    expect(error.message).not.toContain(canary)
  })

  test('of any shape is refused by a ChatError, or read: nothing else is thrown, no prototype is changed', () => {
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom('user', 'system', 'm', 1, 2))
    const fields = ['messages', 'prompt', 'model', 'stream', 'n', 'stop', 'seed', 'top_p', '__proto__', 'x']
    const message = fc.dictionary(fc.constantFrom('role', 'content', '__proto__', 'constructor'), value)
    const body = fc.oneof(
      fc.jsonValue(),
      fc.dictionary(fc.constantFrom(...fields), value),
      fc.record({ messages: fc.array(message) }),
    )
    fc.assert(
      fc.property(body, (given) => {
        const text = JSON.stringify(given)
        try {
          read(parseJson(text))
        } catch (error) {
          expect(error).toBeInstanceOf(ChatError)
          expect((error as ChatError).status).toBeLessThan(500)
        }
        expect(({} as Record<string, unknown>)['model']).toBeUndefined()
      }),
      { numRuns: 1000 },
    )
  })

  test('never has the words of a conversation in its message', () => {
    const words = fc.oneof(fc.constant(canary), fc.constant([canary]), fc.constant({ text: canary }))
    const spoken = fc.record({ role: fc.constantFrom('user', 'system', 'bot', 1, null), content: words })
    const bodies = fc.oneof(
      fc.record({ messages: fc.array(fc.oneof(spoken, words)), n: fc.constantFrom(1, 2, canary.length) }),
      fc.record({ messages: words }),
      fc.record({ prompt: words, messages: fc.array(spoken) }),
      fc.record({ prompt: fc.constantFrom([canary], { canary }), stop: words }),
      fc.record({ prompt: fc.constant('hi'), stop: fc.oneof(words, fc.array(words)) }),
    )
    fc.assert(
      fc.property(bodies, (body) => {
        try {
          read(body)
        } catch (error) {
          expect((error as ChatError).message).not.toContain(canary)
        }
      }),
    )
  })
})

describe('JSON', () => {
  function nested(depth: number, [open, close]: readonly [string, string] = ['[', ']']): string {
    return open.repeat(depth) + close.repeat(depth)
  }

  test.each(['', ' \n'])('that is empty is refused: %j', (text) => {
    expect(refusal(() => parseJson(text))).toMatchObject({
      code: 'invalid-json',
      status: 400,
      message: 'The body is empty; expected a JSON object.',
    })
  })

  test.each([`{"prompt":"${canary}`, `{"prompt":${canary}}`, canary, '{"a":1,}', "{'a':1}", '\u0000'])(
    'that is malformed is refused without being repeated: %j',
    (text) => {
      const error = refusal(() => parseJson(text))

      expect(error.code).toBe('invalid-json')
      expect(error.message).not.toContain('canary')
    },
  )

  test('may follow one byte order mark', () => {
    expect(parseJson('\ufeff{"prompt":"\ufeffhi"}')).toEqual({ prompt: '\ufeffhi' })
    expect(refusal(() => parseJson('\ufeff\ufeff{}')).code).toBe('invalid-json')
    expect(refusal(() => parseJson('\ufeff')).code).toBe('invalid-json')
  })

  test('may be 32 levels deep, and not 33', () => {
    expect(parseJson(nested(32))).toBeDefined()
    expect(parseJson(nested(32, ['{"a":', '}']).replace(':}', ':1}'))).toBeDefined()
    expect(refusal(() => parseJson(nested(33)))).toMatchObject({ code: 'limit-exceeded', status: 422 })
    expect(refusal(() => parseJson(nested(33, ['{"a":', '}']).replace(':}', ':1}'))).code).toBe(
      'limit-exceeded',
    )
  })

  test.each([
    ['response_format', 96],
    ['tools', 96],
    ['messages', 31],
    ['Tools', 31],
  ])('may be so deep below `%s`: %i', (name, depth) => {
    expect(parseJson(`{"${name}":${nested(depth)}}`)).toBeDefined()
    expect(refusal(() => parseJson(`{"${name}":${nested(depth + 1)}}`)).message).toMatch(
      /^The body is nested more than 32 levels deep \(96 below `response_format` and `tools`\)\.$/,
    )
    expect(refusal(() => parseJson(`[{"${name}":${nested(32)}}]`)).code).toBe('limit-exceeded')
  })

  test.each([
    '__proto__',
    '\\u005f_proto__',
    '__prot\\u006F__',
    '__\\u0070roto__',
    '__p\\u0072oto__',
    '__pro\\u0074o__',
  ])('loses a key %s at every level, and nothing else', (key) => {
    const text = `{"a":[{"${key}":{"b":1},"c":"_"}],"${key}":null,"d":{"${key}":[],"e":[null,"\\u00e9"]}}`

    expect(JSON.stringify(parseJson(text))).toBe('{"a":[{"c":"_"}],"d":{"e":[null,"é"]}}')
    expect(parseJson(`{"a":"${key}"}`)).toEqual({ a: '__proto__' })
  })

  test('that is nested without end, or very wide, is answered quickly', () => {
    const began = performance.now()

    expect(refusal(() => parseJson(nested(131_000))).code).toBe('limit-exceeded')
    expect(refusal(() => parseJson('['.repeat(262_144))).code).toBe('limit-exceeded')
    expect(refusal(() => parseJson(`{"a":${'['.repeat(30)}`)).code).toBe('invalid-json')
    refusal(() => read(parseJson(`[${'[],'.repeat(80_000)}[]]`)))

    expect(performance.now() - began).toBeLessThan(2000)
  })
})

test('a prompt is one message of the user', () => {
  expect(readChatRequest({ prompt: 'hi' }, { maxMessages: 200 }).chat.messages).toEqual(question)
  expect(refusal(() => readChatRequest({ prompt: 7 }, { maxMessages: 200 })).message).toContain(
    'got a number',
  )
})
