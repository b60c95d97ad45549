import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseJson } from '../../../src/json-parse.ts'
import { against, hi, png, read, readMessage } from './openai-kit.ts'

const call = { id: 'call_1', type: 'function', function: { name: 'f', arguments: '{"a":1}' } }

test.each<[object, object]>([
  [
    { role: 'system', content: 'a' },
    { role: 'system', content: 'a' },
  ],
  [
    { role: 'developer', content: 'a' },
    { role: 'developer', content: 'a' },
  ],
  [
    { role: 'user', content: '', name: null },
    { role: 'user', content: '' },
  ],
  [
    { role: 'user', content: 'a', name: 'Ann', cache_control: { type: 'ephemeral' } },
    { role: 'user', content: 'a', extra: { name: 'Ann', cache_control: { type: 'ephemeral' } } },
  ],
  [
    { role: 'assistant', content: 'a', reasoning_content: 'b' },
    { role: 'assistant', content: 'a', extra: { reasoning_content: 'b' } },
  ],
  [
    { role: 'assistant', content: null, tool_calls: [call] },
    { role: 'assistant', content: '', toolCalls: [{ id: 'call_1', name: 'f', arguments: '{"a":1}' }] },
  ],
  [
    { role: 'assistant', tool_calls: [{ ...call, type: undefined, index: 0 }] },
    { role: 'assistant', content: '', toolCalls: [{ id: 'call_1', name: 'f', arguments: '{"a":1}' }] },
  ],
  [
    { role: 'assistant', content: 'a', tool_calls: [] },
    { role: 'assistant', content: 'a' },
  ],
  [
    { role: 'assistant', content: null, refusal: 'no' },
    { role: 'assistant', content: '', extra: { refusal: 'no' } },
  ],
  [
    { role: 'user', content: 'a', tool_calls: [], tool_call_id: '' },
    { role: 'user', content: 'a' },
  ],
  [
    { role: 'assistant', content: 'a', tool_call_id: '' },
    { role: 'assistant', content: 'a' },
  ],
])('%j becomes %j', (message, expected) => {
  expect(readMessage(message)).toEqual(expected)
})

test.each<[object, object]>([
  [
    { type: 'text', text: 'a' },
    { type: 'text', text: 'a' },
  ],
  [
    { type: 'text', text: 'a', cache_control: null },
    { type: 'text', text: 'a' },
  ],
  [
    { type: 'text', text: 'a', cache_control: { type: 'ephemeral' } },
    { type: 'other', part: { type: 'text', text: 'a', cache_control: { type: 'ephemeral' } } },
  ],
  [
    { type: 'image_url', image_url: { url: png, detail: 'low' } },
    { type: 'image', url: png, detail: 'low' },
  ],
  [
    { type: 'image_url', image_url: png },
    { type: 'image', url: png },
  ],
  [
    { type: 'image_url', image_url: { url: 'HTTPS://Images.example/a' } },
    { type: 'image', url: 'https://images.example/a' },
  ],
  [
    { type: 'image_url', image_url: { url: png, format: 'png' }, cache_control: {} },
    {
      type: 'other',
      part: { type: 'image_url', image_url: { url: png, format: 'png' }, cache_control: {} },
    },
  ],
  [
    { type: 'refusal', refusal: 'no' },
    { type: 'other', part: { type: 'refusal', refusal: 'no' } },
  ],
  [
    { type: 'input_audio', input_audio: { data: 'aa', format: 'wav' } },
    { type: 'other', part: { type: 'input_audio', input_audio: { data: 'aa', format: 'wav' } } },
  ],
  [
    { type: 'file', file: { file_id: 'f' } },
    { type: 'other', part: { type: 'file', file: { file_id: 'f' } } },
  ],
])('the part %j becomes %j', (part, expected) => {
  expect(readMessage({ role: 'user', content: [part] })).toEqual({ role: 'user', content: [expected] })
})

