import {
  type Check,
  isBoolean,
  isObject,
  requireMessageList,
  requireObject,
  type Sampling,
  samplingFields,
  toSampling,
  unknownField,
  wholeFrom,
  wrong,
} from '../checks.ts'
import { ChatError } from '../errors.ts'
import type { ChatRequest, DialectRequest, Fields, RequestLimits, ToolSpec } from '../types.ts'
import { fieldsAt, maybe, nameAt, objectAt, switchAt, textAt } from './openai-fields.ts'
import { passedFields, toolFields } from './openai-known.ts'
import { readMessage, requireCalled } from './openai-messages.ts'
import { understoodFields } from './openai-pass.ts'
import { requirePassable, spellings } from './openai-refused.ts'
import { type Bounds, checkFields, fields, flag, label, type Rule, words } from './openai-rules.ts'
import { requireLocalSchema } from './openai-schema.ts'

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

const names = new Set<string>(understoodFields)
const known = spellings(names)

/**
 * Reads the body of `POST /v1/chat/completions`: OpenAI's API reference, "Create chat completion". Fields that are
 * null count as absent. Of what this service does not handle itself, fields that are known go to the model's server
 * after a check, and those that the operator lets pass (`passFields`); all others are refused.
 *
 * @throws `ChatError` that names the field, what it must be and what it was.
 */
export function readCompletionRequest(body: unknown, limits: RequestLimits): DialectRequest {
  const asked = requireObject(body)
  requireConversation(asked)
  requireMessageList(asked['messages'], limits.maxMessages)
  const bounds = { pass: limits.passFields ?? new Set<string>(), hosts: limits.imageHosts ?? '*' }
  const extra = readFields(asked, bounds)
  const checked = asked as Checked // field by field, just now
  const messages = asked['messages'].map((message, index) =>
    readMessage(message, `messages[${index}]`, bounds, limits.serverTools),
  )
  requireCalled(messages)
  return {
    stream: checked.stream ?? false,
    usage: readStreamOptions(asked['stream_options']),
    chat: {
      ...toSampling(checked),
      messages,
      tools: readTools(asked['tools'], bounds),
      toolChoice: readToolChoice(asked['tool_choice']),
      parallelToolCalls: checked.parallel_tool_calls,
      responseFormat: readFormat(checked.response_format, bounds),
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

/** Checks what is handled here and gives what is not. */
function readFields(asked: Record<string, unknown>, bounds: Bounds): Fields {
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
  checkFields(extra, passedFields, bounds)
  return extra
}

/** What an answer may be made to look like, with the fields that each form has. */
function readFormat(format: Fields | undefined, bounds: Bounds): Fields | undefined {
  const { type, ...rest } = format ?? {}
  switch (type) {
    case undefined:
      return undefined
    case 'text':
      checkFields(rest, {}, bounds, 'response_format.')
      return format
    case 'json_object': // llama.cpp and Together have a schema here
      checkFields(rest, { schema: isSchema }, bounds, 'response_format.')
      return format
    case 'json_schema':
      checkFields(rest, { json_schema: jsonSchema }, bounds, 'response_format.')
      return format
    default:
      throw wrong('response_format.type', 'one of "text", "json_object", "json_schema"', type)
  }
}

const isSchema: Rule = (at, value, { hosts }) => requireLocalSchema(objectAt(at, value), at, hosts)

const jsonSchema = fields({ name: label(64), description: words(), schema: isSchema, strict: flag })

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

function readTools(tools: unknown, bounds: Bounds): readonly ToolSpec[] | undefined {
  if (tools === undefined) return undefined
  if (!Array.isArray(tools)) throw wrong('tools', 'an array', tools)
  if (tools.length > MAX_TOOLS) {
    const text = `\`tools\` may hold at most ${MAX_TOOLS} tools; got ${tools.length}.`
    throw new ChatError('limit-exceeded', text, { param: 'tools' })
  }
  // Some clients always send the field, and some servers refuse an empty one.
  return tools.length > 0 ? tools.map((tool, index) => readTool(tool, `tools[${index}]`, bounds)) : undefined
}

/** Reads one tool. Fields beside OpenAI's that are known, or pass, are kept apart. */
function readTool(asked: unknown, at: string, bounds: Bounds): ToolSpec {
  const { type, function: fn, ...tool } = fieldsAt(at, asked)
  if (type !== 'function') throw wrong(`${at}.type`, '"function"', type)
  const { name, description, parameters, strict, ...others } = fieldsAt(`${at}.function`, fn)
  const spec: ToolSpec = {
    name: nameAt(`${at}.function.name`, name),
    description: maybe(textAt, `${at}.function.description`, description),
    parameters: maybe(objectAt, `${at}.function.parameters`, parameters),
    strict: maybe(switchAt, `${at}.function.strict`, strict),
  }
  requireLocalSchema(spec.parameters, `${at}.function.parameters`, bounds.hosts)
  checkFields(tool, toolFields, bounds, `${at}.`)
  checkFields(others, toolFields, bounds, `${at}.function.`)
  const plain = Object.keys(tool).length === 0 && Object.keys(others).length === 0
  return plain ? spec : { ...spec, extra: { tool, function: others } }
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
  const { type: _, function: fn, ...others } = choice
  const { name, ...more } = fieldsAt('tool_choice.function', fn)
  for (const other of Object.keys(others)) throw unknownField(`tool_choice.${other}`)
  for (const other of Object.keys(more)) throw unknownField(`tool_choice.function.${other}`)
  return { name: nameAt('tool_choice.function.name', name) }
}

function isOnlyText(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => item === 'text')
}
