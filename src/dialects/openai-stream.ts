import { event } from '../sse.ts'
import type { ChatDelta, Encoder, EncoderOptions, Fields, FinishReason, Usage } from '../types.ts'
import { errorInStream } from './openai-errors.ts'

type ToolCallDelta = Extract<ChatDelta, { type: 'tool-call' }>
type Source = Extract<ChatDelta, { type: 'source' }>
type TextDelta = Extract<ChatDelta, { type: 'text' | 'reasoning' | 'refusal' }>

const fieldOf = { text: 'content', reasoning: 'reasoning_content', refusal: 'refusal' } as const

/**
 * Writes `chat.completion.chunk` objects: OpenAI's API reference, "The chat completion chunk object". Without event
 * names and ids: an official client for Python once took a comment after an id for an event.
 */
export function createEncoder({ replyId, usage: tellsUsage = false }: EncoderOptions): Encoder {
  const tail = `}]${tellsUsage ? ',"usage":null' : ''}}`
  const textTail = `},"finish_reason":null${tail}\n\n`
  let head = headOf({ id: replyId, model: '', createdAt: 0 })
  let textHead = textHeadOf(head)
  let begun = false
  let usage: Usage | undefined
  const sources: Source[] = []
  const calls = createVisibleCalls(replyId)

  function chunk(delta: string, rest = ',"finish_reason":null'): string {
    return event(`${head}[{"index":0,"delta":${delta}${rest}${tail}`)
  }

  /** One chunk, after the one that says who speaks: many clients want that first, and alone. */
  function say(
    delta: string,
    { content = '""', rest }: { content?: string; rest?: string | undefined } = {},
  ) {
    if (begun) return chunk(delta, rest)
    begun = true
    return chunk(`{"role":"assistant","content":${content}}`) + chunk(delta, rest)
  }

  function sayText({ type, text, logprobs }: TextDelta): string {
    const rest = logprobs && type !== 'reasoning' ? `,"logprobs":${logprobsOf(type, logprobs)}` : ''
    if (text === '' && rest === '') return ''
    const delta = `{"${fieldOf[type]}":${JSON.stringify(text)}}`
    return say(delta, rest === '' ? undefined : { rest: `${rest},"finish_reason":null` })
  }

  function end(reason: FinishReason, raw: string | undefined): string {
    const word = JSON.stringify(
      calls.onlyOurs && reason === 'tool-calls' ? 'stop' : finishReasonOf(reason, raw),
    )
    const cited =
      sources.length > 0 ? say(`{"annotations":${JSON.stringify(sources.map(toAnnotation))}}`) : ''
    const last = say('{}', { rest: `,"finish_reason":${word}` })
    const totals = tellsUsage && usage ? event(`${head}[],"usage":${JSON.stringify(toUsage(usage))}}`) : ''
    return `${cited}${last}${totals}${event('[DONE]')}`
  }

  return (delta) => {
    // Nearly every delta is one of these: the same text as below, for less.
    if (begun && delta.type === 'text' && !delta.logprobs && delta.text !== '') {
      return `${textHead}${JSON.stringify(delta.text)}${textTail}`
    }
    switch (delta.type) {
      // Written with the first words: until then an answer can still be refused.
      case 'start':
        head = headOf(delta)
        textHead = textHeadOf(head)
        return ''
      case 'text':
      case 'reasoning':
      case 'refusal':
        return sayText(delta)
      case 'tool-call': {
        const call = calls.write(delta)
        return call === '' ? '' : say(`{"tool_calls":[${call}]}`, { content: 'null' })
      }
      // All at once before the end: the official clients do not join lists of these, one keeps the last alone.
      case 'source':
        sources.push(delta)
        return ''
      case 'usage':
        usage = delta
        return ''
      case 'finish':
        if (delta.reason !== 'cancelled') return end(delta.reason, delta.raw)
        return event(errorInStream({ ...stopped, type: 'error' }))
      case 'error':
        return event(errorInStream(delta))
      // A tool of this service answered: the client sees what the model makes of it.
      case 'tool-result':
        return ''
    }
  }
}