test.each<[unknown, string, RegExp]>([
  ['hi', '', /an object/],
  [{ content: 'a' }, '.role', /"system", "developer", "user", "assistant", "tool"; got nothing/],
  [{ role: 'bot', content: 'a' }, '.role', /got "bot"/],
  [{ role: 'function', name: 'f', content: 'a' }, '.role', /Send role "tool" with the `tool_call_id`/],
  [{ role: 'user' }, '.content', /a string or an array of parts; got nothing/],
  [{ role: 'user', content: null }, '.content', /got nothing/],
  [{ role: 'user', content: 7 }, '.content', /got a number/],
  [{ role: 'user', content: { type: 'text' } }, '.content', /got an object/],
  [{ role: 'user', content: ['a'] }, '.content[0]', /an object/],
  [{ role: 'user', content: [hi] }, '.content[0].type', /a string/],
  [{ role: 'user', content: [{ type: 'text' }] }, '.content[0].text', /a string/],
  [
    { role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'image_url' }] },
    '.content[1].image_url',
    /an object/,
  ],
  [
    { role: 'user', content: [{ type: 'image_url', image_url: {} }] },
    '.content[0].image_url.url',
    /a string/,
  ],
  [
    { role: 'user', content: [{ type: 'image_url', image_url: { url: png, detail: 1 } }] },
    '.content[0].image_url.detail',
    /a string/,
  ],
  [
    { role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://images.example' } }] },
    '.content[0].image_url.url',
    /https/,
  ],
  [
    { role: 'user', content: [{ type: 'image_url', image_url: 'https://127.0.0.1/a' }] },
    '.content[0].image_url',
    /IMAGE_HOSTS/,
  ],
  [
    {
      role: 'user',
      content: [{ type: 'image_url', image_url: { url: png }, Image_URL: { url: 'http://localhost' } }],
    },
    '.content[0].Image_URL',
    /PASS_FIELDS/,
  ],
  [
    { role: 'user', content: [{ type: 'video_url', video_url: { url: 'http://10.0.0.1/' } }] },
    '.content[0].video_url.url',
    /https/,
  ],
  [
    { role: 'user', content: [{ type: 'text', text: 'a', image_url: 'file:///etc/passwd' }] },
    '.content[0].image_url',
    /PASS_FIELDS/,
  ],
  [{ role: 'user', content: 'a', Content: [{}] }, '.Content', /Use `content`/],
  [{ role: 'user', content: 'a', tool_calls: [call] }, '.tool_calls', /another role/],
  [{ role: 'user', content: 'a', tool_call_id: 'c' }, '.tool_call_id', /another role/],
  [{ role: 'user', content: 'a', Content: '' }, '.Content', /Use `content`/],
  [{ role: 'user', content: 'a', images: ['http://10.0.0.1/'] }, '.images', /PASS_FIELDS/],
  [{ role: 'user', content: 'a', image_url: '//10.0.0.1/' }, '.image_url', /PASS_FIELDS/],
  [{ role: 'tool', tool_call_id: 'c', content: 'a', x: { y: 'file:///a' } }, '.x', /PASS_FIELDS/],
  [{ role: 'assistant', content: 'a', audio: { url: 'https://localhost/' } }, '.audio.url', /PASS_FIELDS/],
  [
    { role: 'assistant', tool_calls: [call, { ...call, extra_content: { file: 'ftp://a.example/' } }] },
    '.tool_calls[1].extra_content.file',
    /https/,
  ],
  [{ role: 'tool', content: 'a' }, '.tool_call_id', /a string/],
  [{ role: 'tool', tool_call_id: 'c' }, '.content', /a string/],
  [{ role: 'assistant' }, '.content', /a string/],
  [{ role: 'assistant', content: null, function_call: { name: 'f' } }, '.function_call', /Use `tool_calls`/],
  [{ role: 'assistant', tool_calls: {} }, '.tool_calls', /an array/],
  [{ role: 'assistant', tool_calls: [{ ...call, type: 'custom' }] }, '.tool_calls[0].type', /"function"/],
  [{ role: 'assistant', tool_calls: [{ ...call, id: '' }] }, '.tool_calls[0].id', /non-empty/],
  [
    { role: 'assistant', tool_calls: [{ id: 'c', function: { name: 'f', arguments: {} } }] },
    '.tool_calls[0].function.arguments',
    /a string/,
  ],
])('%j is refused by its path', (message, path, words) => {
  const refusal = against({ messages: [hi, message] })

  expect(refusal.param).toBe(`messages[1]${path}`)
  expect(refusal.message).toMatch(words)
})

