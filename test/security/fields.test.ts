import express from 'express'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { vendorFields } from '../../src/dialects/openai-known.ts'
import { createHandler, createOpenAI } from '../../src/index.ts'
import { type Simulator, startSimulator } from '../../simulator/index.ts'
import { type Host, host, relay } from '../adapters/host.ts'

let simulator: Simulator
let strict: Host
/** Its operator lets some fields pass. */
let open: Host

const passFields = [
  'min_tokens',
  'documents',
  'store',
  'metadata',
  'messages.id',
  'messages.content.custom',
  'tools.function.x_note',
  'chat_template_kwargs.custom',
]

beforeAll(async () => {
  simulator = await startSimulator({ firstTokenMs: 0, tokensPerSecond: Infinity })
  const upstream = createOpenAI({ baseURL: simulator.url, apiKey: 'sk-upstream-0123456789' })
  const service = { upstream, retries: 0, maxBodyBytes: 16 * 1024 * 1024 }
  strict = await host(express().use(relay(service)))
  open = await host(express().use(relay({ ...service, passFields })))
})
afterAll(async () => {
  await Promise.all([strict.close(), open.close()])
  await simulator.close()
})

let before = 0
beforeEach(() => {
  before = simulator.requests.length
})

const user = { role: 'user', content: 'hi' }

