import { ChatError } from '../errors.ts'
import type { ChatRequest, Fields, ToolSpec } from '../types.ts'
import { defined, limitOf, without } from './completion-params.ts'
import { fields, list } from './json.ts'
import type { Manners } from './manners.ts'
import { toInput } from './responses-input.ts'

/**
 * Says a request in the words of the Responses API (OpenAI's API reference, "Create a model response"). The answer is
 * not kept by the server, unless `extra.store` asks for that.
 *
 * @throws `ChatError` `invalid-request` for what this API has no words for: nothing is left out in silence.
 */
export function toResponsesParams(request: ChatRequest, manners: Manners): Fields {
  refuseTheImpossible(request)
  const { extra, toolChoice, logprobs } = request
  return {
    store: false,
    ...without(extra, ...translated, ...Object.keys(missing)),
    ...defined({
      model: request.model,
      input: toInput(request.messages, manners),
      stream: true,
      temperature: request.temperature,
      top_p: request.topP,
      max_output_tokens: limitOf(request, manners),
      reasoning: toReasoning(request, manners),
      tools: request.tools?.map(toTool),
      tool_choice: typeof toolChoice === 'object' ? { type: 'function', name: toolChoice.name } : toolChoice,
      parallel_tool_calls: request.parallelToolCalls,
      text: toText(request),
      include: toInclude(request),
      top_logprobs: logprobs ? request.topLogprobs : undefined,
    }),
  }
}

/** What has another form here, or is ours to say. */
const translated = [
  'stream_options',
  'max_tokens',
  'max_completion_tokens',
  'verbosity',
  'text',
  'reasoning',
  'include',
]

/** What only Chat Completions has. Each with the values that ask for nothing. */
const missing: Readonly<Record<string, (value: unknown) => boolean>> = {
  seed: isNever,
  stop: (value) => value === '' || (Array.isArray(value) && value.length === 0),
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  logit_bias: (value) => Object.keys(fields(value) ?? { value }).length === 0,
  n: (value) => value === 1,
  modalities: (value) => JSON.stringify(value) === '["text"]',
  audio: isNever,
  prediction: isNever,
  functions: isNever,
  function_call: isNever,
  web_search_options: isNever,
}

function isNever(): boolean {
  return false
}

/** What ties an answer to others that the server keeps, or lets it go on when nobody listens. */
const stateful = ['background', 'conversation', 'previous_response_id', 'prompt']

function refuseTheImpossible({ extra, seed, stop, presencePenalty, frequencyPenalty }: ChatRequest): void {
  const asked: Fields = {
    ...extra,
    ...defined({ seed, stop, presence_penalty: presencePenalty, frequency_penalty: frequencyPenalty }),
  }
  for (const [param, asksNothing] of Object.entries(missing)) {
    const value = asked[param]
    if (value === undefined || value === null || asksNothing(value)) continue
    const text = `\`${param}\` does not exist in OpenAI's Responses API, which answers here. Leave it out.`
    throw new ChatError('invalid-request', text, { param })
  }
  const param = stateful.find((name) => asked[name])
  if (!param) return
  const text = `\`${param}\` cannot be used here: an answer is to its own request alone. Leave it out.`
  throw new ChatError('invalid-request', text, { param })
}

function toReasoning(
  { reasoningEffort: effort, extra }: ChatRequest,
  { reasoning }: Manners,
): Fields | undefined {
  if (reasoning === 'none') return undefined
  const asked = fields(extra?.['reasoning'])
  if (effort === undefined) return asked
  const summary = reasoning === 'summary' && effort !== 'none' ? { summary: 'auto' } : {}
  return { ...summary, ...asked, effort }
}

function toInclude({ logprobs, extra }: ChatRequest): readonly unknown[] | undefined {
  const asked = list(extra?.['include'])
  const all = new Set(logprobs ? [...asked, 'message.output_text.logprobs'] : asked)
  return all.size > 0 ? [...all] : undefined
}

// This API takes `strict` for granted where it is not said, the other one does not.
function toTool({ name, description, parameters, strict = false }: ToolSpec): Fields {
  const schema = parameters ?? { type: 'object', properties: {} }
  return defined({ type: 'function', name, description, parameters: schema, strict })
}

function toText({ responseFormat, extra }: ChatRequest): Fields | undefined {
  const verbosity = extra?.['verbosity'] ?? undefined
  const schema = fields(responseFormat?.['json_schema'])
  const format = schema ? { ...without(responseFormat, 'json_schema'), ...schema } : responseFormat
  const text = { ...fields(extra?.['text']), ...defined({ format, verbosity }) }
  return Object.keys(text).length > 0 ? text : undefined
}