test('words may begin with any address, and an answer may have cited any page', () => {
  const extra = {
    name: 'http://localhost',
    refusal: 'http://localhost/',
    reasoning: 'file:///etc/hosts',
    reasoning_content: 'http://10.0.0.1',
    reasoning_details: [{ type: 'reasoning.text', text: 'a', data: 'ftp://a' }],
    annotations: [{ type: 'url_citation', url_citation: { url: 'http://a.example/' } }],
  }

  expect(readMessage({ role: 'assistant', content: 'a', ...extra })).toHaveProperty('extra', extra)
})

test('images come from any public host, or from those that are named', () => {
  const image = (url: string) => ({
    messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url } }] }],
  })

  expect(against(image('https://any.example/a')).message).toBe('nothing')
  expect(against(image('https://any.example/a'), { imageHosts: [] }).message).toContain('IMAGE_HOSTS')
  expect(against(image('https://any.example/a'), { imageHosts: ['any.example'] }).message).toBe('nothing')
  expect(against(image('https://any.example/a'), { imageHosts: undefined }).message).toBe('nothing')
})

test('no refusal repeats the words of a conversation', () => {
  const secret = 'canary'
  for (const message of [
    secret,
    { role: 'user', content: { secret } },
    { role: 'user', content: [secret] },
    { role: 'user', content: [{ type: 'text', text: [secret] }] },
    { role: 'user', content: [{ type: 'image_url', image_url: { url: `http://a.example/${secret}` } }] },
    { role: 'assistant', content: 5, refusal: secret },
    { role: 'assistant', tool_calls: secret },
    { role: 'assistant', tool_calls: [{ id: 'c', function: { name: 'f', arguments: { secret } } }] },
  ]) {
    const { message: words, param } = against({ messages: [message] })
    expect(param).toMatch(/^messages\[0\]/)
    expect(words).not.toContain(secret)
  }
})

test('any JSON is read or refused, never a crash', () => {
  const field = fc.constantFrom(
    'role',
    'content',
    'tool_calls',
    'tool_call_id',
    'type',
    'text',
    'image_url',
    'url',
    'function',
    'name',
    'arguments',
    '__proto__',
    'constructor',
  )
  const word = fc.constantFrom(
    'user',
    'assistant',
    'tool',
    'text',
    'image_url',
    'function',
    png,
    'https://a.example/',
  )
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 6 },
      word,
      fc.jsonValue({ maxDepth: 1 }),
      fc.dictionary(field, tie('tree')),
      fc.array(tie('tree'), { maxLength: 3 }),
    ),
  }))
  fc.assert(
    fc.property(fc.array(tree, { maxLength: 3 }), fc.dictionary(field, tree), (messages, fields) => {
      const body = parseJson(JSON.stringify({ ...fields, messages }))
      const { message } = against(body)
      expect(message).not.toBe('')
    }),
    { numRuns: 500 },
  )
})

describe('results', () => {
  const asks = { role: 'assistant', content: null, tool_calls: [call] }
  const result = { role: 'tool', tool_call_id: 'call_1', content: 'a', name: 'f' }

  test('answer a call of an earlier message', () => {
    const messages = [hi, asks, result]

    expect(read({ messages }).chat.messages[2]).toEqual({
      role: 'tool',
      toolCallId: 'call_1',
      content: 'a',
      extra: { name: 'f' },
    })
  })

  test.each([
    ['alone', [result], 0],
    ['before their call', [hi, result, asks], 1],
    ['of another id', [hi, asks, result, { ...result, tool_call_id: 'call_2' }], 3],
  ])('%s are refused', (_, messages, index) => {
    expect(against({ messages }).param).toBe(`messages[${index}].tool_call_id`)
  })

  test('of a tool that runs on this server are refused', () => {
    const refused = against({ messages: [hi, asks, result] }, { serverTools: new Set(['f']) })

    expect(refused.param).toBe('messages[1].tool_calls[0].function.name')
  })
})