/** What the upstream received, and what the client got for a request with these fields. */
async function send(fields: object, at: Host = strict) {
  const response = await fetch(`${at.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [user], ...fields }),
  })
  const body = (await response.json()) as { error?: { param: string; message: string } }
  const received = simulator.requests.slice(before).map((request) => request.body as Record<string, unknown>)
  return { status: response.status, error: body.error, received }
}

const inner = 'http://169.254.169.254/latest'
const fn = (parameters: object) => ({ type: 'function', function: { name: 'f', parameters } })
const parts = (part: object) => ({ messages: [{ role: 'user', content: [part] }] })

/** Knobs of model servers, and of proxies before them: vLLM, SGLang, llama.cpp, TGI, Ollama, LiteLLM, OpenRouter, others. */
const knobs: Readonly<Record<string, unknown>> = {
  chat_template: '{{ messages }}',
  chat_template_kwargs: { documents: [] },
  min_tokens: 100_000,
  logits_processors: ['evil.module'],
  webhook_url: 'https://evil.example/',
  webhook: 'https://evil.example/',
  callback_url: 'https://evil.example/',
  callbacks: ['langfuse'],
  success_callback: ['x'],
  documents: [{ url: inner }],
  guided_json: { $ref: inner },
  guided_regex: '(a+)+$',
  guided_choice: ['a'],
  guided_grammar: 'root ::= "a"',
  guided_decoding_backend: 'outlines',
  structured_outputs: { regex: '(a+)+$' },
  structural_tag: '{}',
  regex: '(a+)+$',
  ebnf: 'root ::= "a"',
  grammar: 'root ::= "a"',
  grammar_lazy: true,
  json_schema: { $ref: inner },
  format: 'json',
  samplers: ['top_k'],
  backend_sampling: true,
  logit_processor: 'x',
  custom_logit_processor: 'x',
  custom_params: {},
  lora_name: 'x',
  lora: [{ id: 0, scale: 1 }],
  adapter_id: 'x',
  adapter_source: 'hub',
  kv_transfer_params: { remote_host: '10.0.0.1' },
  bootstrap_host: '10.0.0.1',
  disagg_prefill_dp_rank: 0,
  data_parallel_rank: 1,
  vllm_xargs: {},
  priority: -1000,
  ignore_eos: true,
  stop_token_ids: [1],
  bad_words: ['a'],
  bad_words_ids: [[1]],
  allowed_token_ids: [1],
  prompt_logprobs: 20,
  return_token_ids: true,
  return_tokens_as_token_ids: true,
  return_hidden_states: true,
  echo: true,
  add_generation_prompt: false,
  continue_final_message: true,
  add_special_tokens: true,
  skip_special_tokens: false,
  include_stop_str_in_output: true,
  spaces_between_special_tokens: false,
  truncate_prompt_tokens: 1,
  length_penalty: 2,
  early_stopping: true,
  use_beam_search: true,
  num_beams: 8,
  best_of: 8,
  mm_processor_kwargs: { num_crops: 1000 },
  media_io_kwargs: {},
  cache_salt: 'x',
  request_id: 'x',
  rid: 'x',
  session_id: 'x',
  n_probs: 100,
  n_keep: -1,
  n_discard: 1,
  n_indent: 1,
  n_cmpl: 8,
  t_max_predict_ms: 1e9,
  id_slot: 0,
  slot_id: 0,
  'speculative.n_max': 1000,
  post_sampling_probs: true,
  response_fields: ['x'],
  image_data: [{ data: 'x' }],
  keep_alive: -1,
  num_ctx: 1_000_000,
  num_gpu: 0,
  num_thread: 1000,
  raw: true,
  template: '{{ .Prompt }}',
  suffix: 'x',
  system: 'Obey',
  context: [1],
  options: { num_ctx: 1 },
  tags: ['x'],
  guardrails: ['none'],
  disable_guardrails: true,
  drop_params: true,
  allowed_openai_params: ['x'],
  mock_response: 'x',
  mock_timeout: true,
  mock_tool_calls: [],
  num_retries: 100,
  timeout: 1e9,
  caching: true,
  cache: { 'no-store': true },
  ttl: 1,
  no_log: true,
  'no-log': true,
  turn_off_message_logging: true,
  litellm_metadata: {},
  litellm_call_id: 'x',
  prompt_id: 'x',
  prompt_variables: {},
  user_config: {},
  router_settings_override: {},
  specific_deployment: true,
  vertex_credentials: {},
  aws_access_key_id: 'x',
  model_id: 'x',
  custom_tokenizer: 'x',
  models: ['expensive'],
  fallbacks: ['expensive'],
  provider: { order: ['x'] },
  plugins: [{ id: 'web' }],
  web_search_options: {},
  web_search: true,
  enable_search: true,
  search_options: {},
  search_parameters: { mode: 'on' },
  search_domain_filter: ['x'],
  file_ids: ['x'],
  cached_content: 'x',
  safety_settings: [],
  venice_parameters: {},
  store: true,
  service_tier: 'priority',
  background: true,
  conversation: 'conv_1',
  previous_response_id: 'resp_1',
  prompt: { id: 'pmpt_1' },
  instructions: 'Obey',
  include: ['x'],
  truncation: 'auto',
  max_tool_calls: 100,
  audio: { voice: 'alloy', format: 'wav' },
  modalities: ['text', 'audio'],
  metadata: { webhook: 'https://evil.example/hook' },
  moderation: { model: 'gpt-4.1' },
  prediction: { type: 'content', content: 'x', url: inner },
  reasoning: { effort: 'low', model: 'x' },
  thinking: { type: 'enabled', url: inner },
  usage: { include: true, webhook: inner },
  constructor: { prototype: {} },
  toString: 1,
  hasOwnProperty: 1,
  Top_K: 1,
  anything: 1,
}

describe('fields that are not on the list', () => {
  test.each(Object.entries(knobs))('`%s` is refused by name and reaches no upstream', async (name, value) => {
    const { status, error, received } = await send({ [name]: value })

    expect(received).toEqual([])
    expect(status).toBe(400)
    expect(error?.param).toMatch(new RegExp(`^${name.replace(/[.$]/g, '\\$&')}`))
    expect(error?.message).toContain(`\`${error?.param}\``)
  })

  test('the refusal says how the operator can let a field pass', async () => {
    const { error } = await send({ min_tokens: 5 })

    expect(error?.message).toBe(
      '`min_tokens` is not a field that this service passes on. Leave it out, or let the operator add min_tokens to PASS_FIELDS.',
    )
  })

  const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }
  const turn = (more: object) => ({ messages: [user, { role: 'assistant', content: 'a', ...more }] })
  test.each<[string, object]>([
    ['messages[0].id', { messages: [{ ...user, id: 'x' }] }],
    ['messages[0].toString', { messages: [{ ...user, toString: 'x' }] }],
    ['messages[0].images', { messages: [{ ...user, images: ['x'] }] }],
    ['messages[1].experimental_attachments', turn({ experimental_attachments: [] })],
    ['messages[1].audio.url', turn({ audio: { url: inner } })],
    ['messages[1].annotations[0].file.url', turn({ annotations: [{ type: 'file', file: { url: inner } }] })],
    ['messages[1].reasoning_details[0].url', turn({ reasoning_details: [{ url: inner }] })],
    ['messages[0].cache_control.url', { messages: [{ ...user, cache_control: { url: inner } }] }],
    ['messages[1].tool_calls[0].x', turn({ tool_calls: [{ ...call, x: 1 }] })],
    ['messages[1].tool_calls[0].function.x', turn({ tool_calls: [{ ...call, function: { ...call.function, x: 1 } }] })],
    ['messages[0].content[0].audio_url', parts({ type: 'audio_url', audio_url: { url: inner } })],
    ['messages[0].content[0].image_embeds', parts({ type: 'image_embeds', image_embeds: 'x' })],
    ['messages[0].content[0].document_url', parts({ type: 'document_url', document_url: inner })],
    ['messages[0].content[0].input_file', parts({ type: 'input_file', file_url: inner })],
    ['messages[0].content[0].constructor', parts({ type: 'constructor' })],
    ['messages[0].content[0].x', parts({ type: 'text', text: 'a', x: 1 })],
    ['messages[0].content[0].file.file_url', parts({ type: 'file', file: { file_url: inner } })],
    ['messages[0].content[0].input_audio.url', parts({ type: 'input_audio', input_audio: { url: inner } })],
    ['messages[0].content[0].image_url.x', parts({ type: 'image_url', image_url: { url: 'https://a.example/', x: 1 } })],
    ['tools[0].x', { tools: [{ ...fn({}), x: 1 }] }],
    ['tools[0].function.x', { tools: [{ type: 'function', function: { name: 'f', x: 1 } }] }],
    ['tool_choice.x', { tool_choice: { type: 'function', function: { name: 'f' }, x: 1 } }],
    ['tool_choice.function.x', { tool_choice: { type: 'function', function: { name: 'f', x: 1 } } }],
    ['response_format.x', { response_format: { type: 'text', x: 1 } }],
    ['response_format.type', { response_format: { type: 'grammar', grammar: 'x' } }],
    ['response_format.type', { response_format: { type: 'structural_tag', structures: [] } }],
    ['response_format.json_schema.x', { response_format: { type: 'json_schema', json_schema: { name: 'a', x: 1 } } }],
  ])('within others `%s` is refused as well', async (param, fields) => {
    const { status, error, received } = await send(fields)

    expect({ status, param: error?.param, received }).toEqual({ status: 400, param, received: [] })
  })
}) // prettier-ignore

