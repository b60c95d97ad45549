import { completionTokens } from '../reply.ts'
import type { Reply } from '../reply.ts'
import { isObject } from '../request.ts'
import type { Json } from '../request.ts'
import type { Frame } from '../wire.ts'

type Event = Json & { readonly type: string }
/** An event that is not numbered yet; a `token` leaves in its turn. */
type Draft = readonly [kind: 'raw' | 'token' | 'finish', event: Event]

/** The finish reasons that this API tells as an answer that is not complete. */
const reasons: Readonly<Record<string, string | undefined>> = {
  stop: undefined,
  tool_calls: undefined,
  length: 'max_output_tokens',
}

/** Writes the answer as the events of a stream of the Responses API, each with its number. */
export function responseFrames(reply: Reply, body: Json): Frame[] {
  const { finish } = reply
  const reason = Object.hasOwn(reasons, finish) ? reasons[finish] : finish
  const parts = itemsOf(reply, body)
  const items = parts.map(({ item }, at) => {
    // What stopped the answer stopped its last item.
    return reason !== undefined && at === parts.length - 1 && 'status' in item
      ? { ...item, status: 'incomplete' }
      : item
  })
  const opened = responseOf(reply, body, 'in_progress')
  const status = reason === undefined ? 'completed' : 'incomplete'
  const closed = {
    ...responseOf(reply, body, status, items),
    incomplete_details: reason === undefined ? null : { reason },
    usage: usageOf(reply),
  }
  const drafts: Draft[] = [
    ['raw', { type: 'response.created', response: opened }],
    ['raw', { type: 'response.in_progress', response: opened }],
    ...parts.flatMap(({ item, opening, drafts: inner }, output_index): Draft[] => [
      ['raw', { type: 'response.output_item.added', output_index, item: { ...item, ...opening } }],
      ...inner.map(([kind, event]): Draft => [kind, { ...event, item_id: item['id'], output_index }]),
      ['raw', { type: 'response.output_item.done', output_index, item: items[output_index] }],
    ]),
    ['finish', { type: `response.${status}`, response: closed }],
  ]
  return drafts.map(([kind, event], index) => ({
    kind,
    text: namedEvent({ ...event, sequence_number: index }),
  }))
}

/** Writes one event with its name. */
export function namedEvent(event: Event): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

/** Writes an event that adds a piece to the text of the answer, outside of the numbering. */
export function textEvent(reply: Reply, delta: string): string {
  const { type, ...rest } = textDelta(delta, [])
  const output_index = reply.reasoning.length > 0 ? 1 : 0
  return namedEvent({ type, item_id: messageId(reply), output_index, ...rest, sequence_number: 0 })
}

/** Makes the response object as the lifecycle events carry it. Without usage as long as it is not over. */
export function responseOf(reply: Reply, body: Json, status: string, output: readonly Json[] = []): Json {
  const { tools = [], tool_choice = 'auto', parallel_tool_calls = true, metadata = {}, store = true } = body
  return {
    id: reply.id.replace('chatcmpl-', 'resp_'),
    object: 'response',
    created_at: reply.created,
    status,
    error: null,
    incomplete_details: null,
    instructions: body['instructions'] ?? null,
    max_output_tokens: body['max_output_tokens'] ?? null,
    model: reply.model,
    output,
    parallel_tool_calls,
    previous_response_id: null,
    reasoning: { effort: null, summary: null, ...(isObject(body['reasoning']) ? body['reasoning'] : {}) },
    store,
    temperature: body['temperature'] ?? 1,
    text: body['text'] ?? { format: { type: 'text' } },
    tool_choice,
    tools,
    top_p: body['top_p'] ?? 1,
    truncation: 'disabled',
    usage: null,
    user: null,
    metadata,
  }
}

/** An item of the answer, how it looks before it has content, and the events between. */
interface Item {
  readonly item: Json
  readonly opening: Json
  readonly drafts: readonly Draft[]
}

