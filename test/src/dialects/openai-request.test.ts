import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseJson } from '../../../src/json-parse.ts'
import { against, hi, read, readWith } from './openai-kit.ts'

describe('fields of a request', () => {
  test('a bare question is one document from the default model, without usage', () => {
    expect(read({ messages: [hi] })).toEqual({
      stream: false,
      usage: false,
      chat: { messages: [hi] },
    })
  })

  test.each([
    [{ model: 'm' }, { model: 'm' }],
    [{ stream: true }, { stream: true }],
    [
      { stream: null, model: null, n: null, tools: null, stream_options: null, audio: null },
      { stream: false },
    ],
    [{ n: 1 }, {}],
    [{ modalities: ['text'] }, {}],
    [
      { temperature: 0, top_p: 1, seed: -1 },
      { temperature: 0, topP: 1, seed: -1 },
    ],
    [
      { presence_penalty: 2, frequency_penalty: -2 },
      { presencePenalty: 2, frequencyPenalty: -2 },
    ],
    [{ max_tokens: 5 }, { maxOutputTokens: 5 }],
    [{ max_tokens: 5, max_completion_tokens: 7 }, { maxOutputTokens: 7 }],
    [{ max_tokens: 7, max_completion_tokens: 5 }, { maxOutputTokens: 5 }],
    [{ stop: ['a', 'b'] }, { stop: ['a', 'b'] }],
    [{ reasoning_effort: 'minimal' }, { reasoningEffort: 'minimal' }],
    [{ parallel_tool_calls: false }, { parallelToolCalls: false }],
    [
      { logprobs: true, top_logprobs: 20 },
      { logprobs: true, topLogprobs: 20 },
    ],
    [{ response_format: { type: 'json_object' } }, { responseFormat: { type: 'json_object' } }],
    [{ stream_options: { include_usage: true } }, { usage: true }],
    [{ stream_options: { include_usage: false, include_obfuscation: false } }, { usage: false }],
    [{ tools: [] }, { tools: undefined }],
    [{ tool_choice: 'required' }, { toolChoice: 'required' }],
    [{ tool_choice: { type: 'function', function: { name: 'f' } } }, { toolChoice: { name: 'f' } }],
    [
      {
        tools: [{ type: 'function', function: { name: 'f', parameters: { type: 'object' }, strict: true } }],
      },
      { tools: [{ name: 'f', parameters: { type: 'object' }, strict: true }] },
    ],
    [
      { tools: [{ type: 'function', function: { name: 'f', description: null }, note: null }] },
      { tools: [{ name: 'f' }] },
    ],
    [
      { tools: [{ type: 'function', function: { name: 'f', parameters: { default: null, enum: [null] } } }] },
      { tools: [{ name: 'f', parameters: { default: null, enum: [null] } }] },
    ],
  ])('%j becomes %j', (fields, expected) => {
    expect(readWith(fields)).toMatchObject(expected)
    expect(readWith(fields)).not.toHaveProperty('extra')
  })

  test('known fields that are not handled here go along as they are', () => {
    const fields = {
      top_k: 40,
      logit_bias: { 50256: -100 },
      user: 'u',
      metadata: { a: '1' },
      reasoning: { effort: 'low' },
    }

    expect(readWith(fields)).toHaveProperty('extra', fields)
  })

  test('a prototype in the body reaches nothing', () => {
    const body = parseJson(
      '{"messages":[{"role":"user","content":"hi","__proto__":{"a":1}}],"__proto__":{"stream":true}}',
    )

    const { stream, chat } = read(body)

    expect(stream).toBe(false)
    expect([chat, chat.messages[0]].map((value) => 'extra' in value!)).toEqual([false, false])

    const beside = parseJson('{"messages":[{"role":"user","content":"hi"}],"__proto__":{"n":2},"top_k":1}')
    const { extra } = read(beside).chat
    expect(extra).toEqual({ top_k: 1 })
    expect(Object.getPrototypeOf(extra)).toBe(Object.prototype)
  })

  test.each<[object, string, RegExp]>([
    [{ n: 2 }, 'n', /must be 1 \(ask once for each answer\); got 2/],
    [{ n: 0 }, 'n', /must be 1/],
    [{ model: '' }, 'model', /non-empty/],
    [{ stream: 'true' }, 'stream', /a boolean; got "true"/],
    [{ temperature: 3 }, 'temperature', /at most 2; got 3/],
    [{ max_tokens: 0 }, 'max_tokens', /at least 1/],
    [{ max_completion_tokens: 1.5 }, 'max_completion_tokens', /a whole number/],
    [{ modalities: ['text', 'audio'] }, 'modalities', /answers are text/],
    [{ modalities: 'text' }, 'modalities', /\["text"\]/],
    [{ response_format: 'json' }, 'response_format', /object whose `type`/],
    [{ response_format: {} }, 'response_format', /object whose `type`/],
    [{ top_logprobs: 21 }, 'top_logprobs', /at most 20/],
    [{ top_logprobs: -1 }, 'top_logprobs', /at least 0/],
    [{ logprobs: 5 }, 'logprobs', /a boolean/],
    [{ stream_options: true }, 'stream_options', /an object/],
    [{ stream_options: { include_usage: 'yes' } }, 'stream_options.include_usage', /a boolean/],
    [{ stream_options: { include_obfuscation: true } }, 'stream_options.include_obfuscation', /leave it out/],
    [
      { stream_options: { continuous_usage_stats: true } },
      'stream_options.continuous_usage_stats',
      /leave it out/,
    ],
    [{ tools: {} }, 'tools', /an array/],
    [{ tools: Array.from({ length: 129 }, () => ({})) }, 'tools', /at most 128 tools; got 129/],
    [{ tools: ['f'] }, 'tools[0]', /an object/],
    [{ tools: [{ type: 'custom', custom: { name: 'f' } }] }, 'tools[0].type', /"function"; got "custom"/],
    [{ tools: [{ type: 'web_search' }] }, 'tools[0].type', /"function"; got "web_search"/],
    [{ tools: [{ name: 'f', input_schema: {} }] }, 'tools[0].type', /"function"; got nothing/],
    [{ tools: [{ type: 'function' }] }, 'tools[0].function', /an object/],
    [{ tools: [{ type: 'function', function: { name: '' } }] }, 'tools[0].function.name', /non-empty/],
    [
      { tools: [{ type: 'function', function: { name: 'f', parameters: [] } }] },
      'tools[0].function.parameters',
      /object/,
    ],
    [
      { tools: [{ type: 'function', function: { name: 'f', strict: 1 } }] },
      'tools[0].function.strict',
      /a boolean/,
    ],
    [{ tool_choice: 'f' }, 'tool_choice', /"none", "auto", "required"/],
    [{ tool_choice: { type: 'custom', custom: { name: 'f' } } }, 'tool_choice.type', /"function"/],
    [{ tool_choice: { type: 'function', name: 'f' } }, 'tool_choice.function', /an object/],
  ])('%j is refused by name', (fields, param, words) => {
    const refusal = against({ messages: [hi], ...fields })

    expect(refusal.param).toBe(param)
    expect(refusal.message).toMatch(words)
    expect(refusal.message).toContain(`\`${param}\``)
  })
})