/** What clients send: each value reaches the upstream as it is. */
const sent: Readonly<Record<string, unknown>> = {
  store: false,
  service_tier: 'flex',
  metadata: { session: 'a', empty: '' },
  user: 'u-1',
  safety_identifier: 'h',
  prompt_cache_key: 'k',
  prompt_cache_retention: '24h',
  logit_bias: { 50256: -100 },
  verbosity: 'low',
  prediction: { type: 'content', content: [{ type: 'text', text: 'see http://10.0.0.1/' }] },
  moderation: { model: 'omni-moderation-latest', policy: { input: { mode: 'block' } } },
  top_k: 40,
  min_p: 0.05,
  reasoning: { effort: 'high', exclude: false },
  usage: { include: true },
  transforms: [],
  thinking: { type: 'disabled' },
  think: 'high',
  chat_template_kwargs: { enable_thinking: false },
  reasoning_format: 'auto',
  cache_prompt: true,
}

test.each(Object.entries(sent))('`%s` passes as it is', async (name, value) => {
  const { status, received } = await send({ [name]: value })

  expect(status).toBe(200)
  expect(received[0]).toHaveProperty(name, value)
})

test('each vendor field says who documents or sends it, and none takes an address or a text of any kind', async () => {
  for (const [name, [, from]] of Object.entries(vendorFields)) {
    expect(from).toMatch(/\w/)
    for (const value of [inner, { url: inner }, [inner], { $ref: inner }])
      expect({ name, ...(await send({ [name]: value })) }).toMatchObject({ status: 400, received: [] })
  }
})

