import type { ChatMessage, ChatRequest, Content, ContentPart, Fields, ToolCall, ToolSpec } from '../types.ts'
import type { Manners } from './manners.ts'

/**
 * Says a request in the words of the Chat Completions API (OpenAI's API reference, "Create chat completion"), as a
 * server with these manners understands them. What was not asked for is not in the body.
 */
export function toCompletionParams(request: ChatRequest, manners: Manners): Fields {
  const { extra, toolChoice } = request
  const maxOutputTokens = limitOf(request, manners)
  const limit = maxOutputTokens === undefined ? {} : { [manners.maxTokensField]: maxOutputTokens }
  return {
    ...without(extra, 'stream_options', ...(maxOutputTokens === undefined ? [] : limitFields)),
    ...defined({
      model: request.model,
      messages: request.messages.map((message) => toMessage(message, manners)),
      stream: true,
      stream_options: manners.includeUsage ? { include_usage: true } : undefined,
      temperature: request.temperature,
      top_p: request.topP,
      ...limit,
      stop: request.stop,
      seed: request.seed,
      presence_penalty: request.presencePenalty,
      frequency_penalty: request.frequencyPenalty,
      reasoning_effort: request.reasoningEffort,
      tools: request.tools?.map(toTool),
      tool_choice:
        typeof toolChoice === 'object'
          ? { type: 'function', function: { name: toolChoice.name } }
          : toolChoice,
      parallel_tool_calls: request.parallelToolCalls,
      response_format: request.responseFormat,
      logprobs: request.logprobs,
      top_logprobs: request.topLogprobs,
    }),
  }
}

/** The limit of tokens to send: a default one only where the server takes it. */
export function limitOf(
  { maxOutputTokens, limitIsDefault = false }: ChatRequest,
  { takesDefaultLimit }: Manners,
): number | undefined {
  return limitIsDefault && !takesDefaultLimit ? undefined : maxOutputTokens
}

const limitFields = ['max_tokens', 'max_completion_tokens']

function toMessage(message: ChatMessage, { instructions, takesReasoning }: Manners): Fields {
  const { role, extra } = message
  const content = toContent(message.content)
  switch (role) {
    case 'tool':
      return { ...extra, role, tool_call_id: message.toolCallId, content }
    case 'assistant': {
      const { toolCalls = [], reasoning } = message
      const thought = takesReasoning && reasoning ? { reasoning_content: reasoning } : {}
      if (toolCalls.length === 0) return { ...extra, role, ...thought, content }
      return {
        ...extra,
        role,
        ...thought,
        content: content.length > 0 ? content : null,
        tool_calls: toolCalls.map(toCall),
      }
    }
    default:
      return { ...extra, role: role === 'developer' ? instructions : role, content }
  }
}

function toContent(content: Content): string | readonly Fields[] {
  return typeof content === 'string' ? content : content.map(toPart)
}

function toPart(part: ContentPart): Fields {
  switch (part.type) {
    case 'text':
      return { type: 'text', text: part.text }
    case 'image':
      return { type: 'image_url', image_url: defined({ url: part.url, detail: part.detail }) }
    case 'other':
      return part.part
  }
}

function toCall({ id, name, arguments: text, extra }: ToolCall): Fields {
  return { ...extra, id, type: 'function', function: { name, arguments: text } }
}

function toTool({ name, description, parameters, strict, extra }: ToolSpec): Fields {
  const own = defined({ name, description, parameters, strict })
  return { ...extra?.tool, type: 'function', function: { ...extra?.function, ...own } }
}

/** The fields that have a value. */
export function defined(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

/** The fields without some of them. */
export function without(fields: Fields = {}, ...names: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)))
}
