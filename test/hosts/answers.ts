import { answer, chunk, cut, done, finish, refuse, role, say, stream, usage } from './upstream.ts'

const call = (index: number, id: string | undefined, name: string | undefined, args: string): string =>
  chunk({
    tool_calls: [{ index, ...(id ? { id } : {}), function: { ...(name ? { name } : {}), arguments: args } }],
  })

const manyTokens = Array.from({ length: 5000 }, (_, i) => ` token ${i}`)
const manyScripts = answer('Zoë ', '你好', ' مرحبا', ' 👩‍👩‍👧‍👦', ' a\u2028b\r\nc')
const error = `data: {"error":{"message":"The engine is full","type":"server_error","code":"overloaded"}}\n\n`

/** What an upstream can answer, by its name in a test. */
export const answers = {
  'a short answer': stream(answer('Hel', 'lo.')),
  'an answer of 5,000 tokens': stream(answer(...manyTokens)),
  'many scripts': stream(manyScripts),
  'many scripts, one byte at a time': stream(...splitBytes(manyScripts)),
  'reasoning and a refusal': stream(
    role,
    chunk({ reasoning_content: 'Is it allowed?' }),
    chunk({ refusal: 'I cannot.' }),
    finish('content_filter'),
    done,
  ),
  'tool calls': stream(
    role,
    call(0, 'call_1', 'get_weather', ''),
    call(0, undefined, undefined, '{"city":'),
    call(1, 'call_2', 'get_time', '{}'),
    call(0, undefined, undefined, '"Kyōto"}'),
    finish('tool_calls'),
    usage(20, 12),
    done,
  ),
  'an empty answer': stream(role, finish('stop'), done),
  'an answer cut by its length': stream(role, say('The'), finish('length'), done),
  'an error in the middle': stream(role, say('The begin'), error),
  'a connection that breaks in the middle': cut(role, say('The begin'), say('ning')),
  'an end without a finish reason': stream(role, say('The begin'), done),
  'nonsense in the middle': stream(role, say('The begin'), 'data: {"choices":[{"de\n\n'),
}

/** How an upstream can fail before the first token, the status that makes, and the field of the request that it is about. */
export const refusals = {
  'HTTP 401': [refuse(401, { error: { message: 'Incorrect API key provided: sk-canary-0123456789' } }), 502],
  'HTTP 404': [refuse(404, { error: { message: 'No such model', code: 'model_not_found' } }), 404, 'model'],
  'HTTP 429': [refuse(429, { error: { message: 'Slow down' } }, { 'retry-after': '7' }), 429],
  'HTTP 500': [refuse(500, { error: { message: 'at engine.py:12' } }), 502],
  'HTTP 503': [refuse(503, 'overloaded'), 503],
  'an error as the first event': [stream(error), 502],
  'a broken connection': [cut(role), 502],
  'a stream of nothing': [stream(), 502],
  'a web page': [refuse(200, '<html>', { 'content-type': 'text/html' }), 502],
} as const

function splitBytes(text: string): readonly Uint8Array[] {
  return [...Buffer.from(text)].map((byte) => Uint8Array.of(byte))
}