test('what is known within messages, calls and tools passes as it is', async () => {
  const cache_control = { type: 'ephemeral' }
  const call = {
    id: 'c',
    type: 'function',
    function: { name: 'f', arguments: '{}' },
    extra_content: { google: { thought_signature: 'c2ln' } },
  }
  const messages = [
    { role: 'user', name: 'Ann', content: [{ type: 'text', text: 'a', cache_control }] },
    { role: 'assistant', content: null, reasoning_content: 'b', tool_calls: [call] },
    { role: 'tool', tool_call_id: 'c', content: 'd' },
    { role: 'user', content: [{ type: 'video_url', video_url: { url: 'https://v.example/a.mp4' } }] },
  ]
  const tools = [{ ...fn({ type: 'object' }), cache_control }]

  const { status, received } = await send({ messages, tools })

  expect(status).toBe(200)
  expect(received[0]).toMatchObject({ messages, tools })
})

test('what the official client adds to an answer it parsed is left out: it is there already', async () => {
  const fnCall = { name: 'f', arguments: '{}', parsed_arguments: {} }
  const answer = { role: 'assistant', content: '{}', parsed: {}, tool_calls: [{ id: 'c', type: 'function', function: fnCall }] } // prettier-ignore
  const { status, received } = await send({
    messages: [user, answer, { role: 'tool', tool_call_id: 'c', content: 'd' }],
  })

  expect(status).toBe(200)
  expect(JSON.stringify(received[0])).not.toContain('parsed')
})

describe('what the operator lets pass', () => {
  test('passes, with paths too', async () => {
    const fields = {
      messages: [{ ...user, id: 'm1', content: [{ type: 'custom', a: 1 }] }],
      min_tokens: 3,
      store: true,
      tools: [{ type: 'function', function: { name: 'f', x_note: 'n' } }],
      chat_template_kwargs: { custom: 1, enable_thinking: true },
    }

    const { status, received } = await send(fields, open)

    expect(status).toBe(200)
    expect(received[0]).toMatchObject(fields)
  })

  test.each<[string, object]>([
    ['documents[0].url', { documents: [{ url: inner }] }],
    ['documents[0].url', { documents: [{ url: '/etc/passwd' }] }],
    ['documents', { documents: 'file:///etc/passwd' }],
    ['metadata.a[1].b', { metadata: { a: ['x', { b: inner }] } }],
    ['messages[0].id', { messages: [{ ...user, id: ' \tht\ntp://10.0.0.1/' }] }],
    ['messages[0].content[0].custom.url', parts({ type: 'custom', url: inner })],
  ])('is still searched for addresses: %s', async (param, fields) => {
    const { status, error, received } = await send(fields, open)

    expect({ status, param: error?.param, received }).toEqual({ status: 400, param, received: [] })
  })

  test.each([
    'model',
    'Model',
    'messages',
    'stream',
    'n',
    'tools',
    'max_tokens',
    'fallbacks',
    'api_base',
    'apiBase',
    'provider',
    'extra_body',
    'audio',
    'prompt',
    'response_format',
    'messages.role',
    'messages.content',
    'tools.function',
    '__proto__',
    'a..b',
    '',
    'a b',
    '*',
    'messages.__proto__.x',
  ])('cannot be %j', (name) => {
    // prettier-ignore
    expect(() => createHandler({ upstream: () => expect.fail(), model: 'm', passFields: [name] })).toThrow(
      /`passFields` must/,
    )
  })
})

describe('addresses', () => {
  test.each<[string, object]>([
    ['messages[0].content[0].image_url.url', parts({ type: 'image_url', image_url: { url: inner } })],
    ['messages[0].content[0].video_url.url', parts({ type: 'video_url', video_url: { url: '//10.0.0.1/a' } })],
    ['messages[0].content[0].video_url.url', parts({ type: 'video_url', video_url: { url: 'file:///etc/passwd' } })],
    ['messages[0].content[0].input_audio.data', parts({ type: 'input_audio', input_audio: { data: inner, format: 'wav' } })],
    ['messages[0].content[0].file.file_data', parts({ type: 'file', file: { file_data: inner } })],
    ['messages[0].content[0].file.file_id', parts({ type: 'file', file: { file_id: inner } })],
['messages[0].content[0].video_url.url', parts({ type: 'video_url', video_url: { url: `https://v.example/${'a'.repeat(20_000)}` } })],
    ['user', { user: `h${'\n'.repeat(500)}ttp://10.0.0.1/` }],
    ['prompt_cache_key', { prompt_cache_key: inner }],
    ['metadata.a', { metadata: { a: 'https://public.example/' } }],
  ])('are held to the rules of images: %s', async (param, fields) => {
    const { status, error, received } = await send(fields)

    expect({ status, param: error?.param, received }).toEqual({ status: 400, param, received: [] })
  })
}) // prettier-ignore

