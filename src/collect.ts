import type { ChatDelta, FinishReason, Usage } from './types.ts'

/** A tool call with all its pieces joined. */
export interface ToolCall {
  readonly id: string
  readonly name: string
  /** JSON text as the model wrote it: not checked. */
  readonly arguments: string
}

/** A whole answer. Fields that the model did not use are absent, `text` is always there. */
export interface Answer {
  readonly id: string
  readonly model: string
  readonly createdAt: number
  readonly text: string
  readonly reasoning?: string
  readonly refusal?: string
  readonly toolCalls?: readonly ToolCall[]
  readonly sources?: readonly { readonly url: string; readonly title?: string }[]
  readonly usage?: Usage
  readonly finishReason: FinishReason
}

/** Joins the deltas of a reply. Undefined when it did not `finish`: such an answer is not whole. */
export async function collect(batches: AsyncIterable<readonly ChatDelta[]>): Promise<Answer | undefined> {
  const texts = { text: '', reasoning: '', refusal: '' }
  const calls: { id: string; name: string; arguments: string }[] = []
  const sources: { url: string; title?: string }[] = []
  let head: Pick<Answer, 'id' | 'model' | 'createdAt'> | undefined
  let usage: Usage | undefined
  let finishReason: FinishReason | undefined

  function add(delta: ChatDelta): void {
    switch (delta.type) {
      case 'start': {
        const { type: _, ...rest } = delta
        head = rest
        break
      }
      case 'text':
      case 'reasoning':
      case 'refusal':
        texts[delta.type] += delta.text
        break
      case 'tool-call': {
        const call = (calls[delta.index] ??= { id: '', name: '', arguments: '' })
        call.id ||= delta.id ?? ''
        call.name ||= delta.name ?? ''
        call.arguments += delta.arguments
        break
      }
      case 'source': {
        const { type: _, ...source } = delta
        sources.push(source)
        break
      }
      case 'usage': {
        const { type: _, ...rest } = delta
        usage = rest
        break
      }
      case 'finish':
        finishReason = delta.reason
        break
      case 'error':
        finishReason = undefined
        break
    }
  }

  for await (const batch of batches) for (const delta of batch) add(delta)
  if (!head || !finishReason) return undefined
  return {
    ...head,
    text: texts.text,
    ...(texts.reasoning ? { reasoning: texts.reasoning } : {}),
    ...(texts.refusal ? { refusal: texts.refusal } : {}),
    ...(calls.length > 0 ? { toolCalls: calls.filter(Boolean) } : {}),
    ...(sources.length > 0 ? { sources } : {}),
    ...(usage ? { usage } : {}),
    finishReason,
  }
}