describe('ways around what this service holds', () => {
  test.each([
    ['max_output_tokens', 'max_tokens'],
    ['max_new_tokens', 'max_tokens'],
    ['num_predict', 'max_tokens'],
    ['n_predict', 'max_tokens'],
    ['maxOutputTokens', 'max_tokens'],
    ['best_of', 'Ask once'],
    ['functions', 'tools'],
    ['function_call', 'tool_choice'],
    ['audio', 'text'],
    ['models', 'model'],
    ['fallbacks', 'model'],
    ['route', 'model'],
    ['providerOptions', 'model'],
    ['provider_options', 'model'],
    ['plugins', 'model'],
    ['draft_model', 'model'],
    ['backend', 'model'],
    ['lora', 'model'],
    ['lora_path', 'model'],
    ['lora_request', 'model'],
    ['provider', 'server'],
    ['aws_bedrock_runtime_endpoint', 'server'],
    ['mcp_servers', 'fetch'],
    ['data_sources', 'fetch'],
    ['kv_transfer_params', 'fetch'],
    ['image_data', '`image_url`'],
    ['images', '`image_url`'],
    ['api_key', 'server'],
    ['api_base', 'server'],
    ['base_url', 'server'],
    ['baseURL', 'server'],
    ['extra_headers', 'Headers'],
    ['extra_body', 'body'],
    ['options', 'body'],
    // Go reads a field in any case, and the last one wins.
    ['Model', '`model`'],
    ['MAX_TOKENS', '`max_tokens`'],
    ['maxTokens', '`max_tokens`'],
    ['max_to\u212aens', '`max_tokens`'],
    ['me\u017f\u017fages', '`messages`'],
    ['N', '`n`'],
    ['toolChoice', '`tool_choice`'],
  ])('`%s` is refused, and the refusal says what to do: %s', (name, fix) => {
    const refusal = against({ messages: [hi], [name]: 'x' })

    expect(refusal.param).toBe(name)
    expect(refusal.message).toContain('cannot be used here')
    expect(refusal.message).toContain(fix)
  })

  test('no way of writing a name lets a second model or limit through', () => {
    const variants = fc.constantFrom(
      'model',
      'models',
      'max_tokens',
      'max_completion_tokens',
      'n',
      'best_of',
      'api_base',
    )
    const change = fc.func(fc.constantFrom('same', 'upper', 'none', 'double'))
    const changes = {
      same: (c: string) => c,
      upper: (c: string) => c.toUpperCase(),
      none: (c: string) => (c === '_' ? '' : c),
      double: (c: string) => (c === '_' ? '__' : c),
    }
    fc.assert(
      fc.property(variants, change, (name, choose) => {
        const written = [...name].map((letter, index) => changes[choose(index)](letter)).join('')
        if (written === name) return
        expect(against({ messages: [hi], [written]: 7 }).param).toBe(written)
      }),
    )
  })
})

describe('bodies of other APIs', () => {
  test.each<[unknown, string | undefined, RegExp]>([
    [{ input: 'hi' }, 'input', /Responses API; this is Chat Completions\. Send `messages`/],
    [{ prompt: 'hi' }, 'prompt', /Completions API; this is Chat Completions/],
    [{}, 'messages', /an array; got nothing/],
    [{ messages: 'hi' }, 'messages', /an array/],
    [{ messages: [] }, 'messages', /non-empty/],
    [{ messages: Array.from({ length: 6 }, () => hi) }, 'messages', /at most 5/],
    [[hi], undefined, /must be a JSON object/],
    ['hi', undefined, /must be a JSON object/],
    [null, undefined, /must be a JSON object/],
  ])('%j is refused with a sentence about it', (body, param, words) => {
    expect(against(body)).toEqual({ param, message: expect.stringMatching(words) as string })
  })
})
