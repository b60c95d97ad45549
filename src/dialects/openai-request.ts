import {
  type Check,
  isBoolean,
  isObject,
  requireMessageList,
  requireObject,
  type Sampling,
  samplingFields,
  toSampling,
  wholeFrom,
  wrong,
} from '../checks.ts'
import { ChatError } from '../errors.ts'
import type { ChatRequest, DialectRequest, Fields, RequestLimits, ToolSpec } from '../types.ts'
import { fieldsAt, maybe, nameAt, objectAt, switchAt, textAt } from './openai-fields.ts'
import { readMessage, requireCalled } from './openai-messages.ts'
import { requirePassable, spellings } from './openai-refused.ts'

const MAX_TOOLS = 128

/** Fields whose values are looked at one by one, beside those that are the same in every dialect. */
const checks = {
  ...samplingFields,
  n: (value) => (value === 1 ? undefined : '1 (ask once for each answer)'),
  modalities: (value) => (isOnlyText(value) ? undefined : '["text"] (answers are text)'),
  parallel_tool_calls: isBoolean,
  response_format: (value) =>
    isObject(value) && typeof value['type'] === 'string' ? undefined : 'an object whose `type` is a string',
  logprobs: isBoolean,
  top_logprobs: (value) => wholeFrom(0)(value) ?? (Number(value) > 20 ? 'at most 20' : undefined),
} as const satisfies Record<string, Check>

/** What these fields are after they were checked. */
interface Checked extends Sampling {
  readonly parallel_tool_calls?: boolean
  readonly response_format?: Fields
  readonly logprobs?: boolean
  readonly top_logprobs?: number
}

const names = new Set([...Object.keys(checks), 'messages', 'tools', 'tool_choice', 'stream_options'])
const known = spellings(names)

/**
 * Reads the body of `POST /v1/chat/completions`: OpenAI's API reference, "Create chat completion". Fields that are
 * null count as absent. What this service does not understand goes to the model's server as it is, except what
 * would get around the service's own limits.
 *
 * @throws `ChatError` that names the field, what it must be and what it was.
 */
export function readCompletionRequest(body: unknown, limits: RequestLimits): DialectRequest {
  const asked = requireObject(body)
  requireConversation(asked)
  requireMessageList(asked['messages'], limits.maxMessages)
  const extra = checkFields(asked)
  const checked = asked as Checked // field by field, just now
  const messages = asked['messages'].map((message, index) =>
    readMessage(message, `messages[${index}]`, limits),
  )
  requireCalled(messages)
  return {
    stream: checked.stream ?? false,
    usage: readStreamOptions(asked['stream_options']),
    chat: {
      ...toSampling(checked),
      messages,
      tools: readTools(asked['tools']),
      toolChoice: readToolChoice(asked['tool_choice']),
      parallelToolCalls: checked.parallel_tool_calls,
      responseFormat: checked.response_format,
      logprobs: checked.logprobs,
      topLogprobs: checked.top_logprobs,
      ...(Object.keys(extra).length > 0 ? { extra } : {}),
    },
  }
}

function requireConversation({ messages, input, prompt }: Record<string, unknown>): void {
  if (messages !== undefined) return
  const [field, api] = input !== undefined ? ['input', 'Responses'] : ['prompt', 'Completions']
  if (input === undefined && prompt === undefined) return
  const text = `\`${field}\` belongs to OpenAI's ${api} API; this is Chat Completions. Send \`messages\`: [{"role":"user","content":"…"}].`
  throw new ChatError('invalid-request', text, { param: field })
}

/** Checks what is understood and gives what is not. */
function checkFields(asked: Record<string, unknown>): Fields {
  const extra: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(asked)) {
    if (Object.hasOwn(checks, name)) {
      const expectation = checks[name as keyof typeof checks](value) // an own key, just now
      if (expectation !== undefined) throw wrong(name, expectation, value)
    } else if (!names.has(name)) {
      requirePassable(name, known)
      extra[name] = value
    }
  }
  return extra
}

function readStreamOptions(options: unknown): boolean {
  if (options === undefined) return false
  const { include_usage: usage, ...others } = fieldsAt('stream_options', options)
  const asked = maybe(switchAt, 'stream_options.include_usage', usage) ?? false
  const other = Object.keys(others).find((name) => others[name])
  if (other === undefined) return asked
  const param = `stream_options.${other}`.slice(0, 80)
  const text = `\`${param}\` is not possible here: leave it out, or set it to false.`
  throw new ChatError('invalid-request', text, { param })
}

function readTools(tools: unknown): readonly ToolSpec[] | undefined {
  if (tools === undefined) return undefined
  if (!Array.isArray(tools)) throw wrong('tools', 'an array', tools)
  if (tools.length > MAX_TOOLS) {
    const text = `\`tools\` may hold at most ${MAX_TOOLS} tools; got ${tools.length}.`
    throw new ChatError('limit-exceeded', text, { param: 'tools' })
  }
  // Some clients always send the field, and some servers refuse an empty one.
  return tools.length > 0 ? tools.map(readTool) : undefined
}

/** Reads one tool. Fields beside OpenAI's are notes of the client's own, and left out. */
function readTool(tool: unknown, index: number): ToolSpec {
  const at = `tools[${index}]`
  const { type, function: fn } = fieldsAt(at, tool)
  if (type !== 'function') throw wrong(`${at}.type`, '"function"', type)
  const { name, description, parameters, strict } = fieldsAt(`${at}.function`, fn)
  return {
    name: nameAt(`${at}.function.name`, name),
    description: maybe(textAt, `${at}.function.description`, description),
    parameters: maybe(objectAt, `${at}.function.parameters`, parameters),
    strict: maybe(switchAt, `${at}.function.strict`, strict),
  }
}

function readToolChoice(choice: unknown): ChatRequest['toolChoice'] {
  if (choice === undefined || choice === 'none' || choice === 'auto' || choice === 'required') return choice
  if (!isObject(choice)) {
    throw wrong(
      'tool_choice',
      '"none", "auto", "required" or {"type":"function","function":{"name":"…"}}',
      choice,
    )
  }
  if (choice['type'] !== 'function') throw wrong('tool_choice.type', '"function"', choice['type'])
  const { name } = fieldsAt('tool_choice.function', choice['function'])
  return { name: nameAt('tool_choice.function.name', name) }
}

function isOnlyText(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => item === 'text')
}
