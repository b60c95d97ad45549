import { ChatError } from '../errors.ts'
import type { ChatMessage, Content, ContentPart, Fields } from '../types.ts'
import { fields } from './json.ts'
import type { Manners } from './manners.ts'

/**
 * Says a conversation as the input items of the Responses API: a message, a call and a result are an item each.
 *
 * @throws `ChatError` `invalid-request` for what such items cannot hold. It names no position: instructions that were
 * put before the conversation would make it a wrong one.
 */
export function toInput(messages: readonly ChatMessage[], { instructions }: Manners): Fields[] {
  return messages.flatMap((message) => {
    const { role, content, extra = {} } = message
    const stranger = missing.find((name) => extra[name] !== undefined && extra[name] !== null)
    if (stranger) throw unspeakable(`messages[].${stranger}`, `A message with \`${stranger}\``)
    if (role === 'tool') {
      const output = typeof content === 'string' ? content : toParts(content, 'input_text')
      return [{ type: 'function_call_output', call_id: message.toolCallId, output }]
    }
    if (role === 'assistant') return toTurn(message)
    const said = role === 'developer' ? instructions : role
    return [{ type: 'message', role: said, content: toParts(content, 'input_text') }]
  })
}

/** Fields of a message of Chat Completions that change what it says, and that an item has no place for. */
const missing = ['name', 'audio', 'function_call', 'tool_calls', 'prefix', 'partial']

function toTurn({ content, toolCalls = [], extra }: ChatMessage & { role: 'assistant' }): Fields[] {
  const refusal = extra?.['refusal']
  const parts = [
    // An empty answer is a turn of calls.
    ...(content === '' ? [] : toParts(content, 'output_text')),
    ...(typeof refusal === 'string' && refusal !== '' ? [{ type: 'refusal', refusal }] : []),
  ]
  return [
    ...(parts.length > 0 ? [{ type: 'message', role: 'assistant', content: parts }] : []),
    ...toolCalls.map(({ id, name, arguments: text }) => {
      return { type: 'function_call', call_id: id, name, arguments: text }
    }),
  ]
}

type TextType = 'input_text' | 'output_text'

function toParts(content: Content, type: TextType): Fields[] {
  if (typeof content === 'string') return [{ type, text: content }]
  return content.map((part) => toPart(part, type))
}

function toPart(part: ContentPart, type: TextType): Fields {
  switch (part.type) {
    case 'text':
      return { type, text: part.text }
    case 'image':
      return toImage(part.url, part.detail, type)
    case 'other':
      return toOther(part.part, type)
  }
}

function toImage(url: unknown, detail: unknown, type: TextType): Fields {
  if (type === 'output_text') throw unspeakable('messages[].content', 'An image that the assistant said')
  return { type: 'input_image', image_url: url, detail: detail ?? 'auto' }
}

// Parts of Chat Completions with notes beside them have another form here; parts of this API stay as they are.
function toOther(part: Fields, type: TextType): Fields {
  const { type: kind, text, image_url: image, file } = part
  if (kind === 'text') return { type, text }
  if (kind === 'image_url') return toImage(fields(image)?.['url'], fields(image)?.['detail'], type)
  if (kind === 'file' && fields(file)) return { ...fields(file), type: 'input_file' }
  const name = typeof kind === 'string' ? kind.slice(0, 40) : ''
  if (/^(?:input_\w+|output_text|refusal)$/.test(name)) return part
  throw unspeakable('messages[].content', `A part of the type ${JSON.stringify(name)}`)
}

function unspeakable(param: string, what: string): ChatError {
  const text = `${what} cannot be said in OpenAI's Responses API, which answers here. Leave it out.`
  return new ChatError('invalid-request', text, { param })
}
