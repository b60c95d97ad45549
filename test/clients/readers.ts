import { DefaultChatTransport, readUIMessageStream, type UIMessage, type UIMessageChunk } from 'ai'
import { DefaultChatTransport as Transport5, readUIMessageStream as read5 } from 'ai5'
import { DefaultChatTransport as Transport6, readUIMessageStream as read6 } from 'ai6'
import OpenAI from 'openai'
import type { ChatCompletion, ChatCompletionChunk } from 'openai/resources'
import { deltasIn } from '../src/kit.ts'
import { heard } from '../hosts/recordings.ts'

/** What a client made of an answer, in the words of the recordings' index. */
export interface Heard {
  readonly text: string
  readonly reasoning: string
  readonly refusal: string
  readonly toolCalls: readonly { readonly id: string; readonly name: string; readonly arguments: string }[]
  readonly finishReason: string | null
  readonly usage: { readonly prompt: number; readonly completion: number; readonly total?: number } | null
}

/** Asks as one official client does and says what it made of the answer; rejects when the client does. */
export type Reader = (fetch: typeof globalThis.fetch) => Promise<Heard>

const base = 'http://relay.test'

const asked = { model: 'model-a', messages: [{ role: 'user' as const, content: 'Hi' }] }

function openai(fetch: typeof globalThis.fetch): OpenAI {
  return new OpenAI({ baseURL: `${base}/v1`, apiKey: 'none', fetch, maxRetries: 0 })
}

interface Extra {
  readonly reasoning_content?: string
}

/** The usage of OpenAI's API in the index's words. */
function counted(usage: OpenAI.CompletionUsage | null | undefined): Heard['usage'] {
  if (!usage) return null
  return { prompt: usage.prompt_tokens, completion: usage.completion_tokens, total: usage.total_tokens }
}

function heardChunks(chunks: readonly ChatCompletionChunk[]): Heard {
  const texts = { text: '', reasoning: '', refusal: '' }
  const toolCalls: { id: string; name: string; arguments: string }[] = []
  for (const { delta } of chunks.flatMap(({ choices }) => choices)) {
    texts.text += delta.content ?? ''
    texts.reasoning += (delta as Extra).reasoning_content ?? ''
    texts.refusal += delta.refusal ?? ''
    for (const { index, id, function: fn } of delta.tool_calls ?? []) {
      const call = (toolCalls[index] ??= { id: '', name: '', arguments: '' })
      call.id += id ?? ''
      call.name += fn?.name ?? ''
      call.arguments += fn?.arguments ?? ''
    }
  }
  const reasons = chunks.flatMap(({ choices }) => choices.map(({ finish_reason: reason }) => reason))
  const finishReason = reasons.find((reason) => reason) ?? null
  return { ...texts, toolCalls, finishReason, usage: counted(chunks.findLast(({ usage }) => usage)?.usage) }
}

/** What a completion says. */
export function heardCompletion({ choices: [choice], usage }: ChatCompletion): Heard {
  const message = choice?.message
  const calls = (message?.tool_calls ?? []).filter((call) => call.type === 'function')
  return {
    text: message?.content ?? '',
    reasoning: (message as Extra | undefined)?.reasoning_content ?? '',
    refusal: message?.refusal ?? '',
    toolCalls: calls.map(({ id, function: fn }) => ({ id, name: fn.name, arguments: fn.arguments })),
    finishReason: choice?.finish_reason ?? null,
    usage: counted(usage),
  }
}

type AnyTransport = new (options: { api: string; fetch: typeof globalThis.fetch }) => {
  sendMessages(options: object): Promise<ReadableStream<unknown>>
}
type Read = (options: {
  stream: ReadableStream<UIMessageChunk>
  terminateOnError: true
}) => AsyncIterable<UIMessage>

/** The transport and the message builder of one major of the AI SDK, fed with the stream it got. */
function aiSdk(Transport: unknown, read: unknown): Reader {
  return async (fetch) => {
    // The majors differ in their types only; each gets what its own transport gave.
    const transport = new (Transport as AnyTransport)({ api: `${base}/api/chat`, fetch })
    const messages = [{ id: 'u1', role: 'user', parts: [{ type: 'text', text: 'Hi' }] }]
    const options = { chatId: 'c1', messages, trigger: 'submit-message', messageId: undefined }
    const [stream, copy] = (await transport.sendMessages(options)).tee() as ReadableStream<UIMessageChunk>[]
    let message: UIMessage | undefined
    for await (const state of (read as Read)({ stream: stream!, terminateOnError: true })) message = state
    let finishReason: string | null = null
    for await (const chunk of copy as unknown as AsyncIterable<UIMessageChunk>)
      if (chunk.type === 'finish') finishReason = chunk.finishReason?.replace('-', '_') ?? null
    return heardMessage(message, finishReason)
  }
}