function itemsOf(reply: Reply, body: Json): Item[] {
  const { reasoning, content, refusal, calls, finish } = reply
  const thoughtOnly = reasoning.length > 0 && finish === 'length'
  const speaks = content.length > 0 || (calls.length === 0 && refusal.length === 0 && !thoughtOnly)
  return [
    ...(reasoning.length > 0 ? [reasoningItem(reply, body)] : []),
    ...(refusal.length > 0 ? [refusalItem(reply)] : []),
    ...(speaks ? [messageItem(reply, body)] : []),
    ...calls.map((_, index) => callItem(reply, index)),
  ]
}

function reasoningItem(reply: Reply, { reasoning: asked }: Json): Item {
  const text = reply.reasoning.join('')
  const told = isObject(asked) && typeof asked['summary'] === 'string'
  const at = { summary_index: 0 }
  const part = { type: 'summary_text', text }
  const drafts: Draft[] = [
    ['raw', { type: 'response.reasoning_summary_part.added', ...at, part: { ...part, text: '' } }],
    ...reply.reasoning.map((delta): Draft => {
      return ['token', { type: 'response.reasoning_summary_text.delta', ...at, delta }]
    }),
    ['raw', { type: 'response.reasoning_summary_text.done', ...at, text }],
    ['raw', { type: 'response.reasoning_summary_part.done', ...at, part }],
  ]
  const item = { id: reply.id.replace('chatcmpl-', 'rs_'), type: 'reasoning', summary: told ? [part] : [] }
  return { item, opening: { summary: [] }, drafts: told ? drafts : [] }
}

function messageItem(reply: Reply, { include }: Json): Item {
  const text = reply.content.join('')
  const asked = Array.isArray(include) && include.includes('message.output_text.logprobs')
  const logprobsOf = (token: string) =>
    asked ? [{ token, logprob: -0.25, bytes: [...Buffer.from(token)], top_logprobs: [] }] : []
  const logprobs = reply.content.flatMap(logprobsOf)
  const part = { type: 'output_text', text, annotations: [], logprobs }
  return message(reply, part, { ...part, text: '', logprobs: [] }, [
    ...reply.content.map((delta): Draft => ['token', textDelta(delta, logprobsOf(delta))]),
    ['raw', { type: 'response.output_text.done', content_index: 0, text, logprobs }],
  ])
}

function refusalItem(reply: Reply): Item {
  const refusal = reply.refusal.join('')
  const part = { type: 'refusal', refusal }
  return message(reply, part, { ...part, refusal: '' }, [
    ...reply.refusal.map((delta): Draft => [
      'token',
      { type: 'response.refusal.delta', content_index: 0, delta },
    ]),
    ['raw', { type: 'response.refusal.done', content_index: 0, refusal }],
  ])
}

function message(reply: Reply, part: Json, empty: Json, said: readonly Draft[]): Item {
  return {
    item: { id: messageId(reply), type: 'message', status: 'completed', role: 'assistant', content: [part] },
    opening: { status: 'in_progress', content: [] },
    drafts: [
      ['raw', { type: 'response.content_part.added', content_index: 0, part: empty }],
      ...said,
      ['raw', { type: 'response.content_part.done', content_index: 0, part }],
    ],
  }
}

function callItem(reply: Reply, index: number): Item {
  const { id, name, arguments: pieces } = reply.calls[index] ?? { id: '', name: '', arguments: [] }
  const text = pieces.join('')
  const type = 'response.function_call_arguments'
  return {
    item: {
      id: `${reply.id.replace('chatcmpl-', 'fc_')}${index}`,
      type: 'function_call',
      status: 'completed',
      call_id: id,
      name,
      arguments: text,
    },
    opening: { status: 'in_progress', arguments: '' },
    drafts: [
      ...pieces.map((delta): Draft => ['token', { type: `${type}.delta`, delta }]),
      ['raw', { type: `${type}.done`, name, arguments: text }],
    ],
  }
}

function textDelta(delta: string, logprobs: readonly object[]): Event {
  return { type: 'response.output_text.delta', content_index: 0, delta, logprobs }
}

function messageId(reply: Reply): string {
  return reply.id.replace('chatcmpl-', 'msg_')
}

function usageOf(reply: Reply): Json {
  const output = completionTokens(reply)
  return {
    input_tokens: reply.promptTokens,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reply.reasoning.length },
    total_tokens: reply.promptTokens + output,
  }
}