/** What a client is told of an answer that somebody else stopped: it is not whole. */
const stopped = { code: 'cancelled', message: 'The reply was stopped.', retryable: false } as const

/** The calls of an answer that the client is to make: numbered without those that this service makes itself. */
function createVisibleCalls(replyId: string) {
  const indexes = new Map<number, number>()
  const ours = new Set<number>()

  function first({ index, id, name = '', arguments: text, extra }: ToolCallDelta): string {
    const position = indexes.size
    indexes.set(index, position)
    const fn = `{"name":${JSON.stringify(name)},"arguments":${JSON.stringify(text)}}`
    const known = JSON.stringify(id || callIdOf(replyId, position))
    return `{"index":${position},"id":${known},"type":"function","function":${fn}${fieldsIn(extra)}}`
  }

  return {
    /** One piece of a call; `''` for one of ours, or for nothing new. */
    write(delta: ToolCallDelta): string {
      if (delta.server) ours.add(delta.index)
      if (ours.has(delta.index)) return ''
      const position = indexes.get(delta.index)
      if (position === undefined) return first(delta)
      if (!delta.name && delta.arguments === '' && !delta.extra) return ''
      const name = delta.name ? `"name":${JSON.stringify(delta.name)},` : ''
      return `{"index":${position},"function":{${name}"arguments":${JSON.stringify(delta.arguments)}}${fieldsIn(delta.extra)}}`
    },
    get onlyOurs(): boolean {
      return ours.size > 0 && indexes.size === 0
    },
  }
}

/** More members of a JSON object that has some already. */
function fieldsIn(extra: Fields | undefined): string {
  return extra && Object.keys(extra).length > 0 ? `,${JSON.stringify(extra).slice(1, -1)}` : ''
}

function headOf({ id, model, createdAt }: { id: string; model: string; createdAt: number }): string {
  const names = `"id":${JSON.stringify(completionId(id))},"object":"chat.completion.chunk"`
  return `{${names},"created":${toSeconds(createdAt)},"model":${JSON.stringify(model)},"choices":`
}

function textHeadOf(head: string): string {
  return `data: ${head}[{"index":0,"delta":{"content":`
}

/** The id of a completion, made of the id of its reply. */
export function completionId(replyId: string): string {
  return `chatcmpl-${replyId}`
}

/** The id of a call that came without one. */
export function callIdOf(replyId: string, position: number): string {
  return `call_${replyId}_${position}`
}

export function toSeconds(ms: number): number {
  return Math.floor(ms / 1000)
}

function logprobsOf(type: 'text' | 'refusal', logprobs: readonly unknown[]): string {
  const list = JSON.stringify(logprobs)
  return type === 'text' ? `{"content":${list},"refusal":null}` : `{"content":null,"refusal":${list}}`
}

/** Why an answer ended, in OpenAI's words, or in those of the model's server where there is none. */
export function finishReasonOf(reason: FinishReason, raw: string | undefined): string {
  // A word of ours, which no client of this API knows: there could be more, as with too few tokens.
  if (reason === 'other') return raw === 'max-steps' ? 'length' : raw || 'stop'
  if (reason === 'content-filter') return 'content_filter'
  return reason === 'tool-calls' ? 'tool_calls' : reason
}

/** A source as OpenAI's API cites one. Its readers want a title and a place in the text; neither is always known. */
export function toAnnotation({ url, title }: { readonly url: string; readonly title?: string | undefined }) {
  return { type: 'url_citation', url_citation: { url, title: title ?? url, start_index: 0, end_index: 0 } }
}

/** Tokens in the words of OpenAI's API. */
export function toUsage(usage: Usage) {
  const { inputTokens, outputTokens, cachedInputTokens: cached, reasoningTokens: reasoning } = usage
  return {
    prompt_tokens: inputTokens,
    completion_tokens: outputTokens,
    total_tokens: usage.totalTokens ?? inputTokens + outputTokens,
    ...(cached === undefined ? {} : { prompt_tokens_details: { cached_tokens: cached } }),
    ...(reasoning === undefined ? {} : { completion_tokens_details: { reasoning_tokens: reasoning } }),
  }
}