/** Schemas that lead elsewhere, with the path of what does. */
const remote: readonly (readonly [path: string, schema: object])[] = [
  ['.$ref', { $ref: 'http://169.254.169.254/schema' }],
  ['.$ref', { $ref: 'https://public.example/schema.json#/definitions/a' }],
  ['.$ref', { $ref: 'file:///etc/passwd' }],
  ['.$ref', { $ref: 'other.json' }],
  ['.$ref', { $ref: '//evil.example/a' }],
  ['.$ref', { $ref: ' #/a' }],
  ['.$ref', { $ref: '' }],
  ['.$dynamicRef', { $dynamicRef: inner }],
  ['.$recursiveRef', { $recursiveRef: inner }],
  ['.properties.a.$ref', { properties: { a: { $ref: inner } } }],
  ['.properties.$ref', { properties: { $ref: inner } }],
  ['.properties.$ref.$ref', { properties: { $ref: { $ref: inner } } }],
  ['.properties.default.$ref', { properties: { default: { $ref: inner } } }],
  ['.properties.enum.items.$ref', { properties: { enum: { items: { $ref: inner } } } }],
  ['.definitions.a.items[1].$ref', { definitions: { a: { items: [{}, { $ref: inner }] } } }],
  ['.$defs.a.if.$ref', { $defs: { a: { if: { $ref: inner } } } }],
  ['.allOf[0].anyOf[0].not.$ref', { allOf: [{ anyOf: [{ not: { $ref: inner } }] }] }],
  ['.dependencies.a.$ref', { dependencies: { a: { $ref: inner } } }],
  ['.patternProperties.^a.$ref', { patternProperties: { '^a': { $ref: inner } } }],
  ['.default.$ref', { default: { $ref: inner } }],
  ['.examples[0].a.$ref', { examples: [{ a: { $ref: inner } }] }],
  ['.x-vendor.a[0].$ref', { 'x-vendor': { a: [{ $ref: inner }] } }],
  ['.$schema', { $schema: 'https://evil.example/schema' }],
  ['.$schema', { $schema: 'http://json-schema.org@evil.example/schema' }],
  ['.$id', { $id: 'https://evil.example/schema', properties: { a: { $ref: '#/b' } } }],
  ['.properties.a.id', { properties: { a: { id: inner } } }],
  ['.externalDocs.url', { externalDocs: { url: inner } }],
  ['.discriminator.mapping.a', { discriminator: { mapping: { a: inner } } }],
]

test.each(remote)('a schema that leads elsewhere at `%s` is refused everywhere', async (path, schema) => {
  const places: readonly (readonly [string, object])[] = [
    ['tools[1].function.parameters', { tools: [fn({}), fn(schema)] }],
    ['response_format.json_schema.schema', { response_format: { type: 'json_schema', json_schema: { name: 'a', schema } } }],
    ['response_format.schema', { response_format: { type: 'json_object', schema } }],
  ] // prettier-ignore
  for (const [place, fields] of places) {
    const { status, error, received } = await send(fields)
    expect({ status, param: error?.param, received }).toEqual({
      status: 400,
      param: place + path,
      received: [],
    })
    expect(error?.message).not.toContain('169.254')
  }
})

test('a schema with all its parts in itself passes, whatever its words say', async () => {
  const schema = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $id: 'trip',
    title: 'https://title.example/',
    description: 'http://10.0.0.1/',
    $defs: { a: { $dynamicAnchor: 'node', type: 'string', pattern: '^https?://' } },
    properties: {
      $ref: { $ref: '#/$defs/a' },
      url: { type: 'string', format: 'uri', default: 'http://localhost/', examples: ['http://10.0.0.1/'] },
      kind: { enum: ['http://a.example/', 'b'], const: 'http://a.example/' },
      list: { items: { $dynamicRef: '#node' }, $comment: 'file:///a' },
      default: { type: 'string' },
    },
    required: ['url'],
  }

  const { status, received } = await send({ tools: [fn(schema)] })

  expect(status).toBe(200)
  expect(received[0]).toMatchObject({ tools: [fn(schema)] })
})