function heardMessage(message: UIMessage | undefined, finishReason: string | null): Heard {
  const texts = { text: '', reasoning: '', refusal: '' }
  const toolCalls: { id: string; name: string; arguments: string }[] = []
  for (const part of message?.parts ?? []) {
    if (part.type === 'reasoning') texts.reasoning += part.text
    if (part.type === 'text') texts[isRefusal(part) ? 'refusal' : 'text'] += part.text
    if (part.type.startsWith('tool-') && 'toolCallId' in part && 'input' in part) {
      toolCalls.push({
        id: part.toolCallId,
        name: part.type.slice('tool-'.length),
        arguments: JSON.stringify(part.input),
      })
    }
  }
  const { usage } = (message?.metadata ?? {}) as { usage?: Record<string, number> } // as our dialect writes it
  const { inputTokens = 0, outputTokens = 0, totalTokens = inputTokens + outputTokens } = usage ?? {}
  return {
    ...texts,
    toolCalls,
    finishReason,
    usage: usage ? { prompt: inputTokens, completion: outputTokens, total: totalTokens } : null,
  }
}

function isRefusal({ providerMetadata }: { providerMetadata?: Record<string, unknown> }): boolean {
  return JSON.stringify(providerMetadata ?? {}).includes('refusal')
}

/** Every way to read an answer, by the client that does. */
export const readers: Readonly<Record<string, Reader>> = {
  'our own events': async (fetch) => {
    const response = await post(fetch, '/chat', { prompt: 'Hi' })
    const { error, ...rest } = heard(deltasIn(await response.text()))
    if (error) throw new Error(error)
    return rest
  },
  'our own document': async (fetch) => {
    const answer = (await (await post(fetch, '/chat', { prompt: 'Hi', stream: false })).json()) as {
      text: string
      reasoning?: string
      refusal?: string
      toolCalls?: Heard['toolCalls']
      usage?: { inputTokens: number; outputTokens: number }
      finishReason: string
    }
    return {
      text: answer.text,
      reasoning: answer.reasoning ?? '',
      refusal: answer.refusal ?? '',
      toolCalls: answer.toolCalls ?? [],
      finishReason: answer.finishReason.replace('-', '_'),
      usage: answer.usage
        ? { prompt: answer.usage.inputTokens, completion: answer.usage.outputTokens }
        : null,
    }
  },
  'openai, chunk by chunk': async (fetch) => {
    const chunks: ChatCompletionChunk[] = []
    const params = { ...asked, stream: true, stream_options: { include_usage: true } } as const
    for await (const chunk of await openai(fetch).chat.completions.create(params)) chunks.push(chunk)
    return heardChunks(chunks)
  },
  'openai, its stream helper': async (fetch) => {
    const params = { ...asked, stream_options: { include_usage: true } }
    const stream = openai(fetch).chat.completions.stream(params)
    const chunks: ChatCompletionChunk[] = []
    stream.on('chunk', (chunk) => void chunks.push(chunk))
    // The helper keeps only the last piece of the reasoning; the rest is its own joined message.
    return {
      ...heardCompletion(await stream.finalChatCompletion()),
      reasoning: heardChunks(chunks).reasoning,
    }
  },
  'openai, as one document': async (fetch) =>
    heardCompletion(await openai(fetch).chat.completions.create({ ...asked, stream: false })),
  'ai 5': aiSdk(Transport5, read5),
  'ai 6': aiSdk(Transport6, read6),
  'ai 7': aiSdk(DefaultChatTransport, readUIMessageStream),
}

async function post(fetch: typeof globalThis.fetch, path: string, body: object): Promise<Response> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(base + path, { method: 'POST', headers, body: JSON.stringify(body) })
  if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status })
  return response
}

/** The same with arguments as values: clients that parse them give them back without their spaces. */
export function plain({ toolCalls, usage, ...rest }: Heard): object {
  const calls = toolCalls.map((call) => ({
    ...call,
    arguments: parsed(call.arguments || '{}'),
  }))
  return {
    ...rest,
    toolCalls: calls,
    usage: usage && { ...usage, total: usage.total ?? usage.prompt + usage.completion },
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text // two calls in one, or half a call: not what was said
  }
}
